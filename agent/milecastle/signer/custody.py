"""The intermediate's key and certificate, as they lie on disk now."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from milecastle.model import ParseError
from milecastle.signer import authority
from milecastle.signer.leaf import Issuer


class Custody:
    """Holds the key until the files are replaced: a rotation counts from the next request on."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self._seen = self._identity()
        self._issuer = self._load()

    def issuer(self) -> Issuer:
        """Return the present one. The certificate is written last: before that the old one holds.

        What cannot be read is not taken: a rotation that broke off leaves the old one in force.
        """
        with suppress(OSError, ParseError):
            seen = self._identity()
            if seen != self._seen:
                self._issuer = self._load()
                self._seen = seen
        return self._issuer

    def _identity(self) -> tuple[int, int]:
        status = self._chain.stat()
        return status.st_ino, status.st_mtime_ns

    def _load(self) -> Issuer:
        issuer = Issuer(authority.certificate(self._chain), authority.private_key(self._key))
        if issuer.key.public_key() != issuer.certificate.public_key():
            raise authority.AuthorityError("the key is not the intermediate's: the CA is half made")
        return issuer
