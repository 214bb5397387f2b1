"""The host's certificate authority: make it, load it, say what it covers.

A root of this host alone signs one intermediate; then the root's key is dropped, having never
been on disk. Both carry the same critical name constraints, for Java obeys constraints on an
intermediate only and other clients may look at the root alone. So whoever steals the
intermediate's key can impersonate AI services on one host, and no bank. (RFC 5280 sections
4.2.1.9 and 4.2.1.10.)

This module knows nothing of processes, users' names or the catalogue's files. It refuses to hand
out a certificate authority that is half made, and never prints or returns the private key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from milecastle.model import ParseError

SELFTEST = "selftest.milecastle.invalid"
"""The name of the synthetic exchange at start; every authority covers it."""

VALID = timedelta(days=730)
SLACK = timedelta(hours=1)
"""How far ``not before`` lies in the past, for clocks that are set back a little."""
WARN = timedelta(days=60)
"""An authority that ends sooner than this is worth a warning."""

LARGEST_FILE = 1 << 20
NOWHERE = [x509.IPAddress(ip_network(net)) for net in ("0.0.0.0/0", "::/0")]
DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]{0,62}")
"""At least two labels, for a constraint to ``com`` would constrain nothing, and a last label that
begins with a letter, so that no address fits."""

SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class AuthorityError(ParseError):
    """The files are there but do not make one authority: a crash half-way, a mixed restore."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where an authority's three files lie under the state directory."""

    state: Path

    @property
    def root(self) -> Path:
        return self.state / "ca" / "root.pem"

    @property
    def intermediate(self) -> Path:
        return self.state / "ca" / "intermediate.pem"

    @property
    def key(self) -> Path:
        return self.state / "signer" / "intermediate.key"


@dataclass(frozen=True, slots=True)
class Authority:
    """The public half: what clients trust and what a worker serves."""

    root: x509.Certificate
    intermediate: x509.Certificate

    @property
    def domains(self) -> tuple[str, ...]:
        return permitted(self.intermediate)

    @property
    def expires(self) -> datetime:
        return min(self.root.not_valid_after_utc, self.intermediate.not_valid_after_utc)

    def missing(self, domains: Iterable[str]) -> tuple[str, ...]:
        """Return the domains that the constraints do not permit, sorted."""
        allowed = frozenset(self.domains)
        return tuple(sorted({d for d in domains if not covers(allowed, d)}))


def covers(permitted_domains: Iterable[str], name: str) -> bool:
    """Tell whether a name lies in one of the permitted subtrees."""
    allowed = frozenset(permitted_domains)
    labels = name.lower().split(".")
    return any(".".join(labels[start:]) in allowed for start in range(len(labels)))


def permitted(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS subtrees that a certificate's constraints permit; AuthorityError if none."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        raise AuthorityError("the CA certificate carries no name constraints") from None
    trees = constraints.value.permitted_subtrees or []
    return tuple(tree.value for tree in trees if isinstance(tree, x509.DNSName))


def constrainable(domains: Iterable[str]) -> tuple[str, ...]:
    """Return the domains that can stand in a constraint, without those a parent makes idle.

    A single label or a malformed name is left out: it then counts as missing, its traffic is
    passed through, and one odd catalogue entry does not cost the host its authority.
    """
    wanted = {d.lower().strip(".") for d in domains} | {SELFTEST}
    wanted = {d for d in wanted if DOMAIN.fullmatch(d)}
    return tuple(sorted(d for d in wanted if not covers(wanted - {d}, d)))


# --- making one ------------------------------------------------------------------------------


def create(
    domains: Iterable[str], state: Path, *, host: str, now: datetime, owner: int | None
) -> Authority:
    """Make a new authority under ``state`` and return it; an older one is replaced.

    ``owner`` is the uid that will own the key and its directory; None leaves the caller as owner.
    The intermediate's certificate is written last, so a crash leaves something ``load`` or
    ``key_fits`` refuses, never something that looks whole.
    """
    allowed = constrainable(domains)
    root_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    mark = f"{host[:24]} {now:%Y-%m-%d} {os.urandom(3).hex()}"
    root = certify(f"milecastle root {mark}", root_key.public_key(), None, root_key, allowed, now)
    intermediate = certify(
        f"milecastle {mark}", key.public_key(), root, root_key, allowed, now, path_length=0
    )
    del root_key  # the last reference: nothing can ever be signed with it again

    places = Places(state)
    make_directory(state, 0o755, None)
    make_directory(places.key.parent, 0o700, owner)
    make_directory(places.root.parent, 0o755, None)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    place(places.key, secret, 0o600, owner)
    place(places.root, pem(root), 0o644, None)
    place(places.intermediate, pem(intermediate), 0o644, None)
    return Authority(root, intermediate)


def certify(
    common_name: str,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    allowed: tuple[str, ...],
    now: datetime,
    *,
    path_length: int = 1,
) -> x509.Certificate:
    """Build one constrained CA certificate; without ``issuer`` it signs itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    issuer_public = issuer_key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(SIGNS_CERTIFICATES, critical=True)
        .add_extension(
            x509.NameConstraints([x509.DNSName(name) for name in allowed], NOWHERE),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public), critical=False
        )
    )
    if issuer:  # not on the root: trust stores read purposes there in their own ways
        serves = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(serves, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


# --- finding one -----------------------------------------------------------------------------


def load(state: Path) -> Authority:
    """Read the public half. FileNotFoundError: there is none. AuthorityError: half of one."""
    places = Places(state)
    root, intermediate = (certificate(path) for path in (places.root, places.intermediate))
    try:
        root.verify_directly_issued_by(root)
        intermediate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise AuthorityError("the root did not sign the intermediate") from None
    if permitted(root) != permitted(intermediate):
        raise AuthorityError("root and intermediate are constrained to different domains")
    return Authority(root, intermediate)


def key_fits(state: Path, authority: Authority) -> bool:
    """Tell whether the signer's key is there and belongs to the intermediate.

    PermissionError for callers who may not look.
    """
    try:
        key = private_key(Places(state).key)
    except PermissionError:
        raise
    except (OSError, AuthorityError):
        return False
    return key.public_key() == authority.intermediate.public_key()


def certificate(path: Path) -> x509.Certificate:
    """Read one PEM certificate, or raise AuthorityError."""
    try:
        return x509.load_pem_x509_certificate(read(path))
    except ValueError:
        raise AuthorityError(f"{path} holds no certificate") from None


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read the intermediate's key, or raise AuthorityError."""
    try:
        key = serialization.load_pem_private_key(read(path), None)
    except (ValueError, TypeError):
        raise AuthorityError(f"{path} holds no private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{path} holds no EC key")
    return key


def pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


# --- files -----------------------------------------------------------------------------------


def read(path: Path) -> bytes:
    """Read a small file, never through a symbolic link: its directory may be another user's."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(LARGEST_FILE)


def make_directory(path: Path, mode: int, owner: int | None) -> None:
    """Make a directory with its parents; an existing one gets this mode and owner too."""
    path.mkdir(parents=True, exist_ok=True)
    if owner is not None or path.stat().st_uid == os.geteuid():
        path.chmod(mode)
    if owner is not None:
        os.chown(path, owner, -1, follow_symlinks=False)


def place(path: Path, data: bytes, mode: int, owner: int | None) -> None:
    """Put a file there whole or not at all, also across a power cut."""
    new = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(new, flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if owner is not None:
            os.fchown(descriptor, owner, -1)
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    new.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
