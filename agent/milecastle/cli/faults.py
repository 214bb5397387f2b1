"""What can go wrong for the person at the keyboard, and the exit code that tells a script."""

from __future__ import annotations

FINE = 0
FINDINGS = 1
BAD_INPUT = 2
NO_DAEMON = 3
OUR_FAULT = 70
"""EX_SOFTWARE of sysexits.h: a fault of milecastle itself, never of the input."""
INTERRUPTED = 130


class InputError(Exception):
    """A file, an id or an option that can't be used."""

    code = BAD_INPUT


class NoDaemonError(Exception):
    """No daemon answers, or it may not be asked."""

    code = NO_DAEMON
