"""What a command does to files and hosts, as a table of programs.

Each program's reader yields (verb, object) pairs: ``reads``, ``writes``, ``deletes``,
``deletes-tree``, ``fetches``, ``sends`` and ``saves`` (a fetched file). The rules are written for
these, so that ``cat``, ``dd if=`` and ``curl -d @`` are one thing to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from milecastle.detect.tools.paths import host, is_local, path
from milecastle.detect.vocabulary import vocabulary

type Effect = tuple[str, str]
type Words = Sequence[str]

OUTPUT = re.compile(r"⟦([^⟧]{1,200})⟧?")
URL = re.compile(r"^(?:https?|ftp)://|^[\w.-]+\.[a-z]{2,}(?:[/:?]|$)", re.IGNORECASE)
CHOOSERS = vocabulary("-name -iname -mtime -path -size -empty -newer -regex")
"""Tests by which find leaves most of a tree alone."""
ARCHIVE_FLAG = re.compile(r"-?[a-zA-Z]*c[a-zA-Z]*$")


def plain(words: Words, valued: frozenset[str] = frozenset()) -> list[str]:
    """Return the arguments that are no options, nor an option's value."""
    found = []
    skip = False
    for word in words[1:]:
        if skip:
            skip = False
        elif word in valued:
            skip = True
        elif not word.startswith("-") or word == "-":
            found.append(word)
    return found


def values(words: Words, *options: str) -> Iterator[str]:
    """Yield the values of these options: ``-o x``, ``-ox``, ``--out x``, ``--out=x``."""
    for at, word in enumerate(words):
        for option in options:
            if word == option:
                yield from words[at + 1 : at + 2]
            elif option.startswith("--") and word.startswith(option + "="):
                yield word[len(option) + 1 :]
            elif re.fullmatch(r"-[a-zA-Z]", option) and re.match(rf"{option}[^=-]", word):
                yield word[2:]


def reading(words: Words) -> Iterator[Effect]:
    for word in plain(words):
        yield "reads", path(word)


def searching(words: Words) -> Iterator[Effect]:
    """Read grep, sed, awk, jq: the first argument is an expression, the others are files."""
    files = plain(words, vocabulary("-e -f -A -B -C -m --include --exclude --arg --argjson"))
    if not any(word.startswith(("-e", "--regexp", "--expression", "-f")) for word in words):
        files = files[1:]
    changes = words[0] == "sed" and any(
        re.match(r"-[a-zA-Z]*i|--in-place", word) for word in words[1:]
    )
    for word in files:
        yield ("writes" if changes else "reads"), path(word)


def copying(words: Words) -> Iterator[Effect]:
    targets = list(values(words, "-t", "--target-directory"))
    files = plain(words, vocabulary("-t --target-directory -m -o -g -S"))
    if not targets and len(files) > 1:
        targets, files = files[-1:], files[:-1]
    for word in files:
        yield "reads", path(word)
    for word in targets:
        yield "writes", path(word)


def linking(words: Words) -> Iterator[Effect]:
    for word in plain(words)[1:]:
        yield "writes", path(word)


def writing(words: Words) -> Iterator[Effect]:
    for word in plain(words):
        yield "writes", path(word)


def disk_dump(words: Words) -> Iterator[Effect]:
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key in {"if", "of"} and value:
            yield ("reads" if key == "if" else "writes"), path(value)


def removing(words: Words) -> Iterator[Effect]:
    flags = [word for word in words[1:] if word.startswith("-")]
    tree = any(re.match(r"-[a-zA-Z]*[rR]|--recursive|--no-preserve-root", word) for word in flags)
    for word in plain(words):
        yield ("deletes-tree" if tree else "deletes"), path(word)


def shredding(words: Words) -> Iterator[Effect]:
    for word in plain(words, vocabulary("-n -s --iterations")):
        yield "deletes", path(word)


def finding(words: Words) -> Iterator[Effect]:
    if "-delete" in words:
        roots = []
        for word in words[1:]:
            if word.startswith(("-", "(", "!")):
                break
            roots.append(word)
        chosen = [
            word
            for word in words
            if word in {"-name", "-iname", "-mtime", "-path", "-size", "-empty"}
        ]
        for word in roots or ["."]:
            yield ("deletes" if chosen else "deletes-tree"), path(word)


def archiving(words: Words) -> Iterator[Effect]:
    made = any(ARCHIVE_FLAG.match(word) for word in words[1:2]) or "--create" in words
    if words[0] == "tar" and not made:
        return
    files = plain(words, vocabulary("-f -C --file --directory --exclude"))
    files = (
        files[1:] if files and re.match(r"^-?[a-zA-Z]*f|^[a-z]+$", " ".join(words[1:2])) else files
    )
    for word in files:
        yield "reads", path(word)


def sources(words: Words) -> list[str]:
    """Return what curl, wget and httpie are told to send: files, outputs, ``-`` for the pipe."""
    found = []
    data = values(
        words, "-d", "--data", "--data-binary", "--data-raw", "--data-urlencode", "--data-ascii",
        "--json", "--post-data", "--body-data",
    )  # fmt: skip
    for value in data:
        if "⟦" in value:
            found.append(output(value))
        elif "@" in value and (value.startswith("@") or re.match(r"^[\w.-]*@[^@\s]+$", value)):
            found.append(value.partition("@")[2])
    for value in values(words, "-F", "--form"):
        if "⟦" in value:
            found.append(output(value))
        for part in re.findall(r"=[@<]([^;,\s]+)", value):
            found.append(part)
    found += values(words, "-T", "--upload-file", "--post-file", "--body-file")
    return found


def output(text: str) -> str:
    """Return ``output of cat x`` for a word that holds such a substitution."""
    found = OUTPUT.search(text)
    return "output of " + " ".join(path(word) for word in found.group(1).split()) if found else ""


POSTS = vocabulary(
    "-d --data --data-raw --data-binary --json -F --form --post-data --data-urlencode"
)
HTTP_VALUES = vocabulary(
    "-d --data --data-binary --data-raw --data-urlencode --data-ascii --json -F --form -H --header "
    "-X --request -o --output -u --user -A --user-agent -e --referer -b --cookie -c --cookie-jar "
    "-T --upload-file -m --max-time --retry --connect-timeout -w --write-out -x --proxy --cacert "
    "--cert --key -K --config -O --output-document -P --directory-prefix -U --tries -t --timeout "
    "--post-file --post-data --body-file --body-data --method -r --range --resolve -E"
)


def fetching(words: Words) -> Iterator[Effect]:
    """Read curl, wget and the like."""
    name = words[0]
    valued = HTTP_VALUES - {"-O"} if name == "curl" else HTTP_VALUES
    for word in words[1:]:
        if word.startswith("file://"):
            yield "reads", path(word)
    urls = [word for word in plain(words, valued) if URL.match(word) or "⟦" in word or "$" in word]
    target = next((host(url) for url in urls if host(url)), "")
    sent = sources(words)
    if name in {"http", "https", "xh"}:
        sent += [word[1:] for word in words if word.startswith("@")]
    for what in sent:
        yield from sending("the pipe" if what in {"-", "/dev/stdin"} else what, target)
    if not sent and target and not is_local(target) and any(word in POSTS for word in words):
        yield "posts", target
    for url in urls:
        if "⟦" in url:
            yield from sending(output(url), target or "a host")
        if not sent:
            yield "fetches", url[:200]
    saved = list(values(words, "-o", "--output")) if name == "curl" else []
    if name == "wget":
        saved = list(values(words, "--output-document"))
        for at, word in enumerate(words):
            option = re.fullmatch(r"-[a-zA-Z]*O(.*)", word)
            if option:
                saved += [option.group(1)] if option.group(1) else words[at + 1 : at + 2]
    elif name == "aria2c":
        saved = list(values(words, "-o", "--out"))
    if not saved and urls and (name == "wget" or any(re.match(r"-[a-zA-Z]*O", w) for w in words)):
        saved = [urls[0].split("?")[0].rpartition("/")[2]]
    for word in saved:
        if word not in {"-", "/dev/null"}:
            yield "saves", path(word)
            yield "writes", path(word)


def sending(what: str, target: str) -> Iterator[Effect]:
    if not what:
        return
    if not what.startswith(("output of", "the pipe")):
        what = path(what)
        yield "reads", what
    verb = "sends-near" if target and is_local(target) else "sends"
    yield verb, f"{what} to {target or 'a host'}"


def copying_away(words: Words) -> Iterator[Effect]:
    """Read scp, rsync, sftp, rclone, aws s3 cp, gsutil cp: to a remote place or from one."""
    files = plain(words, vocabulary("-P -i -e -l -o -F -c --exclude --include --profile"))
    files = [word for word in files if word not in {"s3", "cp", "sync", "copy", "mv", "storage"}]
    if len(files) < 2:
        return
    target = files[-1]
    where = re.match(r"^(?:[\w.-]+@)?([\w.-]+):(?!//)|^(?:s3|gs|rsync|sftp|az)://([^/]+)", target)
    if where:
        for word in files[:-1]:
            yield from sending(word, (where.group(1) or where.group(2)).lower())
    elif not re.match(r"^[\w.@-]+:", files[0]):
        yield from copying(words)


def connecting(words: Words) -> Iterator[Effect]:
    """Read nc, ncat, socat, telnet and openssl s_client: what comes in at the pipe goes out."""
    text = " ".join(words[1:])
    if re.search(r"(?:^| )-[a-zA-Z]*l", text) and words[0] != "openssl":
        yield "listens", words[0]
        return
    files = plain(words, vocabulary("-w -p -s -i -q"))
    target = files[0] if files else ""
    if words[0] == "socat":
        found = re.search(r"(?:TCP4?|UDP4?|OPENSSL|SSL):([^:,\s]+)", text, re.IGNORECASE)
        target = found.group(1) if found else ""
    elif words[0] == "openssl":
        target = next(values(words, "-connect"), "").partition(":")[0]
    if target:
        yield "connects", target


def naming(words: Words) -> Iterator[Effect]:
    """Read dig, nslookup, host, ping: a name that is made of a secret leaves by DNS."""
    for word in words[1:]:
        if "⟦" in word:
            yield "sends", f"{output(word)} to the DNS"


def mailing(words: Words) -> Iterator[Effect]:
    target = next(
        (word for word in plain(words, frozenset({"-s", "-a", "-A", "-r"})) if "@" in word), ""
    )
    where = target.rpartition("@")[2] or "somebody by mail"
    attached = list(values(words, "-a", "-A", "--attach"))
    for word in attached:
        yield from sending(word, where)
    if not attached:
        yield "connects", where


def pasting(words: Words) -> Iterator[Effect]:
    if words[0] == "gh" and list(words[1:3]) != ["gist", "create"]:
        return
    for word in plain(words):
        if word not in {"gist", "create"}:
            yield from sending(word, "gist.github.com" if "g" in words[0] else "a paste site")


PROGRAMS: Mapping[str, Callable[[Words], Iterator[Effect]]] = {
    **dict.fromkeys(
        vocabulary(
            "cat less more head tail bat nl tac strings xxd hexdump od base64 base32 gpg openssl "
            "cut sort uniq wc diff rev vim vi nano emacs view type Get-Content gc readlink "
            "gzip bzip2 xz unshadow john hashcat"
        ),
        reading,
    ),
    **dict.fromkeys(vocabulary("grep egrep fgrep rg ag awk gawk sed jq yq perl"), searching),
    **dict.fromkeys(vocabulary("cp mv install ditto"), copying),
    "ln": linking,
    **dict.fromkeys(vocabulary("tee truncate sponge"), writing),
    **dict.fromkeys(vocabulary("dd dcfldd"), disk_dump),
    **dict.fromkeys(vocabulary("rm rmdir unlink trash"), removing),
    **dict.fromkeys(vocabulary("shred wipe srm"), shredding),
    "find": finding,
    **dict.fromkeys(vocabulary("tar zip 7z rar"), archiving),
    **dict.fromkeys(vocabulary("curl wget http https xh aria2c lwp-download fetch"), fetching),
    **dict.fromkeys(vocabulary("scp rsync sftp rclone aws gsutil gcloud"), copying_away),
    **dict.fromkeys(vocabulary("nc ncat netcat socat telnet"), connecting),
    **dict.fromkeys(vocabulary("dig nslookup host ping drill"), naming),
    **dict.fromkeys(vocabulary("mail mailx mutt sendmail msmtp swaks"), mailing),
    **dict.fromkeys(vocabulary("gh gist pastebinit"), pasting),
}
FETCHERS = vocabulary("curl wget http xh aria2c fetch lwp-download")


def effects(words: Words) -> Iterator[Effect]:
    """Yield what one command does, as far as its program is known."""
    if not words:
        return
    read = connecting if words[0] == "openssl" and "s_client" in words else PROGRAMS.get(words[0])
    if read:
        yield from read(words)
