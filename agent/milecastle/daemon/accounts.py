"""The users and groups that privilege separation rests on."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass

PROXY = "milecastle-proxy"
SIGNER = "milecastle-signer"
PODS = "milecastle-pods"
"""Needed where the setting `kubernetes` is on."""
READERS = "milecastle"
"""Members of this group see every session through the CLI."""
MISSING = "the account {} does not exist; `make setup` or systemd-sysusers makes it"


@dataclass(frozen=True, slots=True)
class Accounts:
    """Numbers behind the names."""

    proxy_uid: int
    proxy_gid: int
    signer_uid: int
    readers_gid: int


def find() -> Accounts:
    """Look the accounts up; LookupError names the one that is missing."""
    proxy, signer = user(PROXY), user(SIGNER)
    try:
        readers = grp.getgrnam(READERS)
    except KeyError:
        raise LookupError(MISSING.format(READERS)) from None
    return Accounts(proxy.pw_uid, proxy.pw_gid, signer.pw_uid, readers.gr_gid)


def user(name: str) -> pwd.struct_passwd:
    """Look one user up; LookupError says how to make it."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise LookupError(MISSING.format(name)) from None
