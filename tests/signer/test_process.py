"""The real process, started as the daemon starts it: its user, rights, size and answers."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from milecastle.daemon import preparing, supervisor
from milecastle.settings import Settings
from milecastle.signer import authority
from milecastle.signer.authority import SELFTEST, Places
from milecastle.wire import Decoder, Frame, encode

SIGNER, PROXY = "milecastle-signer", "milecastle-proxy"


def uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


needs_root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root"),
    pytest.mark.skipif(uid(SIGNER) is None, reason="no system users: scripts/setup as root"),
]


def ceremony(state: Path, *more: str) -> dict[str, object]:
    command = [sys.executable, "-m", "milecastle.signer.ceremony", "--state-dir", state, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return dict(json.loads(done.stdout))


def ask(path: Path, name: str, key: bytes, user: int) -> Frame | None:
    """Ask as a user, by the effective uid at connect(); None where the signer hangs up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        mine = os.geteuid()
        os.seteuid(user)
        try:
            connection.connect(str(path))
        finally:
            os.seteuid(mine)
        decoder = Decoder()
        with suppress(ConnectionError):
            connection.sendall(encode(Frame(1, "sign", {"name": name, "public_key": key})))
            while data := connection.recv(1 << 16):
                for frame in decoder.feed(data):
                    return frame
    return None


class Running:
    """A signer under the daemon's launcher, on a socket made here."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.path = folder / "signer.sock"
        ceremony(self.state)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        self.path.chmod(0o666)
        listener.listen(8)
        settings = Settings(policy=folder, state_dir=self.state, run_dir=folder)
        spec = preparing.signer(settings, [], listener.fileno())
        self.process = subprocess.Popen(supervisor.confined(spec), pass_fds=spec.descriptors)
        listener.close()

    def status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def audit(self) -> list[dict[str, object]]:
        text = (self.state / "signer" / "audit.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    # not under /tmp: the launcher covers that
    with tempfile.TemporaryDirectory(prefix="milecastle-signer-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        signer = Running(folder)
        yield signer
        signer.process.kill()
        signer.process.wait()


class TestConfined:
    pytestmark = needs_root

    def test_a_worker_gets_a_certificate_that_the_root_vouches_for(
        self, running: Running, public_key: bytes
    ) -> None:
        answer = ask(running.path, SELFTEST, public_key, uid(PROXY) or -1)
        assert answer is not None and answer.kind == "ok"
        leaf = x509.load_der_x509_certificate(answer.body["result"]["certificate"])
        leaf.verify_directly_issued_by(authority.load(running.state).intermediate)
        assert running.audit()[-1]["serial"] == f"{leaf.serial_number:x}"
        assert running.audit()[-1]["pid"] == os.getpid()

    def test_a_name_outside_the_catalogue_is_refused_and_recorded(
        self, running: Running, public_key: bytes
    ) -> None:
        answer = ask(running.path, "bank.example", public_key, uid(PROXY) or -1)
        assert answer is not None and answer.body["code"] == "not_in_catalogue"
        assert running.audit()[-1]["code"] == "not_in_catalogue"

    @pytest.mark.parametrize("user", [0, 65534, uid(SIGNER)])
    def test_nobody_but_the_worker_is_served_not_even_root(
        self, running: Running, public_key: bytes, user: int
    ) -> None:
        before = len(running.audit())
        assert ask(running.path, SELFTEST, public_key, user) is None
        assert len(running.audit()) == before

    def test_it_holds_no_right_that_it_does_not_need(
        self, running: Running, public_key: bytes
    ) -> None:
        assert ask(running.path, SELFTEST, public_key, uid(PROXY) or -1), "it has started"
        status = running.status()
        assert status["Uid"].split() == [str(uid(SIGNER))] * 4
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1"
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
        assert "Max core file size        0                    0" in limits
        # a process that can't be dumped belongs to root in /proc: its user can't trace it either
        assert Path(f"/proc/{running.process.pid}/environ").stat().st_uid == 0
        devices = Path(f"/proc/{running.process.pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in devices] == ["lo"]

    def test_it_stays_small(self, running: Running, public_key: bytes) -> None:
        for _ in range(50):
            ask(running.path, SELFTEST, public_key, uid(PROXY) or -1)
        resident = int(running.status()["VmRSS"].split()[0])
        assert resident <= 45 << 10, f"{resident} KiB"

    def test_the_worker_cannot_read_the_key(self, running: Running) -> None:
        os.seteuid(uid(PROXY) or -1)
        try:
            with pytest.raises(PermissionError):
                Places(running.state).key.read_bytes()
        finally:
            os.seteuid(0)


def test_the_ceremony_makes_keeps_rotates_and_mends(tmp_path: Path) -> None:
    owner = ("--owner", pwd.getpwuid(os.geteuid()).pw_name)
    assert ceremony(tmp_path, *owner, "--check")["state"] == "absent"
    made = ceremony(tmp_path, *owner)
    assert (made["state"], made["missing"]) == ("made", [])
    first = Places(tmp_path).root.read_bytes()
    kept = ceremony(tmp_path, *owner)
    assert (kept["state"], kept["why"], Places(tmp_path).root.read_bytes()) == ("kept", "", first)
    assert ceremony(tmp_path, *owner, "--rotate")["state"] == "renewed"
    second = Places(tmp_path).root.read_bytes()
    assert second != first
    Places(tmp_path).intermediate.unlink()
    assert ceremony(tmp_path, *owner, "--check")["why"] == "it was half made"
    mended = ceremony(tmp_path, *owner)
    assert (mended["state"], mended["why"]) == ("renewed", "it was half made")


def test_a_grown_catalogue_is_told_and_only_a_rotation_covers_it(tmp_path: Path) -> None:
    owner = ("--owner", pwd.getpwuid(os.geteuid()).pw_name)
    ceremony(tmp_path, *owner)
    further = tmp_path / "further.yaml"
    further.write_text(
        "services:\n  - {id: own, name: Own, vendor: Us, category: model_api,"
        " domains: [llm.corp.example], verified: documented, endpoints: []}\n"
    )
    grown = ("--catalogue", str(further), *owner)
    assert ceremony(tmp_path, *grown)["missing"] == ["llm.corp.example"]
    folder = ("--catalogue", str(tmp_path), *owner)
    assert ceremony(tmp_path, *folder)["missing"] == ["llm.corp.example"]
    assert ceremony(tmp_path, *grown, "--rotate")["missing"] == []


def test_the_chain_of_the_shipped_catalogue_fits_what_clients_accept(tmp_path: Path) -> None:
    """Java takes 32 KiB of handshake message (jdk.tls.maxHandshakeMessageSize)."""
    ceremony(tmp_path, "--owner", pwd.getpwuid(os.geteuid()).pw_name)
    intermediate = authority.load(tmp_path).intermediate
    assert len(intermediate.public_bytes(authority.serialization.Encoding.DER)) < 24 << 10


def test_without_a_key_it_says_so_in_one_line_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "milecastle.signer.main", "--socket", tmp_path / "s.sock"]
    command += ["--key", tmp_path / "no.key", "--chain", tmp_path / "no.pem"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "cannot start" in done.stderr and "Traceback" not in done.stderr


def test_on_its_own_socket_it_serves_and_ctrl_c_is_not_for_it(
    tmp_path: Path, public_key: bytes
) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    ceremony(tmp_path, "--owner", me)
    path = tmp_path / "signer.sock"
    places = Places(tmp_path)
    command = [sys.executable, "-m", "milecastle.signer.main", "--socket", path, "--peer-user", me]
    command += ["--key", places.key, "--chain", places.intermediate]
    command += ["--audit", tmp_path / "audit.jsonl"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "ready" in process.stderr.readline()
            assert path.stat().st_mode & 0o777 == 0o660
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
            answer = ask(path, SELFTEST, public_key, os.geteuid())
            assert answer is not None and answer.kind == "ok"
        finally:
            process.terminate()
