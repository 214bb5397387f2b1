"""`milecastle trust env` and `milecastle run`: clients with their own CA bundle trust ours too.

Two kinds of variables: those that *replace* the client's list get the bundle (the system's roots
and ours), those that *add* to it get our certificate alone. Java has no variable that takes PEM,
and browsers read NSS: they need the system's store or their own, which docs/CLI.md explains.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from milecastle.cli import escaping, faults
from milecastle.cli.ca import files
from milecastle.cli.command import Verb, json_option
from milecastle.cli.faults import InputError
from milecastle.cli.terminal import Terminal

type Shell = Literal["sh", "fish"]


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable, and whose it is."""

    name: str
    adds: bool
    """True: added to the client's own roots; False: read instead of them."""
    readers: str


VARIABLES = (
    # OpenSSL, SSL_CTX_set_default_verify_paths(3); crypto/x509 of Go on Linux; docs.rs of
    # rustls-native-certs; httpx reads it itself (docs, "Environment variables")
    Variable(
        "SSL_CERT_FILE", False, "OpenSSL, Python ssl and httpx, Go, Ruby, Rust (rustls, Codex)"
    ),
    # requests, "SSL Cert Verification"; botocore falls back to it
    Variable("REQUESTS_CA_BUNDLE", False, "Python requests"),
    Variable("CURL_CA_BUNDLE", False, "curl"),  # curl(1), --cacert
    Variable(
        "AWS_CA_BUNDLE", False, "AWS CLI, boto3 and AWS SDKs"
    ),  # AWS CLI, environment variables
    Variable("GIT_SSL_CAINFO", False, "git (huggingface.co)"),  # git-config(1), http.sslCAInfo
    # grpc, doc/environment_variables.md
    Variable("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", False, "gRPC (Google Gen AI and Vertex AI)"),
    Variable("NODE_EXTRA_CA_CERTS", True, "Node, Bun, Electron, Deno from 2.8 on"),  # Node, CLI
    Variable("DENO_CERT", True, "Deno"),  # Deno, environment variables
)
"""PIP_CERT and CARGO_HTTP_CAINFO are left alone: package indexes are not intercepted.
NODE_USE_SYSTEM_CA would need our root in the system's store, where it is not put by itself."""


def environment(certificate: Path, bundle: Path) -> dict[str, str]:
    """Return the variables with their values."""
    return {each.name: str(certificate if each.adds else bundle) for each in VARIABLES}


def trusted(run_dir: Path) -> dict[str, str]:
    """Return the variables, having seen that the files can be read."""
    certificate, bundle = files(run_dir)
    for file in (certificate, bundle):
        if not os.access(file, os.R_OK):
            raise InputError(f"{file} can't be read: is the daemon running, and is it this one's?")
    return environment(certificate, bundle)


def replaced(wanted: Mapping[str, str], present: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each variable that somebody has set to something else."""
    for name, value in wanted.items():
        if present.get(name) not in (None, "", value):
            yield f"{name} was {present[name]}: certificates that only this file has get lost"


def env_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``trust env``."""
    json_option(parser)
    parser.add_argument("--shell", choices=("sh", "fish"), default="sh", help="whose syntax (sh)")


def env(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the variables in the shell's syntax."""
    wanted = trusted(options.run_dir)
    if options.json:
        terminal.json(wanted)
        return faults.FINE
    for warning in replaced(wanted, os.environ):
        print(f"milecastle: {escaping.line(warning)}", file=sys.stderr)
    for name, value in wanted.items():
        terminal.line(assignment(name, value, options.shell))
    return faults.FINE


def assignment(name: str, value: str, shell: Shell) -> str:
    """Return the line that exports a variable."""
    if shell == "fish":
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{quoted}'"
    return f"export {name}={shlex.quote(value)}"


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``run``."""
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="what to start"
    )


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Become the command, with the variables set; its exit code is ours."""
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise InputError("say what to start: milecastle run -- COMMAND ...")
    wanted = trusted(options.run_dir)
    if shutil.which(command[0]) is None:
        raise InputError(f"{command[0]}: no such command")
    terminal.out.flush()
    os.execvpe(command[0], command, {**os.environ, **wanted})  # noqa: S606 - no shell is the point


VERBS = {
    "trust env": Verb(
        env_arguments,
        env,
        '  eval "$(milecastle trust env)"\n'
        "  milecastle trust env --shell fish | source\n"
        "  milecastle trust env >> ~/.profile",
    ),
    "run": Verb(
        run_arguments, run, "  milecastle run -- python3 ask.py\n  milecastle run -- claude"
    ),
}
