"""Programs that run another program: what they really run, however deep it is wrapped."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from milecastle.detect.vocabulary import vocabulary

SHELLS = vocabulary("sh bash zsh dash ash ksh mksh fish csh tcsh rbash busybox-sh")
SCRIPTERS: Mapping[str, tuple[str, ...]] = {
    "python": ("-c",),
    "perl": ("-e", "-E", "-ne", "-pe", "-lne", "-Mre"),
    "ruby": ("-e",),
    "node": ("-e", "--eval", "-p"),
    "deno": ("eval",),
    "php": ("-r",),
    "lua": ("-e",),
    "osascript": ("-e",),
    "vim": ("-c", "--cmd"),
    "vi": ("-c",),
    "nvim": ("-c",),
    "mongosh": ("--eval",),
    "mongo": ("--eval",),
    "gdb": ("-ex",),
}
"""Interpreters and the options behind which a script stands."""
DEEPEST = 12
TAKES_VALUE: Mapping[str, frozenset[str]] = {
    "sudo": vocabulary("-u -g -p -C -r -t -h -T -U -D -R"),
    "doas": vocabulary("-u -C"),
    "env": vocabulary("-u --unset -C --chdir -S"),
    "timeout": vocabulary("-k -s --kill-after --signal"),
    "nice": vocabulary("-n"),
    "ionice": vocabulary("-c -n -p"),
    "chrt": vocabulary("-T -P -D"),
    "stdbuf": vocabulary("-i -o -e"),
    "xargs": vocabulary("-n -P -I -L -d -s -E -a --max-args --max-procs --delimiter"),
    "watch": vocabulary("-n --interval"),
    "setsid": frozenset(),
    "nohup": frozenset(),
    "time": vocabulary("-f -o"),
    "command": frozenset(),
    "builtin": frozenset(),
    "exec": vocabulary("-a"),
    "unbuffer": frozenset(),
    "proxychains": vocabulary("-f"),
    "proxychains4": vocabulary("-f"),
    "torsocks": frozenset(),
    "systemd-run": vocabulary("-u --unit -p --property -M --machine"),
    "strace": vocabulary("-e -o -p -s"),
    "faketime": frozenset(),
    "caffeinate": vocabulary("-t -w"),
    "busybox": frozenset(),
    "toybox": frozenset(),
    "flatpak-spawn": frozenset(),
    "wsl": vocabulary("-d -u"),
    "then": frozenset(),
    "do": frozenset(),
    "else": frozenset(),
    "!": frozenset(),
}
"""Programs that run the rest of their line, and which of their options take a value."""
FIRST_IS_OWN = frozenset({"timeout", "faketime"})
"""Whose first argument is not the program yet."""
SSH_VALUES = vocabulary("-b -c -D -E -e -F -I -i -J -L -l -m -O -o -p -Q -R -S -W -w")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
GLOB = re.compile(r"[?*\[]")
COMMON = tuple(
    vocabulary("cat sh bash nc rm curl wget chmod python3 python perl dd tee base64 scp")
)


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What is run in the end."""

    words: tuple[str, ...]
    scripts: tuple[str, ...] = ()
    """Shell source that it is given as an argument."""
    code: tuple[str, str] | None = None
    """(language, source) of a script in another language."""
    through: tuple[str, ...] = ()
    """The programs around it, outermost first."""
    file: str = ""
    """The program as it was written, with its directory."""


def program(word: str) -> str:
    """Return a program's plain name: no directory, no ``.exe``, ``python3.12`` is python."""
    name = word.replace("\\", "/").rpartition("/")[2].removesuffix(".exe").removesuffix(".EXE")
    if GLOB.search(name) and "/" in word:
        name = next((known for known in COMMON if fnmatchcase(known, name)), name)
    if re.fullmatch(r"(?:python|pypy|pip|perl|ruby|php|lua|node)[0-9.]*", name):
        return name.rstrip("0123456789.").replace("pypy", "python")
    return name


def unwrap(words: tuple[str, ...]) -> Unwrapped:
    """Peel off wrappers until the program is bare."""
    through: list[str] = []
    for _ in range(DEEPEST):
        while words and ASSIGNMENT.match(words[0]):
            words = words[1:]
        if not words:
            break
        name = program(words[0])
        inner = inside(name, words)
        if inner is None:
            break
        through.append(name)
        if isinstance(inner, Unwrapped):
            return Unwrapped(inner.words, inner.scripts, inner.code, tuple(through))
        words = inner
    file = words[0] if words else ""
    if words:
        words = (program(words[0]), *words[1:])
    return Unwrapped(words, through=tuple(through), file=file)


def inside(name: str, words: tuple[str, ...]) -> tuple[str, ...] | Unwrapped | None:
    """Return what this program runs: words, or scripts; None where it is no wrapper."""
    if name in SHELLS:
        return shell(words)
    if name in SCRIPTERS:
        return interpreted(name, words)
    special = SPECIAL.get(name)
    if special:
        return special(words)
    if name in TAKES_VALUE:
        rest = after_options(words[1:], TAKES_VALUE[name])
        if name == "env" and "-S" in words[:-1]:
            return Unwrapped((name,), scripts=(words[words.index("-S") + 1],))
        rest = rest[1:] if name in FIRST_IS_OWN else rest
        return rest or None
    return None


def interpreted(name: str, words: tuple[str, ...]) -> Unwrapped | None:
    """Read ``python -c CODE``, ``ruby -e'CODE'`` and their kin."""
    for at, word in enumerate(words[1:], 1):
        for option in SCRIPTERS[name]:
            if word == option and at + 1 < len(words):
                return Unwrapped((name, option), code=(name, words[at + 1]))
            if len(option) == 2 and word.startswith(option) and len(word) > 8:
                return Unwrapped((name, option), code=(name, word[2:]))
    return None


def after_options(words: tuple[str, ...], valued: frozenset[str]) -> tuple[str, ...]:
    """Return what stands behind the options."""
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "-":
        if words[at] == "--":
            return words[at + 1 :]
        at += 2 if words[at] in valued else 1
    return words[at:]


def shell(words: tuple[str, ...]) -> Unwrapped | None:
    """Read ``sh -c SCRIPT`` and its kin (``bash -lc``, ``sh -e -c``)."""
    for at, word in enumerate(words[1:], 1):
        if word.startswith("-") and not word.startswith("--") and "c" in word[1:]:
            return Unwrapped(words[:1], scripts=words[at + 1 : at + 2])
    return None


def evaluated(words: tuple[str, ...]) -> Unwrapped:
    return Unwrapped(words[:1], scripts=(" ".join(words[1:]),))


def ssh(words: tuple[str, ...]) -> Unwrapped | None:
    rest = after_options(words[1:], SSH_VALUES)
    return Unwrapped(words[:1], scripts=(" ".join(rest[1:]),)) if len(rest) > 1 else None


def su(words: tuple[str, ...]) -> Unwrapped | None:
    for option in ("-c", "--command", "-lc"):
        if option in words[1:-1]:
            return Unwrapped(words[:1], scripts=(words[words.index(option) + 1],))
    return None


def find(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """Read ``find DIR … -exec CMD {} ;``: the command on the directory."""
    for option in ("-exec", "-execdir", "-ok"):
        if option in words:
            at = words.index(option)
            command = [word for word in words[at + 1 :] if word not in {";", "+", "\\;"}]
            where = [word for word in words[1:at] if not word.startswith("-")][:1] or ["."]
            chosen = any(word.startswith(("-name", "-iname", "-path", "-mtime")) for word in words)
            each = where[0].rstrip("/") + ("/found" if chosen else "/*")
            return tuple(each if word == "{}" else word for word in command)
    return None


def awk(words: tuple[str, ...]) -> Unwrapped | None:
    """Read awk's program where it starts another."""
    for word in words[1:]:
        if "system(" in word or "/inet/tcp" in word:
            return Unwrapped(words[:1], code=("awk", word))
    return None


def tar(words: tuple[str, ...]) -> Unwrapped | None:
    """Read the commands that tar's own options run."""
    found = re.search(
        r"--checkpoint-action=exec=(.*)|--(?:use-compress-program|to-command)=(.*)",
        "\n".join(words),
    )
    return (
        Unwrapped(words[:1], scripts=(found.group(1) or found.group(2) or "",)) if found else None
    )


def remote(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """Read what is run in a container that exists: ``docker exec -it NAME CMD``."""
    if "exec" not in words[:4]:
        return None
    rest = words[words.index("exec") + 1 :]
    if "--" in rest:
        return rest[rest.index("--") + 1 :] or None
    return after_options(rest, vocabulary("-e -u -w --user --env -n -c"))[1:] or None


def windows(words: tuple[str, ...]) -> Unwrapped | None:
    """Read PowerShell's -Command and -EncodedCommand (UTF-16 in base64), and cmd /c."""
    for at, word in enumerate(words[1:], 1):
        option = word.lower()
        rest = " ".join(words[at + 1 :])
        if re.fullmatch(r"[-/]e(?:nc?|c|ncodedcommand)?", option) and rest:
            try:
                rest = base64.b64decode(rest).decode("utf-16-le", errors="replace")
            except (binascii.Error, ValueError):
                return None
            return Unwrapped(words[:1], code=("powershell", rest))
        if re.fullmatch(r"[-/]c(?:ommand)?|/k", option):
            return Unwrapped(words[:1], code=("powershell", rest))
    plain = [word for word in words[1:] if not word.startswith(("-", "/"))]
    return Unwrapped(words[:1], code=("powershell", " ".join(plain))) if plain else None


SPECIAL: Mapping[str, Callable[[tuple[str, ...]], tuple[str, ...] | Unwrapped | None]] = {
    "eval": evaluated,
    "ssh": ssh,
    "su": su,
    "runuser": su,
    "script": su,
    "find": find,
    "awk": awk,
    "gawk": awk,
    "tar": tar,
    "docker": remote,
    "podman": remote,
    "kubectl": remote,
    "powershell": windows,
    "pwsh": windows,
    "cmd": windows,
}
