"""The CA: what it is constrained to, what is on disk, and what a crash leaves behind."""

from __future__ import annotations

import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from milecastle.signer import authority as module
from milecastle.signer.authority import (
    SELFTEST,
    Authority,
    AuthorityError,
    Places,
    constrainable,
    covers,
    create,
    key_fits,
    load,
    permitted,
    place,
)

from .conftest import DOMAINS, NOW


def test_root_and_intermediate_carry_the_same_critical_constraints(authority: Authority) -> None:
    for certificate in (authority.root, authority.intermediate):
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints)
        assert found.critical
        assert permitted(certificate) == ("anthropic.com", "api.openai.com", SELFTEST)
        excluded = found.value.excluded_subtrees
        assert excluded is not None
        assert [str(tree.value) for tree in excluded] == ["0.0.0.0/0", "::/0"]


def test_the_intermediate_signs_leaves_only_and_for_servers_only(authority: Authority) -> None:
    of = authority.intermediate.extensions.get_extension_for_class
    assert of(x509.BasicConstraints).value.path_length == 0
    assert list(of(x509.ExtendedKeyUsage).value) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    root = authority.root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert root.value.path_length == 1


def test_the_roots_key_is_nowhere_on_disk(authority: Authority, state: Path) -> None:
    files = [path for path in state.rglob("*") if path.is_file()]
    assert sorted(p.name for p in files) == ["intermediate.key", "intermediate.pem", "root.pem"]
    secrets = [path for path in files if b"PRIVATE KEY" in path.read_bytes()]
    assert secrets == [Places(state).key]
    key = serialization.load_pem_private_key(secrets[0].read_bytes(), None)
    assert key.public_key() == authority.intermediate.public_key()
    assert key.public_key() != authority.root.public_key()


def test_only_the_signer_may_read_the_key(authority: Authority, state: Path) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    places = Places(state)
    assert mode(places.key) == 0o600
    assert mode(places.key.parent) == 0o700
    assert mode(places.root) == mode(places.intermediate) == 0o644
    assert mode(places.root.parent) == 0o755


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_the_key_belongs_to_the_signers_user_from_its_first_byte(state: Path) -> None:
    create(DOMAINS, state, host="h", now=NOW, owner=65534)
    places = Places(state)
    assert places.key.stat().st_uid == places.key.parent.stat().st_uid == 65534
    assert places.root.stat().st_uid == places.root.parent.stat().st_uid == 0


def test_what_was_made_can_be_loaded(authority: Authority, state: Path) -> None:
    assert load(state) == authority
    assert key_fits(state, authority)
    assert authority.expires == NOW + timedelta(days=730)


def test_no_authority_is_told_from_half_of_one(state: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(state)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_crash_while_rotating_never_leaves_something_that_looks_whole(
    authority: Authority, state: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    done: list[Path] = []

    def crash_later(path: Path, data: bytes, mode: int, owner: int | None) -> None:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(path)
        place(path, data, mode, owner)

    monkeypatch.setattr(module, "place", crash_later)
    with pytest.raises(KeyboardInterrupt):
        create(DOMAINS, state, host="h", now=NOW, owner=None)
    try:
        whole = key_fits(state, load(state))
    except AuthorityError:
        whole = False
    assert whole is (steps == 0), "nothing was replaced yet, or it is refused"


@pytest.mark.parametrize("name", ["root", "intermediate", "key"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 40, b"-----BEGIN CERTIFICATE-----\n"])
def test_a_damaged_file_is_refused(
    authority: Authority, state: Path, name: str, content: bytes
) -> None:
    getattr(Places(state), name).write_bytes(content)
    if name == "key":
        assert not key_fits(state, load(state))
    else:
        with pytest.raises(AuthorityError):
            load(state)


def test_a_foreign_certificate_without_constraints_is_refused(
    authority: Authority, state: Path
) -> None:
    Places(state).intermediate.write_bytes(Places(state).root.read_bytes())
    Places(state).root.write_bytes(unconstrained())
    with pytest.raises(AuthorityError):
        load(state)


def unconstrained() -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_the_key_is_never_read_through_a_symbolic_link(
    authority: Authority, state: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.key"
    Places(state).key.rename(elsewhere)
    Places(state).key.symlink_to(elsewhere)
    assert not key_fits(state, authority)


def test_a_leftover_of_a_crash_does_not_stop_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".file.new").symlink_to("/nonexistent/target")
    place(tmp_path / "file", b"whole", 0o600, None)
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_grown_catalogue_names_what_is_missing(authority: Authority) -> None:
    wanted = ("api.openai.com", "eu.api.openai.com", "anthropic.com", "mistral.ai", "x.ai")
    assert authority.missing(wanted) == ("mistral.ai", "x.ai")
    assert authority.missing(DOMAINS) == ()


def test_covering_respects_label_boundaries() -> None:
    assert covers({"openai.com"}, "API.openai.com")
    assert covers({"openai.com"}, "openai.com")
    assert not covers({"openai.com"}, "notopenai.com")
    assert not covers({"openai.com"}, "openai.com.evil.example")


def test_constraints_are_minimal_and_never_a_whole_top_level_domain() -> None:
    asked = (
        "com",
        "ai",
        "localhost",
        "",
        ".",
        "bad name.com",
        "10.0.0.1",
        "x.ai",
        "API.x.ai",
        "-a.ai",
    )
    assert constrainable(asked) == (SELFTEST, "x.ai")
