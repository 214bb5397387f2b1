"""One leaf certificate: a catalogue name, a worker's public key, one day.

Pure: the clock and the serial number are arguments. It refuses names that a certificate can't
hold and keys other than EC P-256; whether the name may be signed at all is ``signing``'s question.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from milecastle.model import ParseError
from milecastle.signer.authority import DOMAIN

DAY = timedelta(days=1)
SLACK = timedelta(minutes=10)

DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Issuer:
    """The intermediate: its certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return "Issuer(...)"  # no representation of a key, not even in a traceback


def host_name(text: str) -> str:
    """Return the name as it will stand in the certificate, or raise ParseError."""
    name = text.lower()
    if not DOMAIN.fullmatch(name):
        raise ParseError("not a host name that a certificate can hold")
    return name


def public_key(der: bytes) -> ec.EllipticCurvePublicKey:
    """Return the EC P-256 key of a DER SubjectPublicKeyInfo, or raise ParseError."""
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise ParseError("not a DER SubjectPublicKeyInfo") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ParseError("only EC P-256 keys are signed")
    return key


def issue(
    name: str, public: ec.EllipticCurvePublicKey, issuer: Issuer, *, now: datetime, serial: int
) -> x509.Certificate:
    """Sign a leaf that is good for a day, and never longer than its issuer.

    The subject is empty and the name stands in the critical subjectAltName alone
    (RFC 5280 section 4.2.1.6): a common name holds 64 characters, a host name 253.
    """
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.certificate.subject)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(max(now - SLACK, issuer.certificate.not_valid_before_utc))
        .not_valid_after(min(now + DAY, issuer.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(DIGITAL_SIGNATURE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value),
            critical=False,
        )
        .sign(issuer.key, hashes.SHA256())
    )
