"""A certificate authority for two domains, and a catalogue of four names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from milecastle.model import Service
from milecastle.signer.audit import Audit
from milecastle.signer.authority import Authority, Places, create, private_key
from milecastle.signer.leaf import Issuer
from milecastle.signer.signing import Signer

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOMAINS = ("api.openai.com", "anthropic.com")


class FourNames:
    """`match` as the catalogue has it; one name outside the constraints, one not to be read."""

    listed = ("api.openai.com", "api.anthropic.com", "api.grown.example", "files.anthropic.com")

    def match(self, host: str) -> Service | None:
        if host not in self.listed:
            return None
        return Service(host, host, "", "model_api", decrypt=not host.startswith("files."))


class Clock:
    """A clock that the test moves."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def __call__(self) -> float:
        return self.moment


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def authority(state: Path) -> Authority:
    return create(DOMAINS, state, host="testhost", now=NOW, owner=None)


@pytest.fixture
def issuer(authority: Authority, state: Path) -> Issuer:
    return Issuer(authority.intermediate, private_key(Places(state).key))


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW.timestamp())


@pytest.fixture
def signer(issuer: Issuer, tmp_path: Path, clock: Clock) -> Signer:
    audit = Audit(tmp_path / "audit.jsonl")
    return Signer(lambda: issuer, FourNames(), audit, wall=clock, steady=clock)


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture(scope="session")
def worker_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def public_key(worker_key: ec.EllipticCurvePrivateKey) -> bytes:
    return spki(worker_key)
