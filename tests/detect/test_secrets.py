"""Secrets: what has to be found and what has to be left alone, in the places where both stand."""

import base64
import json
import zlib
from itertools import pairwise

import pytest
from tests.detect.shipped_rules import engine, rule_ids, secrets

from milecastle.detect.validators import base62
from milecastle.model import Segment

BODY = "k3J9xQ2mV7tR4wZ8bN5cL1dF6gH0pS"
GITHUB = f"ghp_{BODY}" + base62(zlib.crc32(BODY.encode())).rjust(6, "0")
PASSWORD = "R7tk,Pq9;Lwz"


def test_a_valid_checksum_makes_a_token_certain_and_a_wrong_one_doubtful():
    (sure,) = secrets(f"use {GITHUB} please")
    (doubtful,) = secrets(f"use {GITHUB[:-1] + ('a' if GITHUB[-1] != 'a' else 'b')} please")
    assert (sure.score, sure.evidence) == (1.0, "checksum valid")
    assert doubtful.score < sure.score


def test_a_finding_names_the_place_and_holds_no_secret():
    (finding,) = secrets(f"use {GITHUB} please", place="/messages/0/content")
    assert (finding.start, finding.end) == (4, 44)
    assert finding.place == "/messages/0/content"
    assert finding.excerpt == "ghp_…(40 chars)"
    assert BODY[:6] not in repr(finding)
    assert finding.owasp == ("LLM02",)
    assert "AML.T0057" in finding.atlas


def test_equal_secrets_have_equal_digests_under_one_key():
    first, second = secrets(f"{GITHUB} and {GITHUB}")
    assert first.digest == second.digest
    assert len(first.digest) == 32


def test_a_secret_in_a_tool_result_belongs_to_other_entries():
    (finding,) = secrets(GITHUB, role="tool", provenance="tool_result")
    assert "ASI03" in finding.owasp


@pytest.mark.parametrize(
    "carrier",
    [
        "{}",
        "my token is {}, please",
        "export TOKEN={}\nnext",
        '{{"token": "{}"}}',
        r"{{\"token\": \"{}\"}}",
        r"line one\n{}\nline two",
        "https://api.acme.io/?token={}&x=1",
        "`{}`",
        "<b>{}</b>",
        "[{}](x)",
        "日本語{}日本語",
        "été {} là",
    ],
)
def test_a_token_is_found_whole_in_any_carrier(carrier):
    text = carrier.format(GITHUB)
    (finding,) = secrets(text)
    assert text[finding.start : finding.end] == GITHUB


@pytest.mark.parametrize(
    "text",
    [
        f"password = '{PASSWORD}'",
        f'password = "{PASSWORD}"',
        f'DB_PASSWORD: "{PASSWORD}"',
        f'{{"password": "{PASSWORD}"}}',
        f"<password>{PASSWORD}</password>".replace(";", "x").replace(",", "y"),
        f'connect(password="{PASSWORD}")',
        f'const String dbPassword = "{PASSWORD}";',
    ],
)
def test_an_assigned_password_is_taken_whole(text):
    value = PASSWORD if PASSWORD in text else PASSWORD.replace(";", "x").replace(",", "y")
    assert value in {text[f.start : f.end] for f in secrets(text)}


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("Just so you know, the root password is Xk9#mQ2!v.", "Xk9#mQ2!v"),
        ('The password for the staging box (user bob) is "Xk9#mQ2!v".', "Xk9#mQ2!v"),
        ("Password: Xk9#mQ2!v", "Xk9#mQ2!v"),
        ("our wifi passphrase is now zugspitze-2962m", "zugspitze-2962m"),
        ("Le mot de passe de la base est Xk9#mQ2!v", "Xk9#mQ2!v"),
        ("Das Passwort lautet Xk9#mQ2!v, bitte ändern.", "Xk9#mQ2!v"),
        ("La contraseña del servidor es Xk9#mQ2!v.", "Xk9#mQ2!v"),
        ("A senha do banco é Xk9#mQ2!v", "Xk9#mQ2!v"),
        ("La password di root è Xk9#mQ2!v", "Xk9#mQ2!v"),
        ("Het wachtwoord is Xk9#mQ2!v", "Xk9#mQ2!v"),
        ("Hasło do serwera to Xk9#mQ2!v", "Xk9#mQ2!v"),
        ("Пароль от сервера: Xk9#mQ2!v", "Xk9#mQ2!v"),
        ("服务器的密码是Xk9#mQ2!v。", "Xk9#mQ2!v"),
        ("パスワードはXk9#mQ2!vです", "Xk9#mQ2!v"),
        ("비밀번호는 Xk9#mQ2!v 입니다", "Xk9#mQ2!v"),
        ("log in as admin with password Xk9mQ2vT", "Xk9mQ2vT"),
        ("use Xk9mQ2vT as the admin password", "Xk9mQ2vT"),
        ("creds: admin / Xk9mQ2vT", "Xk9mQ2vT"),
    ],
)
def test_a_password_stated_in_a_sentence_is_found(text, password):
    (finding,) = secrets(text)
    assert text[finding.start : finding.end] == password


@pytest.mark.parametrize(
    "text",
    [
        "The password is required.",
        "the password is at least 12 characters long",
        "Your password is case-sensitive and is stored hashed.",
        "The password is the one you chose.",
        "Is the password correct? No: it is wrong.",
        "passwords: how to choose them",
        "Das Passwort ist falsch oder abgelaufen.",
        "Le mot de passe est obligatoire.",
        "La contraseña es incorrecta",
        "密码是必填项",
        "The API key is missing from the request.",
        "How do I reset my password in Python 3.12?",
        "password = input('Password: ')",
        "password: str = Field(min_length=8)",
        "if user.password == other.password:",
        "token = next(tokens)",
        "secret_key = settings.SECRET_KEY",
        "api_key: ${{ secrets.API_KEY }}",
        "API_KEY=$(pass show acme/api)",
        "PASSWORD={{ vault_password }}",
        "PASSWORD=<your password>",
        "api_key = 'YOUR_API_KEY'",
        "api_key = 'xxxxxxxxxxxxxxxxxxxxxxxx'",
        "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "password: ********",
        "max_tokens=4096, token_count=17",
        "public_key = 'MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA'",
        "postgresql://user:password@localhost/db",
        "https://user:${TOKEN}@github.com/acme/repo",
        "commit 3f2a9b7c1d4e5f60718293a4b5c6d7e8f9012345",
        "The GitHub commit 3f2a9b7c1d4e5f60718293a4b5c6d7e8f9012345 broke it",
        "request_id=0e5df71d-3acd-4ce4-b4b0-f60267e58763",
        '"integrity": "sha512-Ux1JUNswg+EfUEmajJjyhIohKceitY/yzjRUpu04WXgvVz+fbhVC0p+R0Jhv=="',
        "sha256:7902699be42c8a8e46fbbbb4501726517e86b22c56a189f7625a6da49081b2451",
        'ETag: "2fca346db656187102ce806ac732e06a62df0dbb"',
        "golang.org/x/sys v0.0.0-2018/go.mod h1:STP8DvDyc/dI5b8T5hshtkjS+E42TnysNCUPdjciGhY=",
        "eyJhbGciOi",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu1SU1LfV\n-----",
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(text):
    assert secrets(text) == []


def test_the_key_that_a_value_stood_under_speaks_for_it():
    assert rule_ids("R7tkPq9Lwz", label="password") == {"assigned-secret"}
    assert rule_ids("R7tkPq9Lwz", label="greeting") == set()
    (finding,) = secrets("R7tkPq9Lwz", label="db_password")
    assert (finding.start, finding.end) == (0, 10)


def test_a_hash_under_an_innocent_key_is_none():
    assert rule_ids("3f2a9b7c1d4e5f60718293a4b5c6d7e8", label="commit") == set()


def test_the_more_specific_rule_wins_at_the_same_place():
    assert rule_ids(f"Authorization: Bearer {GITHUB}") == {"github-pat"}
    assert rule_ids(f"password={GITHUB}") == {"github-pat"}


def test_a_jwt_names_its_claims_and_not_their_values():
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = json.dumps({"sub": "mallory", "iss": "acme", "exp": 1}).encode()
    claims = base64.urlsafe_b64encode(body).decode().rstrip("=")
    (finding,) = secrets(f"cookie {head}.{claims}.c2lnbmF0dXJlc2lnbmF0dXJl")
    assert finding.rule == "jwt"
    assert finding.evidence == "HS256, claims iss, sub, exp"
    assert "mallory" not in repr(finding)


def test_a_private_key_is_one_finding_from_begin_to_end():
    body = base64.encodebytes(b"\x30\x82" + bytes(range(3, 250)) * 3).decode()
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{body}-----END RSA PRIVATE KEY-----"
    text = f"here it is:\n{key}\nthanks"
    (finding,) = secrets(text)
    assert finding.rule == "private-key"
    assert text[finding.start : finding.end] == key


def test_findings_never_overlap_within_secrets():
    text = f'curl -u ci:{GITHUB} -H "Authorization: Bearer {GITHUB}" https://ci:{GITHUB}@acme.io'
    found = sorted((f.start, f.end) for f in secrets(text))
    assert len(found) == 3
    assert all(a[1] <= b[0] for a, b in pairwise(found))


def test_a_segment_seen_before_is_answered_from_memory_at_its_new_place():
    first = engine().scan([Segment(GITHUB, "user", "user", place="/a")])
    again = engine().scan([Segment(GITHUB, "user", "user", place="/b")])
    assert [f.place for f in (*first, *again)] == ["/a", "/b"]
    assert first[0].digest == again[0].digest
