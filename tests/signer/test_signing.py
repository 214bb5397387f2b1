"""Whether to sign: every refusal of the table, the rates, and the record of both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from milecastle.signer.allowance import Allowance
from milecastle.signer.audit import Audit
from milecastle.signer.authority import Authority, Places, create
from milecastle.signer.custody import Custody
from milecastle.signer.leaf import Issuer
from milecastle.signer.signing import EACH_PEER, OVERALL, REFUSALS, Peer, Signer
from milecastle.wire import Frame

from .conftest import NOW, Clock, FourNames, spki


def ask(signer: Signer, name: str, key: bytes, peer: Peer | None = None) -> Frame:
    frame = Frame(5, "sign", {"name": name, "public_key": key})
    return signer.answer(frame, peer or Peer(1234, 998))


def code(answer: Frame) -> str:
    assert answer.id == 5
    if answer.kind == "ok":
        return "ok"
    assert answer.body["message"] == REFUSALS[answer.body["code"]]
    return str(answer.body["code"])


def lines(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]


def test_a_catalogue_name_is_signed_for_the_key_that_was_sent(
    signer: Signer, public_key: bytes, issuer: Issuer
) -> None:
    answer = ask(signer, "API.openai.com", public_key)
    certificate = x509.load_der_x509_certificate(answer.body["result"]["certificate"])
    certificate.verify_directly_issued_by(issuer.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["api.openai.com"]
    assert certificate.public_key() == serialization.load_der_public_key(public_key)


def test_every_signature_is_recorded_with_its_serial(
    signer: Signer, public_key: bytes, tmp_path: Path
) -> None:
    answer = ask(signer, "api.openai.com", public_key)
    serial = x509.load_der_x509_certificate(answer.body["result"]["certificate"]).serial_number
    (line,) = lines(tmp_path)
    assert line["event"] == "signed"
    assert line["serial"] == f"{serial:x}"
    assert (line["name"], line["pid"], line["uid"]) == ("api.openai.com", 1234, 998)
    assert line["time"] == NOW.timestamp()
    assert len(str(line["key"])) == 64


def test_serials_are_random(signer: Signer, public_key: bytes, tmp_path: Path) -> None:
    for _ in range(20):
        ask(signer, "api.openai.com", public_key)
    assert len({line["serial"] for line in lines(tmp_path)}) == 20


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bank.example", "not_in_catalogue"),
        ("openai.com", "not_in_catalogue"),
        ("files.anthropic.com", "not_in_catalogue"),
        ("api.grown.example", "not_covered"),
        ("", "bad_name"),
        ("api.openai.com.", "bad_name"),
        ("*.openai.com", "bad_name"),
        ("198.51.100.7", "bad_name"),
        ("::1", "bad_name"),
        ("api.openai.com\x00.evil.example", "bad_name"),
        ("api.openai.com\n", "bad_name"),
        ("аpi.openai.com", "bad_name"),
        ("a" * 64 + ".com", "bad_name"),
        ("a." * 127 + "com", "bad_name"),
        ("x" * 3000, "bad_name"),
    ],
)
def test_other_names_are_refused_and_the_refusal_is_recorded(
    signer: Signer, public_key: bytes, tmp_path: Path, name: str, expected: str
) -> None:
    assert code(ask(signer, name, public_key)) == expected
    (line,) = lines(tmp_path)
    assert (line["event"], line["code"]) == ("refused", expected)
    assert len(str(line["name"])) <= 253


def foreign_keys() -> list[bytes]:
    keys = [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ]
    return [spki(key) for key in keys]  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [b"", b"\x30\x00", b"\xff" * 91, *foreign_keys()])
def test_only_p256_keys_are_signed(signer: Signer, key: bytes) -> None:
    assert code(ask(signer, "api.openai.com", key)) == "bad_key"


def test_an_expired_authority_signs_nothing(
    signer: Signer, public_key: bytes, issuer: Issuer, clock: Clock
) -> None:
    end = issuer.certificate.not_valid_after_utc.timestamp()
    clock.moment = end - 1
    assert code(ask(signer, "api.openai.com", public_key)) == "ok"
    clock.moment = end
    assert code(ask(signer, "api.openai.com", public_key)) == "expired"


def test_one_greedy_peer_is_slowed_and_the_others_are_served(
    signer: Signer, public_key: bytes, clock: Clock
) -> None:
    greedy, modest = Peer(1, 998), Peer(2, 998)
    codes = [code(ask(signer, "bank.example", public_key, greedy)) for _ in range(150)]
    assert codes.count("rate") == 150 - EACH_PEER[0]
    assert code(ask(signer, "api.openai.com", public_key, modest)) == "ok"
    clock.moment += 1
    codes = [code(ask(signer, "bank.example", public_key, greedy)) for _ in range(20)]
    assert codes.count("not_in_catalogue") == EACH_PEER[1]


def test_many_peers_together_are_limited_too(signer: Signer, public_key: bytes) -> None:
    codes = [
        code(ask(signer, "bank.example", public_key, Peer(number, 998)))
        for number in range(int(OVERALL[0]) + 50)
    ]
    assert codes.count("rate") == 50


def test_a_flood_of_requests_is_no_flood_of_lines_but_is_counted(
    signer: Signer, public_key: bytes, tmp_path: Path, clock: Clock
) -> None:
    peer = Peer(1, 998)
    for _ in range(1000):
        ask(signer, "bank.example", public_key, peer)
    assert len(lines(tmp_path)) < 150
    clock.moment += 10
    assert code(ask(signer, "api.openai.com", public_key, peer)) == "ok"
    assert len(lines(tmp_path)) - 1 + int(str(lines(tmp_path)[-1]["omitted"])) == 1000


def test_what_cannot_be_recorded_is_not_signed(
    issuer: Issuer, public_key: bytes, tmp_path: Path, clock: Clock
) -> None:
    class FullDisk(Audit):
        def write(self, entry: object) -> None:
            raise OSError(28, "No space left on device")

    signer = Signer(lambda: issuer, FourNames(), FullDisk(tmp_path / "a"), wall=clock, steady=clock)
    assert code(ask(signer, "api.openai.com", public_key)) == "audit"
    assert code(ask(signer, "bank.example", public_key)) == "not_in_catalogue"


def test_the_key_shows_in_no_representation(issuer: Issuer) -> None:
    assert repr(issuer) == "Issuer(...)"


def test_the_record_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl", largest=1000, keep=2)
    for number in range(500):
        audit.write({"number": number})
    audit.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert all((tmp_path / name).stat().st_size <= 1000 for name in files)
    assert lines(tmp_path)[-1] == {"number": 499}
    newest_aside = (tmp_path / "audit.jsonl.1").read_text().splitlines()[-1]
    assert json.loads(newest_aside)["number"] + 1 == lines(tmp_path)[0]["number"]


def test_the_record_goes_on_after_a_restart_and_is_private(tmp_path: Path) -> None:
    for number in range(3):
        audit = Audit(tmp_path / "audit.jsonl")
        audit.write({"number": number})
        audit.close()
    assert [line["number"] for line in lines(tmp_path)] == [0, 1, 2]
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_allowance_fills_up_again_but_never_over_its_burst() -> None:
    allowance = Allowance(burst=3, rate=2)
    assert [allowance.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(10.5) for _ in range(2)] == [True, False]
    assert [allowance.take(1000.0) for _ in range(4)] == [True, True, True, False]
    assert allowance.take(999.0) is False, "a clock that goes back gives nothing"


def test_a_renewed_ca_signs_from_the_next_request_on(
    authority: Authority, state: Path, tmp_path: Path, public_key: bytes, clock: Clock
) -> None:
    places = Places(state)
    custody = Custody(places.intermediate, places.key)
    signer = Signer(
        custody.issuer, FourNames(), Audit(tmp_path / "audit.jsonl"), wall=clock, steady=clock
    )
    assert code(ask(signer, "api.grown.example", public_key)) == "not_covered"
    renewed = create(("grown.example",), state, host="testhost", now=NOW, owner=None)
    answer = ask(signer, "api.grown.example", public_key)
    certificate = x509.load_der_x509_certificate(answer.body["result"]["certificate"])
    certificate.verify_directly_issued_by(renewed.intermediate)
    assert code(ask(signer, "api.openai.com", public_key)) == "not_covered"


def test_a_renewal_that_broke_off_leaves_the_old_ca_in_force(
    authority: Authority, state: Path
) -> None:
    places = Places(state)
    custody = Custody(places.intermediate, places.key)
    before = custody.issuer()
    places.intermediate.with_name("new").write_text("half a certificate")
    places.intermediate.with_name("new").rename(places.intermediate)
    assert custody.issuer() is before
    places.intermediate.unlink()
    assert custody.issuer() is before
