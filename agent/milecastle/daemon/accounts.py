"""The users and groups that privilege separation rests on."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass

PROXY = "milecastle-proxy"
SIGNER = "milecastle-signer"
READERS = "milecastle"
"""Members of this group see every session through the CLI."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Numbers behind the names."""

    proxy_uid: int
    proxy_gid: int
    signer_uid: int
    readers_gid: int


def find() -> Accounts:
    """Look the accounts up; LookupError names the one that is missing."""
    try:
        proxy, signer = pwd.getpwnam(PROXY), pwd.getpwnam(SIGNER)
        readers = grp.getgrnam(READERS)
    except KeyError as error:
        missing = str(error.args[0]).rsplit(" ", 1)[-1].strip("':\"")
        raise LookupError(
            f"the account {missing} does not exist; `make setup` or systemd-sysusers makes it"
        ) from None
    return Accounts(proxy.pw_uid, proxy.pw_gid, signer.pw_uid, readers.gr_gid)
