"""Through an interpreter to the program that it runs: `python3 -m aider` is aider, not Python.

Pure. The arguments are what the process chose to show, perhaps long after it began; so a script is
a hint about what an executable does, never a proof.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LONGEST = 1024
TEXT = "-c"
"""Stands for a program that was given as text, which is not kept."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """How the arguments of one kind of interpreter are read, up to the program."""

    valued: frozenset[str] = frozenset()
    """Options whose value is the next argument."""
    text: frozenset[str] = frozenset()
    """Options that a program follows as text."""
    named: frozenset[str] = frozenset()
    """Options that the program's name follows: ``-m``, ``-jar``."""
    verbs: frozenset[str] = frozenset()
    """Words before the program: ``bun run``."""
    joined: str = ""
    """Letters of short options that may be joined to others, such as the c of ``-lc``."""
    a_path: bool = True
    """Whether the first other argument is a file."""


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


SHELL = Interpreter(valued=words("-o +o -O +O --rcfile --init-file"), joined="c")
INTERPRETERS: Mapping[re.Pattern[str], Interpreter] = {
    re.compile(r"python[0-9.]*|pypy[0-9.]*"): Interpreter(
        valued=words("-W -X --check-hash-based-pycs"), named=words("-m"), joined="c"
    ),
    re.compile(r"node|nodejs|electron"): Interpreter(
        valued=words(
            "-r --require --import --loader --experimental-loader -C --conditions --title "
            "--env-file --max-old-space-size --inspect-port --icu-data-dir"
        ),
        text=words("-e --eval -p --print -pe"),
    ),
    re.compile(r"bun|bunx"): Interpreter(
        valued=words("-r --preload --cwd -c --config --env-file"),
        text=words("-e --eval -p --print"),
        verbs=words("run x exec"),
    ),
    re.compile(r"deno"): Interpreter(
        valued=words("-c --config --import-map -L --log-level --lock --cert"),
        text=words("eval"),
        verbs=words("run serve"),
    ),
    re.compile(r"java"): Interpreter(
        valued=words(
            "-cp -classpath --class-path -p --module-path --upgrade-module-path --add-modules "
            "--add-opens --add-exports --add-reads --patch-module"
        ),
        named=words("-jar -m --module"),
        a_path=False,
    ),
    re.compile(r"ruby[0-9.]*"): Interpreter(valued=words("-I -r -C -E"), text=words("-e")),
    re.compile(r"perl[0-9.]*"): Interpreter(valued=words("-I"), text=words("-e -E")),
    re.compile(r"php[0-9.]*"): Interpreter(valued=words("-c -d -z"), text=words("-r")),
    re.compile(r"sh|bash|dash|zsh|ksh|ash|busybox"): SHELL,
}
"""By the name of the executable's file."""


def interpreter(exe: str | None) -> Interpreter | None:
    """Return how the arguments of this executable are read, None where it is no interpreter."""
    name = posixpath.basename(exe or "")
    return next((kind for test, kind in INTERPRETERS.items() if test.fullmatch(name)), None)


def script_of(exe: str | None, argv: Sequence[str], cwd: str | None = None) -> str | None:
    """Return what an interpreter runs; None where it is none, or reads its program from elsewhere.

    A path is made absolute by ``cwd``, in text only: links are not followed.
    """
    kind = interpreter(exe)
    if kind is None:
        return None
    rest = iter(argv[1:])
    for word in rest:
        if word in kind.named:
            return found(f"{word} {next(rest, '')}", None)
        if word in kind.text or (kind.joined and re.fullmatch(rf"-[a-zA-Z]*{kind.joined}", word)):
            return TEXT
        if word in kind.valued:
            next(rest, None)
        elif word == "--":
            return found(next(rest, ""), cwd)
        elif word in kind.verbs or (word[:1] in "-+" and word != "-"):
            continue
        else:
            return found(word, cwd if kind.a_path else None)
    return None


def found(program: str, cwd: str | None) -> str | None:
    """Return a program's name as it is kept."""
    program = program.strip()[:LONGEST]
    if not program or program == "-":
        return None
    if cwd and not program.startswith(("/", "-")):
        program = posixpath.join(cwd, program)
    return posixpath.normpath(program) if program.startswith("/") else program
