"""Paths and hosts in the one spelling that the rules are written for."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from fnmatch import fnmatchcase

HOME = re.compile(
    r"^(?:/home/[^/]+|/Users/[^/]+|/root|~[a-z_][\w-]*|[A-Za-z]:[\\/]Users[\\/][^\\/]+|%USERPROFILE%)(?=/|\\|$)",
    re.IGNORECASE,
)
GLOB = re.compile(r"[?*\[]")
SENSITIVE = (
    "/etc/shadow",
    "/etc/passwd",
    "/etc/sudoers",
    "/etc/gshadow",
    "~/.ssh/id_rsa",
    "~/.ssh/id_ed25519",
    "~/.aws/credentials",
    "~/.netrc",
)
"""What a path with wildcards is tried against."""
HOST = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?//(?:[^/@\s]*@)?(\[[0-9A-Fa-f:.]+\]|[^/:?#\s]+)", re.I)
LOCAL = re.compile(
    r"^(?:localhost|.*\.(?:local|localhost|internal|test|example|lan|svc|home|corp)"
    r"|host\.docker\.internal|example\.(?:com|org|net)|.*\.example\.(?:com|org|net)|[a-z0-9_-]+)$"
)


def path(text: str) -> str:
    """Return a path with the home as ``~``, without ``..``, ``//`` and ``.`` in it."""
    text = text.strip().removeprefix("file://")
    text = HOME.sub("~", text)
    if text.startswith("~"):
        text = text.replace("\\", "/")
    if text.startswith(("/", "~/", "./", "../")):
        tail = "/" if text.endswith("/") and len(text.rstrip("/")) else ""
        text = posixpath.normpath(text).replace("//", "/") + tail
        text = HOME.sub("~", text)
    if GLOB.search(text) and text.startswith(("/", "~")):
        text = next((known for known in SENSITIVE if nearly(known, text)), text)
    return text


def nearly(known: str, text: str) -> bool:
    """Tell whether wildcards only hide letters of a known path: ``/etc/sh?dow``."""
    plain = re.sub(r"\[.*?\]|[?*]", "", text)
    return len(plain) >= len(known) // 2 and fnmatchcase(known, text)


def host(url: str) -> str:
    """Return the host of a URL, or of the ``user@host:path`` that scp takes; empty without."""
    found = HOST.match(url)
    if found:
        return found.group(1).lower()
    if re.match(r"^[\w.-]+\.[a-z]{2,}(?:[/:?]|$)", url, re.I) and not url.startswith("."):
        return re.split(r"[/:?]", url)[0].lower()
    return ""


def is_local(name: str) -> bool:
    """Tell hosts that are this machine, its network or documentation's."""
    name = name.strip("[]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return bool(LOCAL.match(name)) or name.startswith("$")
    return not address.is_global
