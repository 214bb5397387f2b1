import socket
import threading

import pytest

from milecastle import wire
from milecastle.cli import control
from milecastle.cli.control import Control
from milecastle.cli.faults import NoDaemonError


def test_no_daemon_is_exit_code_3_and_says_what_to_do(cli):
    code, out, err = cli("status")
    assert (code, out) == (3, "")
    assert "make run" in err
    assert "--run-dir" in err


def test_a_socket_that_nobody_listens_on_is_no_daemon(cli, run_dir):
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(run_dir / "control.sock"))
    assert cli("status")[0] == 3


@pytest.fixture
def closed_daemon(daemon, run_dir):
    daemon(status={"ready": True})
    (run_dir / "control.sock").chmod(0o660)
    run_dir.chmod(0o755)


@pytest.mark.parametrize(("ready", "code"), [(True, 0), (False, 1)])
def test_a_probe_is_told_whether_it_works(cli, daemon, ready, code):
    daemon(status={"ready": ready})
    assert cli("status")[0] == 0
    assert cli("status", "--ready")[0] == code
    assert cli("status", "--ready", "--json")[0] == code


def test_permission_denied_names_the_group(closed_daemon, as_nobody, cli):
    code, _, err = cli("status")
    assert code == 3
    assert "become root or a member of the group 'root'" in err


def test_the_run_directory_may_stand_after_the_command(daemon, run_dir, capsys):
    from milecastle.cli.main import main

    daemon(status={"ready": True})
    assert main(["status", "--json", "--run-dir", str(run_dir)]) == 0
    assert '"ready": true' in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x05junk!",
        wire.encode(wire.Frame(1, "ok", {"other": 1})),
        wire.encode(wire.Frame(1, "surprise", {})),
    ],
)
def test_something_else_on_the_socket_is_told_and_not_a_traceback(cli, daemon, answer):
    daemon(status=answer)
    code, _, err = cli("status")
    assert code == 3
    assert "control.sock" in err
    assert "Traceback" not in err


def test_a_daemon_that_hangs_up_is_told(cli, run_dir, daemon):
    daemon(status=b"")
    # the fake answers with nothing and waits; closing it is the end of the connection
    fake = socket.socket(socket.AF_UNIX)
    path = run_dir / "elsewhere"
    path.mkdir()
    fake.bind(str(path / "control.sock"))
    fake.listen()
    with fake, Control(path) as client:
        peer, _ = fake.accept()
        peer.close()
        with pytest.raises(NoDaemonError, match=r"went away|closed the connection"):
            client.request("status")


def test_a_daemon_that_never_answers_is_given_up(daemon, cli, monkeypatch):
    monkeypatch.setattr(control, "TIMEOUT", 0.2)
    daemon(status=b"")
    code, _, err = cli("status")
    assert code == 3
    assert "did not answer" in err


def test_an_answer_may_come_in_pieces_and_after_events(run_dir):
    run_dir.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(run_dir / "control.sock"))
    listener.listen()
    with listener, Control(run_dir) as client:
        peer, _ = listener.accept()
        frames = [
            wire.Frame(0, "event", {"event": {"early": 1}}),
            wire.Frame(1, "ok", {"result": []}),
            wire.Frame(0, "event", {"event": {"late": 2}}),
        ]
        data = b"".join(map(wire.encode, frames))
        peer.sendall(data[:3])
        sender = threading.Timer(0.05, peer.sendall, (data[3:],))
        sender.start()
        assert client.request("tail", history=0) == []
        sender.join()
        peer.recv(1 << 16)
        peer.close()
        assert list(client.events()) == [{"late": 2}]
