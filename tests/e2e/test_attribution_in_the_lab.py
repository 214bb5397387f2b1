"""Who called whom: right for processes that are gone before anybody can look them up."""

from __future__ import annotations

import os
import statistics
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.e2e.scenarios import OPENAI, brief, chat, curl
from tests.lab import Agent, Lab
from tests.lab.patience import until

EACH = 5
"""Connections of one process, all open at once."""
HOST = "api.openai.com"


def may_live(milliseconds: float) -> float:
    """Return the bound on a life: more where others keep the processors busy."""
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    return milliseconds * (3 if busy else 1)


# TLS costs the client alone half of the 100 ms; port 80 takes the same way without it
@pytest.mark.parametrize(("port", "processes", "life_ms"), [(80, 100, 100), (443, 30, 200)])
def test_connections_of_brief_processes_have_the_right_owner(
    lab: Lab, monitor: Agent, port: int, processes: int, life_ms: float
):
    env = {**monitor.trust_env(), "SSL_CERT_FILE": str(monitor.ca_path())}
    lives = []
    for number in range(processes):
        argv = brief(HOST, port, f"tag-{port}-{number}", EACH)
        done = lab.run_client(argv, env=env, cgroup=monitor.cgroup)
        assert done.returncode == 0, done.stderr
        lives.append(float(done.stdout))
    assert statistics.median(lives) < may_live(life_ms), statistics.quantiles(lives, n=10)

    tags = {f"tag-{port}-{number}" for number in range(processes)}

    def ours() -> list[dict]:
        return [s for s in monitor.sessions() if tags & set(s["process"]["argv"])]

    until(lambda: sum(s["exchanges"] for s in ours()) >= processes * EACH, 10)
    sessions = ours()
    assert sum(s["exchanges"] for s in sessions) == processes * EACH
    assert {s["grade"] for s in sessions} == {"exact"}
    assert {s["service"] for s in sessions} == {"openai"}

    # what each said upstream, and whom the agent holds for the one who said it
    said = Counter(entry["body"]["messages"][0]["content"] for entry in lab.journal())
    held: Counter[str] = Counter()
    for session in sessions:
        (tag,) = tags & set(session["process"]["argv"])
        held[f"caller {session['process']['pid']} {tag}"] += session["exchanges"]
    assert held == said

    def told(session: dict) -> set[str]:
        return {
            exchange["gen_ai.input.messages"][0]["parts"][0]["content"].split()[1]
            for exchange in monitor.show(session["id"])
        }

    with ThreadPoolExecutor(2) as pool:
        for session, pids in zip(sessions, pool.map(told, sessions), strict=True):
            assert pids == {str(session["process"]["pid"])}


def test_a_process_is_told_by_its_program_arguments_user_and_ancestors(lab: Lab, monitor: Agent):
    argv = curl(OPENAI, chat("who am I"))
    child = lab.popen(argv, env=monitor.trust_env(), cgroup=monitor.cgroup, user="nobody", stdin=-3)
    output, errors = child.communicate(timeout=20)
    assert output.endswith("200"), errors
    (exchange,) = monitor.exchanges_of(child.pid)
    (session,) = [s for s in monitor.sessions() if s["process"]["pid"] == child.pid]
    process = session["process"]
    assert process["comm"] == "curl"
    assert process["exe"].endswith("/curl")
    assert process["argv"] == argv
    assert process["user"] == "nobody"
    assert len(process["sha256"]) == 64
    assert [step["pid"] for step in process["ancestry"]][-1] == 1
    assert "python" in process["ancestry"][0]["comm"] or "pytest" in process["ancestry"][0]["comm"]
    assert exchange["gen_ai.request.model"] == "gpt-4o-mini"


def test_two_calls_on_one_connection_are_two_exchanges_of_one_session(lab: Lab, monitor: Agent):
    argv = curl(OPENAI, chat("the same connection"))
    child = lab.popen([*argv, OPENAI], env=monitor.trust_env(), cgroup=monitor.cgroup)
    child.communicate(timeout=20)
    until(lambda: len(monitor.exchanges_of(child.pid)) == 2, 3)
    exchanges = monitor.exchanges_of(child.pid)
    assert len(exchanges) == 2
    assert len({exchange["cookie"] for exchange in exchanges}) == 1


def test_names_are_learnt_from_the_answers_that_clients_get(lab: Lab):
    """This daemon's own resolver knows none of the lab's addresses."""
    with Agent.up(lab, name="learner", resolver=False) as agent:
        issuers = []
        script = "import http.client as h; h.HTTPSConnection('api.mistral.ai').request('GET','/')"
        for _ in range(5):
            done = agent.run_client([sys.executable, "-c", script])
            issuers.append(done.returncode)
        assert issuers[-1] == 0, done.stderr
        assert any(s["service"] == "mistral" for s in agent.sessions())


def test_a_process_outside_the_cgroup_is_left_alone(lab: Lab, monitor: Agent):
    argv = curl(OPENAI, chat("not watched"), "-v")
    child = lab.popen(argv, env=lab.trust_env(), cgroup=lab.bystanders)
    output, errors = child.communicate(timeout=20)
    assert output.endswith("\n200")
    assert "issuer: CN=Milecastle lab CA" in errors
    assert child.pid not in [session["process"]["pid"] for session in monitor.sessions()]
