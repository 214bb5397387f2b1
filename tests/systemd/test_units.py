"""The units: what systemd itself says of them, and that they agree with the code and each other."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from milecastle.daemon import accounts

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "systemd"
UNITS = sorted(path.name for path in SHIPPED.iterdir() if path.suffix in {".service", ".socket"})
SERVICES = [name for name in UNITS if name.endswith(".service")]
PREFIX = "/opt/milecastle/bin/"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


class Unit(configparser.RawConfigParser):
    """A unit file; a key that stands several times is joined, as systemd does with lists."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, interpolation=None, delimiters=("=",))
        self.optionxform = str  # type: ignore[assignment, method-assign]
        seen: dict[tuple[str, str], str] = {}
        section = ""
        for line in (SHIPPED / name).read_text().splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                key, value = line.split("=", 1)
                before = seen.get((section, key))
                seen[section, key] = f"{before} {value}" if before else value
        for (where, key), value in seen.items():
            if not self.has_section(where):
                self.add_section(where)
            self.set(where, key, value)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the units whose commands exist here: verify wants executable files."""
    folder = tmp_path_factory.mktemp("units")
    for name in UNITS:
        text = (SHIPPED / name).read_text()
        text = re.sub(rf"{PREFIX}milecastle\S*", "/bin/true", text)
        (folder / name).write_text(text)
    return folder


@needs_analyze
def test_systemd_finds_nothing_to_complain_of(adapted: Path) -> None:
    """An unknown key is a warning with exit code 0: standard error has to be empty."""
    files = [adapted / name for name in UNITS]
    command = ["systemd-analyze", "verify", "--man=no", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "milecastle" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


@needs_analyze
def test_a_misspelt_key_would_be_noticed(adapted: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "milecastle-signer.service"
    shutil.copy(adapted / "milecastle-signer.socket", tmp_path)
    text = (adapted / wrong.name).read_text()
    wrong.write_text(text.replace("NoNewPrivileges=", "NoNewPrivilege="))
    command = ["systemd-analyze", "verify", "--man=no", wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "NoNewPrivilege" in done.stderr


@needs_analyze
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("milecastled.service", 4.0),
        ("milecastle-proxy@.service", 1.6),
        ("milecastle-signer.service", 1.0),
        ("milecastle-pods.service", 1.6),
    ],
)
def test_the_exposure_stays_below_its_threshold(adapted: Path, name: str, most: float) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={most * 10:.0f}"]
    done = subprocess.run(
        [*command, adapted / name], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


@pytest.mark.parametrize("name", SERVICES)
def test_every_command_is_one_that_the_package_installs(name: str) -> None:
    scripts = (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[1]
    command = Unit(name)["Service"]["ExecStart"].split()[0]
    assert command.startswith(PREFIX)
    assert re.search(rf"^{command.removeprefix(PREFIX)} = ", scripts, re.M)


@pytest.mark.parametrize("name", SERVICES)
def test_no_process_dumps_core_gains_rights_or_grows_without_bound(name: str) -> None:
    service = Unit(name)["Service"]
    assert service["LimitCORE"] == "0"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    for key in ("MemoryMax", "TasksMax", "SystemCallFilter", "RestrictAddressFamilies"):
        assert service[key]


@pytest.mark.parametrize(
    "name", ["milecastle-proxy@.service", "milecastle-signer.service", "milecastle-pods.service"]
)
def test_the_unprivileged_hold_no_capability(name: str) -> None:
    service = Unit(name)["Service"]
    assert service["CapabilityBoundingSet"] == ""
    assert service["AmbientCapabilities"] == ""
    assert service["User"] in (accounts.PROXY, accounts.SIGNER, accounts.PODS)


def test_the_daemons_capabilities_are_these_and_no_more() -> None:
    held = set(Unit("milecastled.service")["Service"]["CapabilityBoundingSet"].split())
    assert held == {
        "CAP_SYS_ADMIN",
        "CAP_BPF",
        "CAP_PERFMON",
        "CAP_NET_ADMIN",
        "CAP_SYS_PTRACE",
        "CAP_CHOWN",
        "CAP_FOWNER",
        "CAP_DAC_OVERRIDE",
        "CAP_KILL",
    }


def test_the_signer_has_no_network_and_sees_its_peers_as_they_are() -> None:
    service = Unit("milecastle-signer.service")["Service"]
    assert service["PrivateNetwork"] == "yes"
    assert service["RestrictAddressFamilies"] == "AF_UNIX"
    assert "PrivateUsers" not in service, "SO_PEERCRED would name every worker nobody"


def test_the_workers_library_that_writes_code_at_run_time_is_allowed_to() -> None:
    """pyOpenSSL's callbacks end in MemoryError otherwise, at the first TLS handshake."""
    assert "MemoryDenyWriteExecute" not in Unit("milecastle-proxy@.service")["Service"]
    assert Unit("milecastled.service")["Service"]["MemoryDenyWriteExecute"] == "yes"


def test_a_dead_worker_is_back_at_once_and_without_a_limit() -> None:
    unit = Unit("milecastle-proxy@.service")
    assert (unit["Service"]["Restart"], unit["Service"]["RestartSec"]) == ("always", "100ms")
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert "After" not in unit["Unit"], "the daemon is ready only when a worker serves"


def test_the_signers_socket_is_for_the_worker_alone() -> None:
    socket = Unit("milecastle-signer.socket")["Socket"]
    assert socket["ListenStream"] == "/run/milecastle/signer.sock"
    assert (socket["SocketUser"], socket["SocketGroup"]) == (accounts.SIGNER, accounts.PROXY)
    assert socket["SocketMode"] == "0660"


def test_sysusers_makes_the_accounts_that_the_code_names() -> None:
    text = (SHIPPED / "sysusers.d" / "milecastle.conf").read_text()
    made = set(re.findall(r"^[ug]\s+(\S+)", text, re.M))
    assert made == {accounts.PROXY, accounts.SIGNER, accounts.PODS, accounts.READERS}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="giving folders to their users needs root")
@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="no systemd-tmpfiles here")
def test_sysusers_and_tmpfiles_accept_our_files(tmp_path: Path) -> None:
    for kind in ("sysusers.d", "tmpfiles.d"):
        (tmp_path / "usr/lib" / kind).mkdir(parents=True)
        shutil.copy(SHIPPED / kind / "milecastle.conf", tmp_path / "usr/lib" / kind)
    (tmp_path / "etc").mkdir()
    for command in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        done = subprocess.run(
            [*command, f"--root={tmp_path}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "var/lib/milecastle/signer").stat().st_mode & 0o777 == 0o700
    assert "milecastle-signer" in (tmp_path / "etc/passwd").read_text()
