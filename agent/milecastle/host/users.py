"""Accounts and groups by number."""

from __future__ import annotations

import grp
import pwd
from functools import lru_cache


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str | None:
    """Return the account's name, None where the host knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


@lru_cache(maxsize=1024)
def group_name(gid: int) -> str | None:
    """Return the group's name, None where the host knows none."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return None
