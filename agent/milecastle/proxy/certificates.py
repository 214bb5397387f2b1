"""Leaf certificates: the worker's own key, the signer's signature, kept for a day.

mitmproxy's own store mints with the CA's key, and every certificate carries the CA's public key.
Here the worker has a key of its own and can sign nothing. Asking the signer takes time, so it is
done while the ClientHello waits (`obtain`); at the handshake the certificate is already here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mitmproxy import certs

from milecastle.proxy import line, trust
from milecastle.wire import Frame, WireError

SIGN_WITHIN = 3.0
"""Seconds; a signature takes about half a millisecond."""
MARGIN = 3600.0
"""Seconds before its end at which a leaf is asked for anew."""
KEPT = 2000
SETTLES_WITHIN = 1.0
"""Seconds between a signature by a new CA and the daemon's word that there is one."""
REFUSAL_LASTS = 30.0
"""Seconds for which a signer's no is taken for an answer: it would say the same again."""


class UnsignedError(Exception):
    """There is no certificate for this name now."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate for one name, ready to be served."""

    entry: certs.CertStoreEntry
    expires: float
    """Unix time, seconds."""


class Signer:
    """The signer's socket; connected when first needed, and again after it broke."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line: line.Line | None = None
        self._connecting = asyncio.Lock()

    async def sign(self, name: str, public_key: bytes) -> bytes:
        """Return a certificate (DER). UnsignedError where there is none, with the reason."""
        try:
            connected = await self._connected()
            asked = {"name": name, "public_key": public_key}
            answer = await connected.ask("sign", asked, SIGN_WITHIN)
        except (line.LineError, TimeoutError) as error:
            raise UnsignedError(f"the signer is not there ({error})") from None
        except line.RefusedError as error:
            raise UnsignedError(f"the signer refused ({error})") from error
        certificate = answer.result.get("certificate")
        if not isinstance(certificate, bytes):
            raise UnsignedError("the signer's answer holds no certificate")
        return certificate

    async def _connected(self) -> line.Line:
        async with self._connecting:
            if self._line is None:
                self._line = await line.connect(self._path, self._unasked, self._ended)
            return self._line

    def _unasked(self, frame: Frame) -> None:
        raise WireError(f"the signer said {frame.kind[:40]!r} unasked")

    def _ended(self, _error: line.LineError) -> None:
        self._line = None


class Leaves(certs.CertStore):
    """What mitmproxy asks for certificates; `get_cert` gives only what `obtain` brought."""

    def __init__(
        self,
        sign: Callable[[str, bytes], Awaitable[bytes]],
        chain: str,
        clock: Callable[[], float],
    ) -> None:
        # not super().__init__: it wants a CA key, and there is none here
        self.dhparams = certs.DHParams(b"")
        self._sign = sign
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._leaves: OrderedDict[str, Leaf] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Leaf]] = {}
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._renewed = asyncio.Event()
        self.renew(chain)

    def renew(self, chain: str) -> None:
        """Serve this intermediate (PEM) from now on; leaves of another are asked for anew."""
        issuers = x509.load_pem_x509_certificates(chain.encode())
        self._issuer, self._chain = issuers[0], [certs.Cert(each) for each in issuers]
        # OpenSSL finds the issuer in this file and sends it after the leaf
        self._chain_file = trust.private_file("milecastle-chain", chain.encode())
        self._leaves.clear()
        self._refused.clear()
        self._renewed.set()

    async def obtain(self, name: str) -> None:
        """Make sure that there is a certificate for the name. UnsignedError says why not."""
        now = self._clock()
        leaf = self._leaves.get(name)
        if leaf is not None and now < leaf.expires - MARGIN:
            self._leaves.move_to_end(name)
            return
        until, why = self._refused.get(name, (0.0, ""))
        if now < until:
            raise UnsignedError(why)
        asking = self._asking.get(name)
        if asking is None:  # one request for a name, however many connections want it
            asking = asyncio.create_task(self._ask(name))
            asking.add_done_callback(lambda _task: self._asking.pop(name, None))
            self._asking[name] = asking
        try:
            await asyncio.shield(asking)
        except UnsignedError:
            if leaf is None or now >= leaf.expires:
                raise

    async def _ask(self, name: str) -> Leaf:
        try:
            signed = await self._sign(name, self._public)
            if not self._ours(signed):  # the CA was renewed, and the word of it is on its way
                self._renewed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._renewed.wait(), SETTLES_WITHIN)
            leaf = self._check(name, signed)
        except UnsignedError as error:
            if isinstance(error.__cause__, line.RefusedError):
                self._refused[name] = (self._clock() + REFUSAL_LASTS, str(error))
                while len(self._refused) > KEPT:
                    self._refused.popitem(last=False)
            raise
        self._leaves[name] = leaf
        while len(self._leaves) > KEPT:
            self._leaves.popitem(last=False)
        return leaf

    def _check(self, name: str, der: bytes) -> Leaf:
        """Refuse a certificate that the handshake would fail on: the client would hang."""
        try:
            certificate = x509.load_der_x509_certificate(der)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            known = names.value.get_values_for_type(x509.DNSName)
            public = certificate.public_key()
        except (ValueError, x509.ExtensionNotFound):
            raise UnsignedError("the signer's answer is no certificate") from None
        if not self._ours(der):
            raise UnsignedError("the signer's certificate is of another CA than the one served")
        if name not in known or public != self._key.public_key():
            raise UnsignedError("the signer's certificate is for another name or key")
        expires = certificate.not_valid_after_utc
        if expires <= datetime.fromtimestamp(self._clock(), UTC):
            raise UnsignedError("the signer's certificate has expired")
        entry = certs.CertStoreEntry(
            cert=certs.Cert(certificate),
            privatekey=self._key,  # type: ignore[arg-type] # pyOpenSSL takes any private key
            chain_file=self._chain_file,
            chain_certs=self._chain,
        )
        return Leaf(entry, expires.timestamp())

    def _ours(self, der: bytes) -> bool:
        """Whether a leaf is signed by the intermediate that is served with it."""
        try:
            x509.load_der_x509_certificate(der).verify_directly_issued_by(self._issuer)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def get_cert(self, commonname: str | None, *_args: object) -> certs.CertStoreEntry:
        """Return the certificate that `obtain` brought for this name (mitmproxy's interface)."""
        leaf = self._leaves.get((commonname or "").lower().removesuffix("."))
        if leaf is None:
            raise UnsignedError("the handshake began before there was a certificate")
        return leaf.entry
