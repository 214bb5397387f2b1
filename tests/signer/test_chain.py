"""Real verifiers on real leaves: OpenSSL, the Python ssl module and cryptography's verifier."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from milecastle.signer.authority import SELFTEST, Authority, Places, create, pem, private_key
from milecastle.signer.leaf import Issuer, issue

from .conftest import NOW

PERMITTED = ("api.openai.com", "eu.api.openai.com", "api.anthropic.com", SELFTEST)
FOREIGN = ("bank.example", "openai.com", "notanthropic.com", "api.openai.com.evil.example")


def leaf(name: str, issuer: Issuer, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return issue(name, key.public_key(), issuer, now=NOW, serial=7)


def openssl_verify(
    name: str, certificate: x509.Certificate, state: Path
) -> subprocess.CompletedProcess[str]:
    file = state / "leaf.pem"
    file.write_bytes(pem(certificate))
    places = Places(state)
    moment = str(int(NOW.timestamp()))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", moment]
    command += ["-verify_hostname", name, "-no-CApath", "-no-CAstore", "-CAfile", places.root]
    command += ["-untrusted", places.intermediate, file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", PERMITTED)
def test_openssl_accepts_a_leaf_for_a_catalogue_name(
    name: str, issuer: Issuer, worker_key: ec.EllipticCurvePrivateKey, state: Path
) -> None:
    result = openssl_verify(name, leaf(name, issuer, worker_key), state)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", FOREIGN)
def test_openssl_refuses_what_a_stolen_key_signs_for_a_foreign_name(
    name: str, issuer: Issuer, worker_key: ec.EllipticCurvePrivateKey, state: Path
) -> None:
    result = openssl_verify(name, leaf(name, issuer, worker_key), state)
    assert result.returncode != 0
    assert "permitted subtree violation" in result.stderr


def test_openssl_refuses_a_stolen_keys_leaf_for_an_address(
    issuer: Issuer, worker_key: ec.EllipticCurvePrivateKey, state: Path
) -> None:
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("198.51.100.1"))])
    certificate = (
        x509.CertificateBuilder(issuer.certificate.subject, x509.Name([]), worker_key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(address, critical=True)
        .sign(issuer.key, hashes.SHA256())
    )
    file = state / "leaf.pem"
    file.write_bytes(pem(certificate))
    command = ["openssl", "verify", "-attime", str(int(NOW.timestamp()))]
    command += ["-CAfile", Places(state).root, "-untrusted", Places(state).intermediate, file]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "excluded subtree violation" in result.stderr


@pytest.mark.parametrize("name", PERMITTED)
def test_cryptographys_verifier_accepts_the_chain(
    name: str, issuer: Issuer, authority: Authority, worker_key: ec.EllipticCurvePrivateKey
) -> None:
    verifier = PolicyBuilder().store(Store([authority.root])).time(NOW)
    chain = verifier.build_server_verifier(x509.DNSName(name)).verify(
        leaf(name, issuer, worker_key), [authority.intermediate]
    )
    assert len(chain) == 3


@pytest.mark.parametrize("name", FOREIGN)
def test_cryptographys_verifier_refuses_foreign_names(
    name: str, issuer: Issuer, authority: Authority, worker_key: ec.EllipticCurvePrivateKey
) -> None:
    verifier = PolicyBuilder().store(Store([authority.root])).time(NOW)
    with pytest.raises(VerificationError):
        verifier.build_server_verifier(x509.DNSName(name)).verify(
            leaf(name, issuer, worker_key), [authority.intermediate]
        )


@pytest.mark.parametrize(("name", "fine"), [("api.openai.com", True), ("bank.example", False)])
def test_a_python_client_shakes_hands_for_catalogue_names_only(
    name: str, fine: bool, worker_key: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    authority = create(("api.openai.com",), tmp_path, host="h", now=now, owner=None)
    issuer = Issuer(authority.intermediate, private_key(Places(tmp_path).key))
    served = issue(name, worker_key.public_key(), issuer, now=now, serial=9)
    (tmp_path / "chain.pem").write_bytes(pem(served) + pem(authority.intermediate))
    (tmp_path / "leaf.key").write_bytes(
        worker_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "chain.pem", tmp_path / "leaf.key")
    client = ssl.create_default_context(cafile=str(Places(tmp_path).root))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on

    near, far = socket.socketpair()

    def serve() -> None:
        with far, suppress(ssl.SSLError, OSError):
            server.wrap_socket(far, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        if fine:
            client.wrap_socket(near, server_hostname=name).close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
                client.wrap_socket(near, server_hostname=name)
    finally:
        near.close()
        thread.join(5)


def test_a_leaf_says_one_name_for_one_day_and_nothing_else(
    issuer: Issuer, worker_key: ec.EllipticCurvePrivateKey
) -> None:
    certificate = leaf("api.openai.com", issuer, worker_key)
    of = certificate.extensions.get_extension_for_class
    assert of(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [
        "api.openai.com"
    ]
    assert list(of(x509.ExtendedKeyUsage).value) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert not of(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc == NOW + timedelta(days=1)
    assert timedelta(0) < NOW - certificate.not_valid_before_utc < timedelta(hours=1)
    assert certificate.public_key() == worker_key.public_key() != issuer.key.public_key()


def test_a_leaf_never_outlives_its_issuer(
    issuer: Issuer, worker_key: ec.EllipticCurvePrivateKey
) -> None:
    end = issuer.certificate.not_valid_after_utc
    late = issue("x.ai", worker_key.public_key(), issuer, now=end - timedelta(hours=2), serial=1)
    assert late.not_valid_after_utc == end
