"""Whom the worker trusts upstream: what the host trusts, and the operator's own CAs.

mitmproxy would use certifi's list, and its option for another file *replaces* that list. So one
bundle is merged here: the host's store, else certifi, and `upstream_ca`. Verification is never off.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import certifi

SYSTEM_STORES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Ubuntu, Arch, Alpine
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),  # Fedora, RHEL
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # CentOS, Amazon Linux
    Path("/etc/ssl/ca-bundle.pem"),  # SUSE
    Path("/etc/ssl/cert.pem"),  # Alpine, OpenBSD's way
)
LARGEST = 16 << 20


def system_store(stores: Iterable[Path] = SYSTEM_STORES) -> str:
    """Return the PEM text of the host's store, of certifi's where the host has none."""
    for store in (*stores, Path(certifi.where())):
        try:
            text = store.read_text(errors="replace")[:LARGEST]
        except OSError:
            continue
        if "-----BEGIN CERTIFICATE-----" in text:
            return text
    raise FileNotFoundError("no certificate store: neither the host nor certifi has one")


def merged(upstream_ca: Sequence[str], stores: Iterable[Path] = SYSTEM_STORES) -> bytes:
    """Return one PEM bundle of the host's store and the operator's CAs."""
    return "\n".join((system_store(stores), *upstream_ca, "")).encode()


def private_file(name: str, content: bytes) -> Path:
    """Return a path that gives the content to this process alone and is gone when it ends.

    OpenSSL wants a path. An anonymous file has no name that another process could open or change.
    """
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return Path(f"/proc/self/fd/{descriptor}")
