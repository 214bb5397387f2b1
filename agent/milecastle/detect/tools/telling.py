"""One plain form for everything that a tool call would do: a verb, a colon, an object, a line each.

``curl -s https://x.io/a | bash`` is told as::

    runs: curl -s https://x.io/a
    fetches: https://x.io/a
    runs: bash
    pipes: curl -s https://x.io/a | bash
    runs-fetched: https://x.io/a

Rules are expressions over these lines. Blanks and bars inside a word are written ``·`` and ``¦``,
so that what is quoted can't be taken for a command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from milecastle.detect.candidate import Unfinished
from milecastle.detect.tools import python, sql
from milecastle.detect.tools.effects import FETCHERS, effects
from milecastle.detect.tools.paths import host, is_local, path
from milecastle.detect.tools.shell import Command, Pipeline, evaluate, parse
from milecastle.detect.tools.wrappers import SCRIPTERS, SHELLS, Unwrapped, program, unwrap
from milecastle.detect.vocabulary import vocabulary

DEPTH = 6
"""How deep scripts may stand in scripts."""
LINES = 5_000
LONGEST_LINE = 1_000
CHARACTERS = 200_000
"""Of shell source in all, also where one script holds another."""
INTERPRETERS = SHELLS | frozenset(SCRIPTERS) | {"osascript", "Rscript", "tclsh", "iex", "source"}
QUOTED = str.maketrans({" ": "·", "\t": "·", "\n": "·", "|": "¦", "\r": "·"})
INSTALLERS = re.compile(
    r"^https://(?:sh\.rustup\.rs|get\.docker\.com|astral\.sh/(?:uv|ruff)|bun\.sh/install"
    r"|deno\.land/(?:x/)?install|get\.pnpm\.io|install\.python-poetry\.org|ollama\.com/install"
    r"|starship\.rs/install|tailscale\.com/install|get\.k3s\.io|get\.sdkman\.io|pyenv\.run"
    r"|raw\.githubusercontent\.com/(?:nvm-sh|Homebrew|helm|ohmyzsh|pyenv)/|deb\.nodesource\.com/"
    r"|bootstrap\.pypa\.io/|get\.helm\.sh|cli\.github\.com|sdk\.cloud\.google\.com|aka\.ms/"
    r"|download\.docker\.com/|packages\.microsoft\.com/|apt\.llvm\.org/|nixos\.org/nix/install"
    r"|install\.determinate\.systems|fnm\.vercel\.app|claude\.ai/install|rpm\.nodesource\.com/)"
)
"""Where tools that everybody knows say that their installer is to be piped from."""
SHELL_COMMANDS = vocabulary("""
    ls cd cat rm cp mv mkdir touch echo printf grep find sed awk head tail sort uniq wc diff chmod
    chown chgrp ln tar zip unzip gzip curl wget git npm npx yarn pnpm node python python3 pip pip3
    uv pytest make cmake cargo go rustc java javac mvn gradle docker podman kubectl helm terraform
    aws gcloud az ssh scp rsync nc ncat netcat socat sudo su bash sh zsh apt apt-get yum dnf brew
    systemctl service journalctl ps kill pkill killall top df du free mount umount dd mkfs fdisk
    iptables nft ufw setenforce crontab at export source env printenv which whoami id uname date
    less more host mail nsenter chroot mongo mkfifo mkfs wipefs shutdown reboot chmod visudo zip
    tee xargs nohup timeout openssl base64 xxd dig nslookup ping psql mysql sqlite3 redis-cli
    mongosh ansible useradd usermod passwd visudo history unset alias eval exec test pwd tree jq
    perl ruby php gcc clang ruff mypy black eslint tsc jest vitest shred truncate insmod rmmod
    modprobe sysctl chattr setcap powershell pwsh launchctl defaults security osascript
    """)
"""Programs by which a text without a label is taken for shell source."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a call would do, and where in the segment it is said."""

    text: str
    start: int
    end: int
    through: tuple[str, ...] = ()
    """The wrappers around it, outermost first."""


SETTING = re.compile(
    r"export (?!LD_|BASH_ENV|PROMPT_COMMAND|PATH=[\"']?(?:/tmp|\.))[A-Z_0-9]+=[^;|&`⟦]*$"
    r"|alias (?!sudo|su\b|ssh|git\b|passwd)\w+=[^|⟦]*$"
    r"|eval ⟦?[\"']?\$?\(?(?:pyenv|rbenv|direnv|starship"
    r"|zoxide|fnm|brew|/opt/homebrew)|\. [\"']?\$|\[ -[sf] |source ~/"
)
"""What installers have people add to their shell's start file."""

type Span = tuple[int, int]


class Teller:
    """Collects the lines of one segment."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._left = CHARACTERS
        self._fetched: dict[str, str] = {}
        """Where something that was fetched lies -> where it came from."""

    def tell(self, verb: str, what: str, span: Span, through: tuple[str, ...] = ()) -> None:
        if len(self.lines) >= LINES:
            raise Unfinished("a tool call that does too much")
        text = f"{verb}: {what}"[:LONGEST_LINE].replace("\n", "·")
        self.lines.append(Line(text, *span, through))

    def script(
        self, text: str, span: Span | None = None, through: tuple[str, ...] = (), depth: int = 0
    ) -> None:
        """Tell shell source; ``span`` where it stands in something else."""
        self._left -= len(text)
        if self._left < 0 or depth > DEPTH:
            raise Unfinished("shell source that is too long or wrapped too deeply")
        for pipeline in parse(text):
            where = span or (pipeline.start, pipeline.end)
            self._pipeline(pipeline, where, through, depth)

    def _pipeline(
        self, pipeline: Pipeline, span: Span, through: tuple[str, ...], depth: int
    ) -> None:
        stages = [(command, unwrap(command.words)) for command in pipeline.commands]
        shown = []
        known: list[str] = []
        """What the stages before read: it is what comes through the pipe."""
        for place, (command, stage) in enumerate(stages):
            around = through + stage.through
            if stage.words:
                shown.append(" ".join(word.translate(QUOTED) for word in stage.words))
                self.tell("runs", shown[-1], span, around)
            self._inside(stage, command, span, around, depth)
            self._effects(stage, command, known, place > 0, span, around)
            self._from_pipe(pipeline.commands[:place], stage, command, span, around, depth)
            self._run_fetched(pipeline, stages, place, span, around)
        if len(shown) > 1:
            self.tell("pipes", " | ".join(shown), span, through)

    def _inside(
        self,
        stage: Unwrapped,
        command: Command,
        span: Span,
        through: tuple[str, ...],
        depth: int,
    ) -> None:
        """Tell scripts that stand in arguments and here-documents."""
        for script in stage.scripts:
            if script.startswith("⟦"):
                if script[1:].split(" ")[0] in FETCHERS:
                    self._told_fetched(script.strip("⟦⟧"), span, through)
                continue
            self.script(script, span, through, depth + 1)
        if stage.code:
            self.code(*stage.code, span, through, depth + 1)
        name = stage.words[0] if stage.words else (stage.through[-1] if stage.through else "")
        if command.given and (name in SHELLS or name == "ssh"):
            self.script(command.given, span, through, depth + 1)
        elif command.given and name in SCRIPTERS:
            self.code(name, command.given, span, through, depth + 1)
        elif command.given and name in SQL_CLIENTS:
            self.sql(command.given, span)
        if name in SQL_CLIENTS:
            for word in stage.words[1:]:
                if sql.is_sql(word.strip("\"'")):
                    self.sql(word, span)

    def _effects(
        self,
        stage: Unwrapped,
        command: Command,
        known: list[str],
        piped: bool,
        span: Span,
        through: tuple[str, ...],
    ) -> None:
        for word in command.reads:
            self.tell("reads", path(word), span, through)
            known.append(path(word))
        for verb, what in effects(stage.words):
            if verb == "reads":
                known.append(what)
            elif verb == "saves":
                self._fetched[what.rpartition("/")[2]] = what
                continue
            elif verb == "connects" and (piped or command.reads):
                near = is_local(host("//" + what) or what)
                for source in known or ["the pipe"]:
                    self.tell(
                        "sends-near" if near else "sends", f"{source} to {what}", span, through
                    )
            elif verb in {"sends", "sends-near"} and what.startswith("the pipe"):
                for source in known:
                    self.tell(verb, source + what.removeprefix("the pipe"), span, through)
            self.tell(verb, what, span, through)
        harmless = stage.words[:1] == ("echo",) and SETTING.match(" ".join(stage.words[1:]))
        for word in command.writes:
            self.tell("sets-up" if harmless else "writes", path(word), span, through)
            if stage.words[:1] and stage.words[0] in FETCHERS:
                self._fetched[word.rpartition("/")[2]] = word
        if stage.words and stage.words[0] in {"env", "printenv", "set", "history", "whoami", "id"}:
            known.append(f"output of {stage.words[0]}")
        elif stage.through[-1:] == ("env",) and not stage.words:
            known.append("output of env")

    def _from_pipe(
        self,
        before: Sequence[Command],
        stage: Unwrapped,
        command: Command,
        span: Span,
        through: tuple[str, ...],
        depth: int,
    ) -> None:
        """Tell what an interpreter is given through a pipe whose text is known."""
        text = evaluate(before) if before else command.given
        if text and stage.words and "xargs" in stage.through:
            added = (*stage.words, *text.split()[:50])
            self._effects(replace(stage, words=added), command, [], False, span, through)
        if text and stage.words and stage.words[0] in SQL_CLIENTS and before:
            self.sql(text, span)
        if not before or not stage.words or not reads_pipe(stage.words):
            return
        if text is None:
            if any("base64" in each.words or "xxd" in each.words for each in before):
                self.tell("runs-decoded", stage.words[0], span, through)
        elif stage.words[0] in SHELLS:
            self.script(text, span, (*through, "pipe"), depth + 1)
        else:
            self.code(stage.words[0], text, span, (*through, "pipe"), depth + 1)

    def _run_fetched(
        self,
        pipeline: Pipeline,
        stages: Sequence[tuple[Command, Unwrapped]],
        place: int,
        span: Span,
        through: tuple[str, ...],
    ) -> None:
        """Tell that something is run which was fetched before: piped, substituted or saved."""
        words = stages[place][1].words
        if not words:
            return
        for _, earlier in stages[:place]:
            if earlier.words and earlier.words[0] in FETCHERS and reads_pipe(words):
                self._told_fetched(" ".join(earlier.words), span, through)
        if words[0] in INTERPRETERS | {"."}:
            for word in words[1:3]:
                if word.startswith("⟦") and program(word[1:].split(" ")[0]) in FETCHERS:
                    self._told_fetched(word.strip("⟦⟧"), span, through)
        file = stages[place][1].file
        script = words[1:2] if words[0] in INTERPRETERS | {"."} else (file,) if "/" in file else ()
        for word in script:
            saved = self._fetched.get(word.rpartition("/")[2])
            if saved:
                self.tell("runs-fetched", saved, span, through)

    def _told_fetched(self, command: str, span: Span, through: tuple[str, ...]) -> None:
        url = next((w for w in command.split() if "://" in w or host(w)), "a host")
        verb = "runs-known-installer" if INSTALLERS.match(url) else "runs-fetched"
        self.tell(verb, url, span, through)

    def code(
        self, language: str, text: str, span: Span, through: tuple[str, ...] = (), depth: int = 0
    ) -> None:
        """Tell a script in another language."""
        if language == "python":
            for verb, what in python.told(text):
                if verb == "shell":
                    self.script(what, span, (*through, "python"), depth + 1)
                else:
                    self.tell(verb, what, span, through)
        elif language != "powershell":
            for found in STARTS_SHELL.finditer(text[:20_000]):
                source = next(part for part in found.groups() if part is not None)
                self.script(source.replace('\\"', '"'), span, (*through, language), depth + 1)
        plain = " ".join(text.split()) if language == "powershell" else text
        for line in plain.split("\n")[:500]:
            if line.strip():
                self.tell(language, straightened(line) if language == "powershell" else line, span)

    def sql(self, text: str, span: Span) -> None:
        for statement in sql.statements(text):
            self.tell("sql", statement, span)


STARTS_SHELL = re.compile(
    r"(?:\b(?:system|exec(?:Sync|FileSync|File)?|spawn(?:Sync)?|popen|passthru|shell_exec|proc_open)\b"
    r"\s*\(?\s*|do shell script\s+)(?:\"((?:[^\"\\]|\\.){2,2000})\"|'((?:[^'\\]|\\.){2,2000})')"
    r"|`([^`]{2,500})`|^:?!(.{2,500})$"
)
"""Where a script in Perl, Ruby, Node, PHP, awk or an editor's command line starts a shell."""
SQL_CLIENTS = vocabulary("psql mysql mariadb sqlite3 sqlcmd sqlplus clickhouse-client duckdb")


def reads_pipe(words: Sequence[str]) -> bool:
    """Tell whether an interpreter takes its script from the pipe: no file stands in its line."""
    if not words or words[0] not in INTERPRETERS:
        return False
    files = [word for word in words[1:] if not word.startswith("-")]
    return "-s" in words or not files or words[1:2] == ("-",) or files[0] == "/dev/stdin"


def straightened(text: str) -> str:
    """Return PowerShell or cmd source in small letters, without carets and back-ticks."""
    text = re.sub(r"[`^]", "", text).lower()
    return re.sub(r"'\s*\+\s*'|\"\s*\+\s*\"|['\"]", "", text)


def looks_like_shell(text: str) -> bool:
    """Tell whether a text without a label is shell source: its first word is a known program."""
    for line in text.strip().splitlines()[:20]:
        line = line.strip().removeprefix("$ ")
        if not line or line.startswith("#"):
            continue
        if STARTS_ODDLY.match(line):
            return True
        bare = re.sub(r"[\"'\\()]|\$\{?IFS\}?", " " if "IFS" in line else "", line).lstrip("{")
        first = re.split(r"[\s;|&<>,]", bare.strip(), maxsplit=1)[0]
        if first.startswith(("./", "/bin/", "/usr/bin/")):
            return True
        known = program(first) in SHELL_COMMANDS or first.startswith("mkfs.")
        return known and (len(line.split()) <= 6 or bool(SHELLISH.search(line)))
    return False


STARTS_ODDLY = re.compile(r"[A-Za-z_]\w*=\S|\$\(|`\w+|\$'\\|:\(\)|\d*<&?\d|\. [<~/]|\[ -|\(\w+ -")
SHELLISH = re.compile(r"[|<>$=;&~*]|(?:^|\s)-{1,2}\w|/\w|\w\.\w|:\d")
"""What shell source has and a sentence that begins with ``find`` or ``make`` has not."""
