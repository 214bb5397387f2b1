"""milecastle-signer: sign one-day certificates for the catalogue's names, for the workers alone.

It starts as its own user, without a network, on a socket that the daemon or systemd made. It holds
its key until the files of the CA are replaced; a new catalogue means a new process, and requests
wait in the socket's backlog meanwhile.
"""

from __future__ import annotations

import argparse
import logging
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from milecastle.model import ParseError
from milecastle.signer import authority, listed
from milecastle.signer.audit import Audit
from milecastle.signer.confine import keep_secrets
from milecastle.signer.custody import Custody
from milecastle.signer.server import Server
from milecastle.signer.signing import Signer

BAD_INPUT = 2
BACKLOG = 64

log = logging.getLogger("milecastle.signer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the process is ended. Exits 2 with one line where it cannot begin."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="milecastle-signer: %(message)s", level=logging.INFO)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which ends us
    try:
        server = begin(options)
    except (ParseError, OSError, KeyError) as error:
        log.error("cannot start: %s", error)
        return BAD_INPUT
    log.info("ready, process %d", os.getpid())
    return server.serve()


def parser() -> argparse.ArgumentParser:
    """Return the command line. The defaults are those of the systemd unit."""
    state = Path("/var/lib/milecastle")
    parser = argparse.ArgumentParser(
        prog="milecastle-signer",
        description="Sign one-day certificates for names of the AI catalogue. Started by "
        "milecastled or systemd; see docs/PRIVSEP.md.",
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--socket", type=Path, help="make and serve this unix socket")
    place.add_argument("--socket-fd", type=int, help="serve this inherited listening socket")
    parser.add_argument("--key", type=Path, default=authority.Places(state).key)
    parser.add_argument(
        "--chain",
        type=Path,
        default=authority.Places(state).intermediate,
        help="the intermediate's certificate (PEM)",
    )
    parser.add_argument(
        "--catalogue",
        type=Path,
        action="append",
        default=[],
        help="a further catalogue file, or a folder of them; the shipped ones are always read",
    )
    parser.add_argument("--audit", type=Path, default=state / "signer" / "audit.jsonl")
    parser.add_argument("--peer-user", default="milecastle-proxy", help="the only user served")
    return parser


def begin(options: argparse.Namespace) -> Server:
    """Take the socket, the key and the names; give the rest away."""
    keep_secrets()
    listener = listen(options)
    names, problems = listed.catalogue(options.catalogue)
    for problem in problems:
        log.warning("%s", problem)
    custody = Custody(options.chain, options.key)
    audit = Audit(options.audit)
    signer = Signer(custody.issuer, names, audit, wall=time.time, steady=time.monotonic)
    return Server(listener, signer.answer, pwd.getpwnam(options.peer_user).pw_uid)


def listen(options: argparse.Namespace) -> socket.socket:
    """Return the listening socket: inherited, or made here and open to our group only."""
    if options.socket_fd is not None:
        return socket.socket(fileno=options.socket_fd)
    options.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)
    try:
        listener.bind(str(options.socket))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


if __name__ == "__main__":
    sys.exit(main())
