"""How an attack is disguised: as an attacker who knows of filters would write it.

Two kinds, for what a model reads and for what a shell runs. Each is reversible by its reader, so
the attack still works; what changes what it says is not a disguise.
"""

from __future__ import annotations

import base64
import codecs
import gzip
import html
import json
import urllib.parse
from collections.abc import Callable, Mapping

CYRILLIC = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
"""Letters that look the same."""
TAGS = 0xE0000
FULL = 0xFEE0


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def with_gaps(text: str, gap: str) -> str:
    """Return a text with something between its characters, spaces left alone."""
    return gap.join(text)


def fullwidth(text: str) -> str:
    """Return the wide forms of ASCII (Unicode, Halfwidth and Fullwidth Forms)."""
    return "".join(chr(ord(char) + FULL) if "!" <= char <= "~" else char for char in text)


def tags(text: str) -> str:
    """Return a text in tag characters, which most programs do not show."""
    return "".join(chr(TAGS + ord(char)) if " " <= char <= "~" else char for char in text)


def escaped(text: str) -> str:
    r"""Return a text as ``\uXXXX``, as it stands in JSON that was put into JSON."""
    return json.dumps(json.dumps(text))[1:-1] if not text.isascii() else "".join(
        f"\\u{ord(char):04x}" for char in text
    )  # fmt: skip


TEXT: Mapping[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "base64": base64_of,
    "base64-twice": lambda text: base64_of(base64_of(text)),
    "gzip-base64": lambda text: base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode(),
    "hex": lambda text: text.encode().hex(),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent-some": lambda text: urllib.parse.quote(text, safe=""),
    "html": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "html-some": lambda text: html.escape(text).replace("o", "&#111;").replace("1", "&#49;"),
    "escaped": escaped,
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "reversed": lambda text: text[::-1],
    "zero-width": lambda text: with_gaps(text, "\u200b"),
    "soft-hyphen": lambda text: with_gaps(text, "\u00ad"),
    "fullwidth": fullwidth,
    "homoglyphs": lambda text: text.translate(CYRILLIC),
    "tags": tags,
    "joined": lambda text: '" + "'.join([f'"{text[:7]}', text[7:15], f'{text[15:]}"']),
}
SHELL: Mapping[str, Callable[[str], str]] = {
    "plain": lambda command: command,
    "in-a-chain": lambda command: f"cd /tmp && ls -la; {command}",
    "bash-c": lambda command: f"bash -c {shell_quoted(command)}",
    "sudo-env": lambda command: f"sudo env LANG=C {command}",
    "quoted": lambda command: f"{command[0]}''{command[1:]}",
    "backslash": lambda command: f"\\{command}",
    "ifs": lambda command: command.replace(" ", "${IFS}", 1),
    "by-variable": lambda command: f"X={command.split(' ')[0]}; $X {command.partition(' ')[2]}",
    "base64-pipe": lambda command: f"echo {base64_of(command)} | base64 -d | sh",
    "xargs": lambda command: f"printf %s {shell_quoted(command)} | xargs -0 sh -c",
    "python": lambda command: f"python3 -c {shell_quoted(in_python(command))}",
    "eval": lambda command: f"eval {shell_quoted(command)}",
}
DISGUISES: Mapping[str, Mapping[str, Callable[[str], str]]] = {
    "text": TEXT,
    "shell": SHELL,
    "none": {"plain": TEXT["plain"]},
}
"""By the kind that an attack names."""


def in_python(command: str) -> str:
    """Return a program that runs a command."""
    return f"import os; os.system({json.dumps(command)})"


def shell_quoted(text: str) -> str:
    """Return a text as one word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"
