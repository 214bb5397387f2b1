"""`milecastle-proxy`: the unprivileged worker. Started by `milecastled`, never by hand.

Nothing but the standard library is imported before the environment is clean: mitmproxy reads
SSLKEYLOGFILE when it is imported, and would write the keys of every connection to that file.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

FORBIDDEN_ENVIRONMENT = ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")
PR_SET_DUMPABLE = 4
"""prctl(2). A core dump, or a debugger of the same user, would show what was decrypted."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="milecastle-proxy", description=__doc__)
    parser.add_argument("--run-dir", type=Path, help="holds worker.sock and signer.sock")
    parser.add_argument("--worker-socket", type=Path, help="in place of RUN_DIR/worker.sock")
    parser.add_argument("--signer-socket", type=Path, help="in place of RUN_DIR/signer.sock")
    return parser


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve until SIGTERM or the daemon's end. Exit: 0 told to stop, 1 daemon gone, 2 usage."""
    usage = parser()
    options = usage.parse_args(arguments)
    if options.run_dir is None and not (options.worker_socket and options.signer_socket):
        usage.error("--run-dir, or both --worker-socket and --signer-socket")
    seal()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    from milecastle.model import ParseError
    from milecastle.proxy.line import LineError
    from milecastle.proxy.worker import Worker

    worker = Worker(
        options.worker_socket or options.run_dir / "worker.sock",
        options.signer_socket or options.run_dir / "signer.sock",
    )
    try:
        status = asyncio.run(worker.work())
    except LineError as error:
        logging.getLogger("milecastle.proxy").error("no daemon: %s", error)
        status = 1
    except ParseError as error:
        logging.getLogger("milecastle.proxy").error("cannot begin: %s", error)
        status = 1
    logging.shutdown()
    os._exit(status)  # threads that wait for DNS would keep the process for minutes


def seal() -> None:
    """See to it that nothing decrypted can leave by a side door."""
    for name in FORBIDDEN_ENVIRONMENT:
        os.environ.pop(name, None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    main()
