"""Whether to sign, and the record of it. One frame in, one frame out; no sockets here.

What can go wrong is a table; the worker learns the code and passes such a connection through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from milecastle.model import Json, ParseError, Service
from milecastle.signer.allowance import Allowance
from milecastle.signer.audit import Audit
from milecastle.signer.authority import covers, permitted
from milecastle.signer.leaf import Issuer, host_name, issue, public_key
from milecastle.wire import Frame

REFUSALS = {
    "bad_name": "not a host name that a certificate can hold",
    "bad_key": "only EC P-256 public keys are signed, as DER SubjectPublicKeyInfo",
    "not_in_catalogue": "the catalogue holds no such name, or does not let it be decrypted",
    "not_covered": "the CA is not constrained to this name: run 'milecastle ca rotate'",
    "expired": "the CA has expired: run 'milecastle ca rotate'",
    "rate": "too many requests: ask again later",
    "audit": "the signature could not be recorded, so it was not made",
}

OVERALL = (400.0, 20.0)
"""Requests at once, and a second, from all peers together. A worker keeps a certificate for its
day, so an honest one asks for each name once; 400 is more than the catalogue's exact names."""
EACH_PEER = (100.0, 10.0)
UNPAID = (20.0, 1.0)
"""Lines about requests over the rate: the rest are counted, and the next line says how many."""


class Names(Protocol):
    """What the signer needs of the catalogue."""

    def match(self, host: str) -> Service | None: ...


@dataclass(slots=True)
class Peer:
    """A process that asks, by the kernel's word (SO_PEERCRED)."""

    pid: int
    uid: int
    allowance: Allowance = field(default_factory=lambda: Allowance(*EACH_PEER))


class RefusedError(Exception):
    """There is no signature, for the reason with this code."""

    def __init__(self, code: str) -> None:
        super().__init__(REFUSALS[code])
        self.code = code


class Signer:
    """Answers ``sign`` frames. The key never leaves what ``issuer`` returns."""

    def __init__(
        self,
        issuer: Callable[[], Issuer],
        names: Names,
        audit: Audit,
        *,
        wall: Callable[[], float],
        steady: Callable[[], float],
        serial: Callable[[], int] = x509.random_serial_number,
    ) -> None:
        self._issuer = issuer
        self._allowed = lru_cache(1)(allowed_by)
        self._names = names
        self._audit = audit
        self._wall = wall
        self._steady = steady
        self._serial = serial
        self._overall = Allowance(*OVERALL)
        self._unpaid = Allowance(*UNPAID)
        self._omitted = 0

    def answer(self, frame: Frame, peer: Peer) -> Frame:
        """Return the certificate (DER) or the refusal. Both are recorded."""
        name, key = str(frame.body["name"]), bytes(frame.body["public_key"])
        entry: dict[str, Json] = {
            "time": round(self._wall(), 3),
            "name": name[:253],
            "key": sha256(key).hexdigest(),
            "pid": peer.pid,
            "uid": peer.uid,
        }
        try:
            certificate = self._sign(name, key, peer)
            self._record(entry | {"event": "signed", "serial": f"{certificate.serial_number:x}"})
        except RefusedError as refusal:
            return self._refuse(frame, refusal, entry)
        except OSError:
            return self._refuse(frame, RefusedError("audit"), None)
        der = certificate.public_bytes(serialization.Encoding.DER)
        return Frame(frame.id, "ok", {"result": {"certificate": der}})

    def _sign(self, asked: str, key: bytes, peer: Peer) -> x509.Certificate:
        moment = self._steady()
        if not (peer.allowance.take(moment) and self._overall.take(moment)):
            raise RefusedError("rate")
        try:
            name = host_name(asked)
        except ParseError:
            raise RefusedError("bad_name") from None
        service = self._names.match(name)
        if service is None or not service.decrypt:
            raise RefusedError("not_in_catalogue")
        issuer = self._issuer()
        if not covers(self._allowed(issuer), name):
            raise RefusedError("not_covered")  # a client would reject it, and lose its connection
        now = datetime.fromtimestamp(self._wall(), UTC).replace(microsecond=0)
        if now >= issuer.certificate.not_valid_after_utc:
            raise RefusedError("expired")
        try:
            public = public_key(key)
        except ParseError:
            raise RefusedError("bad_key") from None
        return issue(name, public, issuer, now=now, serial=self._serial())

    def _refuse(self, frame: Frame, refusal: RefusedError, entry: dict[str, Json] | None) -> Frame:
        """Record a refusal as far as the disk and the rate of such lines allow, and answer it."""
        if entry and (refusal.code != "rate" or self._unpaid.take(self._steady())):
            try:
                self._record(entry | {"event": "refused", "code": refusal.code})
            except OSError:
                self._omitted += 1
        else:
            self._omitted += 1
        return Frame(frame.id, "error", {"code": refusal.code, "message": str(refusal)})

    def _record(self, entry: dict[str, Json]) -> None:
        self._audit.write(entry | ({"omitted": self._omitted} if self._omitted else {}))
        self._omitted = 0


def allowed_by(issuer: Issuer) -> frozenset[str]:
    """Return the domains that a certificate's constraints permit."""
    return frozenset(permitted(issuer.certificate))
