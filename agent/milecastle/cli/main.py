"""The `milecastle` command line: a table of commands, one guard around all of them.

A command's module is imported when the command is given, so that `status` does not pay for the
detectors of `scan`. No exception gets past ``main``: each becomes a sentence and an exit code.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from milecastle import __version__
from milecastle.cli import escaping, faults
from milecastle.cli.command import Verb
from milecastle.cli.control import RUN_DIR
from milecastle.cli.terminal import stdout
from milecastle.model import ParseError


class Module(Protocol):
    """What a command's module offers."""

    VERBS: Mapping[str, Verb]


COMMANDS: Mapping[str, tuple[str, str]] = {
    "status": ("status", "is it working, since when, and what falls short"),
    "sessions": ("sessions", "who talked to which AI service"),
    "show": ("show", "one session as a conversation, with findings and verdicts"),
    "tail": ("tail", "exchanges as they come"),
    "explain": ("explain", "why a verdict fell, and how the process is known"),
    "connections": ("connections", "every connection to an AI service, also without a call"),
    "inventory": ("inventory", "which program of which user uses which AI service"),
    "usage": ("usage", "how much each program uses, and what is usual for it"),
    "coverage": ("coverage", "what was seen of it, and what was not and why"),
    "refuse": ("refusing", "refuse a service to everybody, now"),
    "permit": ("refusing", "end that"),
    "policy check": ("policy", "list every problem of a policy file"),
    "policy test": ("policy", "run the cases that stand beside a policy file"),
    "policy explain": ("policy", "what a policy would decide, rule by rule"),
    "policy diff": ("comparing", "what another policy would have made of past exchanges"),
    "policy learn": ("learning", "propose a policy that allows what was seen, no more"),
    "trust env": ("trust", "variables that make clients trust the CA"),
    "run": ("trust", "start one command with these variables"),
    "ca path": ("ca", "the file of the CA's certificate"),
    "ca rotate": ("ca", "make a new CA"),
    "redteam": ("redteam", "send attacks through the inspection; what gets through"),
    "replay": ("replay", "inspect recorded traffic (HAR), without root or daemon"),
    "scan": ("scan", "inspect texts from standard input"),
    "fingerprint add": ("fingerprint", "have passages of own documents recognised"),
    "fingerprint list": ("fingerprint", "what was indexed"),
    "fingerprint remove": ("fingerprint", "look for one of them no longer"),
    "canary add": ("canary", "make a word that is told of wherever it turns up"),
    "canary list": ("canary", "the words that were made"),
    "canary remove": ("canary", "look for one of them no longer"),
    "tools list": ("tools", "servers that offered tools, and which of these changed"),
    "tools accept": ("tools", "agree to a changed tool"),
    "rules list": ("rules", "detection rules"),
    "rules check": ("rules", "list every problem of rule files of your own"),
    "rules test": ("rules", "run every rule against its own examples"),
}
"""Name, module below milecastle.cli, and summary."""

EXAMPLES = """\
examples:
  milecastle status                      is interception working?
  milecastle sessions                    the latest sessions, latest first
  milecastle show 3f2a                   one of them, by the beginning of its id
  milecastle run -- python3 ask.py       a client that brings its own CA bundle
  milecastle replay traffic.har --json   what would have been found in this?

exit codes: 0 fine, 1 findings, 2 bad input or configuration, 3 no daemon
'milecastle COMMAND --help' tells more about each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours = given[: given.index("--")] if "--" in given else given
    try:
        code = run(given)
        sys.stdout.flush()
    except SystemExit as end:  # argparse, after --help or a usage error
        return end.code if isinstance(end.code, int) else faults.BAD_INPUT
    except KeyboardInterrupt:
        return faults.INTERRUPTED
    except BrokenPipeError:
        # the reader (head, less) has seen enough; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return faults.FINE
    except Exception as error:
        if "--debug" in ours:
            raise
        sentence, code = told(error)
        print("milecastle:", "\n".join(escaping.lines(sentence)), file=sys.stderr)
    return code


def told(error: Exception) -> tuple[str, int]:
    """Return what to say about an error, and the exit code."""
    match error:
        case faults.InputError() | faults.NoDaemonError():
            return str(error), error.code
        case OSError() if error.filename is not None:
            return f"{error.filename}: {error.strerror}", faults.BAD_INPUT
        case ParseError() | OSError():
            return str(error), faults.BAD_INPUT
    what = f"{type(error).__name__}: {error}"
    hint = "this is a fault of milecastle, not of your input; --debug shows where"
    return f"{what} ({hint})", faults.OUR_FAULT


def run(given: list[str]) -> int:
    """Find the command in the arguments, read the rest as it says, and do it."""
    options = globals_parser().parse_args(given)
    if not options.command:
        globals_parser().print_help()
        return faults.BAD_INPUT
    name, *rest = options.command
    if rest and f"{name} {rest[0]}" in COMMANDS:
        name = f"{name} {rest.pop(0)}"
    if name not in COMMANDS:
        raise faults.InputError(unknown(name, rest))
    module, summary = COMMANDS[name]
    verbs: Module = importlib.import_module(f"milecastle.cli.{module}")
    verb = verbs.VERBS[name]
    parser = command_parser(name, summary, verb)
    read = parser.parse_args(rest, argparse.Namespace(run_dir=options.run_dir))
    return verb.run(read, stdout())


def globals_parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before the command."""
    width = max(len(name) for name in COMMANDS)
    commands = "\n".join(
        f"  {name.ljust(width)}  {summary}" for name, (_, summary) in COMMANDS.items()
    )
    parser = argparse.ArgumentParser(
        prog="milecastle",
        usage="milecastle [--run-dir DIR] COMMAND ...",
        description=f"Who on this host talks to which AI service, and what is said.\n\n{commands}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    shared(parser, default=RUN_DIR)
    parser.add_argument("--version", action="version", version=f"milecastle {__version__}")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def command_parser(name: str, summary: str, verb: Verb) -> argparse.ArgumentParser:
    """Return the parser of one command's own arguments."""
    parser = argparse.ArgumentParser(
        prog=f"milecastle {name}",
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{verb.examples}" if verb.examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    shared(parser, default=argparse.SUPPRESS)
    verb.arguments(parser)
    return parser


def shared(parser: argparse.ArgumentParser, default: Path | str) -> None:
    """Add what may stand before and after the command."""
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=default,
        metavar="DIR",
        help=f"the daemon's run directory ({RUN_DIR})",
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from")


def unknown(name: str, rest: Sequence[str]) -> str:
    """Say that there is no such command, and which one may be meant."""
    groups = [command for command in COMMANDS if command.split()[0] == name]
    if groups:
        return f"'{name}' needs a word more: {', '.join(groups)}"
    from difflib import get_close_matches

    near = get_close_matches(" ".join((name, *rest[:1])), COMMANDS, 1, 0.5)
    hint = f"did you mean '{near[0]}'?" if near else "'milecastle --help' lists them"
    return f"there is no command '{name}': {hint}"


if __name__ == "__main__":
    sys.exit(main())
