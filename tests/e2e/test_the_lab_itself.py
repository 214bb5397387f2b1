"""The lab without milecastle: a failure here is not the agent's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lab import Lab, cgroups, network
from tests.lab.lab import MARK
from tests.lab.patience import until

CLIENTS = Path(__file__).parents[1] / "lab" / "clients"
OPENAI = "https://api.openai.com/v1/chat/completions"


def prompt(text: str) -> str:
    return json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]})


@pytest.mark.parametrize("family", ["-4", "-6"])
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_curl_reaches_the_stand_in_over_both_families_and_versions(lab: Lab, family, version):
    argv = ["curl", "-sS", family, f"--http{version}", "-w", "\n%{http_version}", OPENAI]
    argv += ["-H", "content-type: application/json", "-d", prompt("hello from the lab")]
    done = lab.run_client(argv, env=lab.trust_env())
    body, spoken = done.stdout.splitlines()
    assert json.loads(body)["choices"][0]["message"]["content"] == "Hello! The lab hears you."
    assert spoken == version
    (seen,) = lab.requests(at_least=1)
    assert seen["address"] == {"-4": "198.51.100.3", "-6": "2001:db8:51::3"}[family]
    assert seen["body"] == prompt("hello from the lab")
    (entry,) = lab.journal()
    assert entry["body"]["messages"][0]["content"] == "hello from the lab"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("client", [(sys.executable, "sdk.py"), ("node", "sdk.mjs")])
def test_the_sdks_stream_as_the_stand_in_speaks(lab: Lab, client, provider):
    program, script = client
    argv = [program, str(CLIENTS / script), provider, "tell me slowly", "--stream"]
    told = json.loads(lab.run_client(argv, env=lab.trust_env()).stdout)
    assert told["error"] is None
    assert told["text"].split()[-1] == "twenty"
    assert told["arrivals"][-1] - told["arrivals"][0] > 0.5


def test_a_neighbour_on_the_same_address_has_its_own_certificate(lab: Lab):
    argv = ["curl", "-sSv", "https://www.example.test/", "--cacert", str(lab.ca_pem)]
    done = lab.run_client(argv)
    assert done.stdout == "an ordinary site\n"
    assert "CN=www.example.test" in done.stderr


def test_only_clients_see_the_labs_resolver(lab: Lab):
    assert lab.run_client(["cat", "/etc/resolv.conf"]).stdout.startswith("nameserver 198.51.100.2")
    assert "198.51.100" not in Path("/etc/resolv.conf").read_text()
    assert lab.run_client(["getent", "hosts", "unknown.example"]).returncode == 2


def test_a_client_is_in_the_cgroup_and_may_be_another_user(lab: Lab):
    done = lab.run_client(["sh", "-c", "id -un; cat /proc/self/cgroup"], user="nobody")
    user, *groups = done.stdout.split()
    assert user == "nobody"
    assert f"0::/{lab.name}/clients" in groups


def test_a_killed_lab_is_swept_by_the_next_one(lab: Lab, monkeypatch, tmp_path):
    """Two labs can't be up at once, so the sweep is called on what a dead one would leave."""
    from tests.lab import lab as module

    name = f"{MARK}dead01"
    with pytest.raises(RuntimeError, match="on purpose"), cgroups.tree(name) as tree:
        child = subprocess.Popen(["sh", "-c", f"echo 0 > {tree}/cgroup.procs; exec sleep 60"])
        assert until(lambda: cgroups.processes(tree) == [child.pid], 2)
        raise RuntimeError("on purpose")
    assert child.wait(timeout=2) == -9

    network.ip("netns", "add", name)
    monkeypatch.setattr(module.network, "namespaces", lambda: [name])
    monkeypatch.setattr(module.cgroups, "mounted", lambda: tmp_path)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / name).mkdir()
    monkeypatch.setattr(module.cgroups, "remove", lambda path: path.rmdir())
    module.sweep()
    assert not (tmp_path / name).exists()
    assert name not in [path.name for path in Path("/run/netns").iterdir()]
