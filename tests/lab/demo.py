"""Real clients through milecastle: what each was told, then what milecastle saw of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.agent import Agent
from tests.lab.lab import Lab
from tests.lab.patience import until

CLIENTS = Path(__file__).with_name("clients")
PYTHON = (sys.executable, str(CLIENTS / "sdk.py"))
NODE = ("node", str(CLIENTS / "sdk.mjs"))
ACCESS_KEY = "AKIA" + "Z7QK4MNW2XPLVBTR"
"""Has the shape of a cloud access key id; is none."""
LEAK = f"why does this fail? AWS_ACCESS_KEY_ID={ACCESS_KEY}"
SETTLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Act:
    what: str
    argv: Sequence[str]


def curl(url: str, *options: str, body: object = None) -> tuple[str, ...]:
    data = ("-H", "content-type: application/json", "-d", json.dumps(body)) if body else ()
    return ("curl", "-sS", *options, *data, url)


def chat(text: str) -> dict[str, object]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}


OPENAI = "https://api.openai.com/v1/chat/completions"
ACTS = (
    Act("curl, HTTP/2 over IPv4", curl(OPENAI, "-4", body=chat("hello from the lab"))),
    Act("curl, HTTP/1.1 over IPv6", curl(OPENAI, "-6", "--http1.1", body=chat("hello"))),
    Act("Python openai, streaming", (*PYTHON, "openai", "tell me slowly", "--stream")),
    Act("Python anthropic, asyncio", (*PYTHON, "anthropic", "hello", "--style", "asyncio")),
    Act("Node openai, Responses API", (*NODE, "openai", "hello", "--api", "responses")),
    Act("Node anthropic, streaming", (*NODE, "anthropic", "tell me slowly", "--stream")),
    Act("curl, with a key in its prompt", curl(OPENAI, body=chat(LEAK))),
    Act("curl, a site that is not AI", curl("https://www.example.test/")),
)


def demo(lab: Lab, policy: str | None = None) -> int:
    """Run every act, then print the session list; 1 where a client had no answer."""
    failed = 0
    with Agent.up(lab, policy=policy) as agent:
        print(f"milecastled was ready after {agent.ready_seconds:.1f} s\n")
        for act in ACTS:
            # the neighbour is passed through, so its own authority has to be trusted
            env = lab.trust_env() if "example.test" in act.argv[-1] else agent.trust_env()
            done = lab.run_client(act.argv, env=env, cgroup=agent.cgroup)
            failed += done.returncode != 0
            print(f"  {act.what:32} {answer(done.stdout) or done.stderr.strip()[-60:]}")
        expected = sum("example.test" not in act.argv[-1] for act in ACTS)
        until(lambda: len(agent.sessions()) >= expected, SETTLE_SECONDS)
        print("\n$ milecastle sessions")
        print(agent.cli("sessions").stdout)
        for session in agent.sessions():
            if session["findings"]:
                print(f"$ milecastle show {session['id']}")
                print(agent.cli("show", session["id"]).stdout)
    print("everything is torn down: no BPF program, no listener, no process is left")
    return 1 if failed else 0


def answer(text: str) -> str:
    """Return the answer's words, shortened, whichever client printed it."""
    try:
        told = json.loads(text)
    except ValueError:
        return text.strip()[:40]
    if "choices" in told:
        told = {"text": told["choices"][0]["message"]["content"]}
    elif error := told.get("error"):
        told = {"text": f"refused: {error.get('message')}"}
    return str(told["text"])[:44]
