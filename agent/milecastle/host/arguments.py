"""Arguments of a process as they may be stored, shown and sent about: without the secrets.

`masking` knows what a secret looks like in one word; here is what only a list can tell: that an
argument belongs to the option before it, and what that option means to this program. Arguments
that hold a command line themselves (``sh -c``) are read word by word as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from milecastle.host.masking import MASK, is_secret, mask

DEPTH = 2
"""Command lines inside command lines that are followed."""
WORD = re.compile(r"""(?:"(?:[^"\\]|\\.)*+"?|'[^']*+'?|[^\s"'])++""", re.DOTALL)
NAMED = re.compile(r"(-{0,2}[\w.-]+=)(.+)", re.DOTALL)


def whole(value: str) -> str:
    """Mask all of it."""
    return MASK


def pair(value: str) -> str:
    """Mask the password of ``user:password`` or ``user%password``, or a key that stands alone."""
    found = re.search("[:%=]", value)
    if not found:
        return mask(value)
    user, password = value[: found.start()], value[found.end() :]
    return f"{mask(user)}{found[0]}{MASK}" if password else f"{MASK}{found[0]}"


type Option = tuple[re.Pattern[str], Callable[[str], str]]


def option(pattern: str, masked: Callable[[str], str] = whole) -> Option:
    """Return an option: the flag is group 1, and group 2 the value where it is joined to it."""
    return re.compile(pattern, re.DOTALL), masked


CURL = (
    option(r"(-[#0-9afgGiIjJkLlMnNOpqRsSvZ]*[uU]|--(?:proxy-)?user=?)(.*)", pair),
    option(r"(-b|--cookie)()", pair),
)
ATTACHED = (option(r"(-p)(.+)"),)
EITHER = (option(r"(-p)(.*)"),)
HTTPIE = (option(r"(-a|--auth=?)(.*)", pair),)
BIND = (option(r"(-w)(.*)"),)
OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "7z": ATTACHED,
    "curl": CURL,
    "http": HTTPIE,
    "https": HTTPIE,
    "ipmitool": (option(r"(-P)(.*)"),),
    "ldapadd": BIND,
    "ldapmodify": BIND,
    "ldapsearch": BIND,
    "login": (option(r"(-p)()"),),  # docker login, az login
    "mariadb": ATTACHED,
    "mariadb-dump": ATTACHED,
    "mongo": EITHER,
    "mongodump": EITHER,
    "mongosh": EITHER,
    "mysql": ATTACHED,
    "mysqladmin": ATTACHED,
    "mysqldump": ATTACHED,
    "redis-cli": (option(r"(-a)()"),),
    "set": (option(r"([\w.]*(?:secret|token|passw)[\w.]*)()"),),  # aws configure set
    "smbclient": (option(r"(-U|--user=?)(.*)", pair),),
    "sqlcmd": (option(r"(-P)(.*)"),),
    "ssh": (),  # sshpass -p PASSWORD ssh -p 22
    "sshpass": EITHER,
    "unzip": (option(r"(-P)()"),),
    "zip": (option(r"(-P)()"),),
}
"""Options whose names do not say that a password follows, by the program that they belong to:
the last of these that is named before them."""


def masked(argv: Sequence[str]) -> tuple[str, ...]:
    """Return as many arguments, with ``[MASKED]`` where a secret stood."""
    return tuple(_list(argv, DEPTH))


def _list(words: Sequence[str], depth: int) -> list[str]:
    told: list[str] = []
    options: tuple[Option, ...] = ()
    expected: Callable[[str], str] | None = None
    for word in words:
        bare = word.strip("\"'")
        if expected and bare and not bare.startswith("--"):
            told.append(expected(bare))
            expected = None
            continue
        expected = None
        if "://" not in bare:
            options = OPTIONS.get(bare.rsplit("/", 1)[-1], options)
        for pattern, hide in options:
            if found := pattern.fullmatch(bare):
                told.append(found[1] + hide(found[2]) if found[2] else word)
                expected = None if found[2] else hide
                break
        else:
            told.append(_word(word, depth))
            expected = whole if bare.startswith("-") and is_option(bare) else None
    return told


def is_option(word: str) -> bool:
    """Tell whether a word is an option whose name says that the next word is a secret."""
    return re.fullmatch(r"--?[\w.-]+", word) is not None and is_secret(word)


def _word(word: str, depth: int) -> str:
    """Mask inside one word, which may be a command line itself."""
    if (named := NAMED.fullmatch(word)) and is_secret(named[1]):
        return named[1] + MASK
    text = mask(word)
    if not depth or not re.search(r"\s", text.strip()):
        return text
    quote = text[0] if text[0] in "\"'" and text[-1] == text[0] else ""
    text = text[len(quote) : len(text) - len(quote)]
    inner = iter(_list(WORD.findall(text), depth - 1))
    return quote + WORD.sub(lambda _place: next(inner), text) + quote
