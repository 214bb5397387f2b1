"""Word lists: what names promise a secret, what names do not, and values that are only words."""

from __future__ import annotations


def vocabulary(words: str) -> frozenset[str]:
    """Return the words of a text that holds nothing else."""
    return frozenset(words.split())


PASSWORD_WORDS = vocabulary(
    "password passwd pwd pass passphrase passcode passwort kennwort contraseña contrasena senha "
    "parola wachtwoord haslo hasło mdp motdepasse pw пароль 密码 密碼 "
    "パスワード 비밀번호 비번 패스워드"
)
KEY_WORDS = vocabulary(
    "secret secrets token apikey accesskey secretkey privatekey authkey credential credentials "
    "creds cred auth authorization bearer jwt apitoken accesstoken authtoken sas srt passkey"
)
KEY_COMPANIONS = vocabulary(
    "api secret private access auth encryption encrypt signing sign master account shared "
    "client service app application license licence session admin deploy storage hmac aes crypt "
    "crypto cipher consumer generic server write read rest sdk live prod webhook integration"
)
"""Words that make ``key`` a secret one."""
KEYISH = KEY_WORDS | PASSWORD_WORDS | vocabulary("key keys api token tokens access license licence")
FINGERPRINTS = vocabulary(
    "commit sha sha1 sha256 sha512 md5 hash digest checksum fingerprint integrity etag revision "
    "rev version build image blob tree ref release"
)
"""Words beside a hexadecimal string that is no secret."""
INNOCENT_LAST = vocabulary(
    "id ids nr name names url uri urls file files path paths dir folder type types size length "
    "len count index field fields label column hash digest checksum fingerprint algorithm alg "
    "format version ref arn expiry expires expiration ttl timeout lifetime prefix suffix regex "
    "pattern policy rule rules hint prompt placeholder description desc title class provider "
    "manager store service endpoint host port user username email mail var variable env enabled "
    "required valid validation limit usage budget tokens text message error status state "
    "strength reset confirm confirmation input box view page link icon button form event code "
    "codes mode module method model map list set table tag scope scopes owner date time at by "
    "source src location region issuer audience subject handler callback listener factory "
    "generator parser builder spec test tests vault selector resolver comment line number num "
    "exists template schema "
    "encode decode strip split join replace startswith endswith lower upper trim equals compare "
    "match includes digest hexdigest update verify checker"
)
INNOCENT_ANY = vocabulary(
    "public pub primary foreign keyboard keyword keywords keypress keydown keyup csrf xsrf "
    "tokenizer tokenize monkey author authors authority accessibility accessor sort cache "
    "partition row dict object unique hot shortcut keyframe keyframes bucket kms idempotency "
    "next page cursor continuation pagination unk pad eos bos stop"
)
WEAK_WORDS = vocabulary(
    "password passwd pass pwd secret token key user username admin test testing string str text "
    "none null nil undefined true false yes no value default empty required optional hidden "
    "input root login name email bool int object any example demo foo bar baz qux my your the "
    "prompt ask mypassword yourpassword your_password userpass user_password my_password "
    "newpassword test123 test1234 password1 password123 secret123 admin123 pass123 pass1234 "
    "123456 12345678 1234 12345 123456789 asdf asdfgh mysecret mytoken apikey api_key "
    "access_token auth_token secret_key xxx yyy zzz xyz abc api rest basic bearer digest oauth "
    "login:password user:pass username:password user:password postgres mysql guest"
)
"""Values that are words of the trade, not secrets; compared in lower case."""

TERMS = vocabulary(
    "sha md aes des rsa tls ssl ssh oauth argon bcrypt scrypt pbkdf base utf http https ipv ip "
    "windows python java node chapter step section level version rfc option layer type phase "
    "line table figure page part day week month year room item rule test case user port column "
    "row group stage tier hmac crc ascii iso ecdsa ed x pkcs blake keccak chacha salsa ntlm wpa "
    "wep ieee log unicode core api v ver release build round try attempt question answer "
    "example file number no id pin sql mysql"
)
"""Words that stand before a number and are no password with it."""
