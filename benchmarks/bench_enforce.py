"""What enforcement costs: milecastle with rules that act both ways, bare mitmproxy, and LiteLLM.

    python benchmarks/bench_enforce.py [--quick] [--policy FILE] [--peer VENV | --no-peer] [--json]

Root. In the lab, one client process keeps connections to one upstream by several ways: direct,
through a bare mitmproxy (see proxy_bare.py), through milecastle with an enforcing policy, and
through LiteLLM's proxy with its own content filter. Each call is a conversation with a new turn.
Latency is what a way adds to direct, as a ratio to what bare mitmproxy adds in the same second;
throughput is a ratio of neighbouring rounds. LiteLLM is spoken to without TLS, which it would need
another proxy for. It is installed into a scratch environment, unless ``--peer`` names one.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent"), str(ROOT / "benchmarks")]

from bench_proxy import DIRECT, HOST, Row, address, bare, line, p50, ratios, way  # noqa: E402
from tests.lab import Agent, Lab, missing  # noqa: E402

HERE = Path(__file__).parent
PEER = "litellm[proxy]"
PEER_READY = 180.0
"""Seconds; it imports for a minute on a small machine."""
POLICY = """\
version: 1
mode: enforce
services: {default: sanctioned}
rules:
  - {id: secrets, when: {finding: {category: secret}}, action: redact}
  - {id: personal, when: {finding: {category: pii}}, action: redact}
  - {id: injected, when: {finding: {category: injection, score: ">= 0.8"}}, action: neutralise}
  - {id: dangerous, when: {finding: {category: tool, severity: ">= high"}}, action: block}
"""
PEER_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    # it is reached from this host alone, and lives for a minute
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
PEER_CONFIG = """\
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "https://{host}/v1", api_key: lab}}
litellm_settings: {{telemetry: false}}
guardrails:
  - guardrail_name: content-filter
    litellm_params:
      guardrail: litellm_content_filter
      mode: [pre_call, post_call]
      default_on: true
      patterns:
        - {{pattern_type: prebuilt, pattern_name: email, action: MASK}}
        - {{pattern_type: prebuilt, pattern_name: us_ssn, action: MASK}}
        - {{pattern_type: prebuilt, pattern_name: credit_card, action: MASK}}
        - {{pattern_type: prebuilt, pattern_name: aws_access_key, action: MASK}}
        - {{pattern_type: prebuilt, pattern_name: github_token, action: MASK}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the calls")
    parser.add_argument("--policy", type=Path, help="instead of this benchmark's own")
    parser.add_argument("--peer", type=Path, help="an environment that has litellm[proxy]")
    parser.add_argument("--no-peer", action="store_true", help="leave LiteLLM out")
    parser.add_argument("--json", action="store_true", help="one object a line, no table")
    args = parser.parse_args()
    if sentence := missing():
        print(sentence, file=sys.stderr)
        return 2
    policy = args.policy.read_text() if args.policy else POLICY
    with ExitStack() as stack:
        venv = None if args.no_peer else args.peer or stack.enter_context(scratch())
        told = measure(policy, venv, quick=args.quick)
    for row in rows(told):
        print(json.dumps(row._asdict()) if args.json else line(row))
    return 0


@contextmanager
def scratch() -> Iterator[Path | None]:
    """Install the peer into an environment of its own; None where it can't be had."""
    with tempfile.TemporaryDirectory(prefix="milecastle-peer-") as folder:
        made = [sys.executable, "-m", "venv", folder]
        install = [f"{folder}/bin/pip", "install", "--quiet", PEER]
        for command in (made, install):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr or done.stdout).strip().splitlines()[-1:]
                print(f"without LiteLLM: {' '.join(last)}", file=sys.stderr)
                yield None
                return
        yield Path(folder)


def measure(policy: str, venv: Path | None, *, quick: bool) -> dict[str, dict[str, list[float]]]:
    upstream = [sys.executable, str(HERE / "proxy_upstream.py")]
    with (
        Lab.up(stand_in=upstream) as lab,
        Agent.up(lab, policy=policy) as agent,
        bare(lab) as (port, ca),
        peer(lab, venv) as beside,
    ):
        ways = {
            "direct": way(address(DIRECT), DIRECT, lab.ca_pem),
            "bare": way("127.0.0.1", HOST, ca, port),
            "milecastle": way(address(HOST), HOST, agent.ca_path()),
        }
        if beside:
            host = f"127.0.0.1:{beside}"
            ways["litellm"] = {"address": "127.0.0.1", "port": beside, "host": host, "ca": None}
        # the hooks learn the address from the answer that the client sees
        lab.run_client(["getent", "ahosts", HOST], cgroup=agent.cgroup)
        task = {
            "ways": ways,
            "calls": 100 if quick else 500,
            "seconds": 1.0,
            "rounds": 4 if quick else 12,
            "at_once": 16,
        }
        argv = [sys.executable, str(HERE / "enforce_client.py"), json.dumps(task)]
        done = lab.run_client(argv, cgroup=agent.cgroup, timeout=600)
        if done.returncode:
            raise RuntimeError(f"the client failed: {done.stderr[-800:]}\n{agent.log()[-800:]}")
        return dict(json.loads(done.stdout))


@contextmanager
def peer(lab: Lab, venv: Path | None) -> Iterator[int | None]:
    """Run LiteLLM's proxy where no agent looks; yield its port, None where there is none."""
    if venv is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    config = lab.folder / "litellm.yaml"
    config.write_text(PEER_CONFIG.format(host=DIRECT))
    argv = [str(venv / "bin" / "litellm"), "--config", str(config)]
    argv += ["--host", "127.0.0.1", "--port", str(port)]
    log = (lab.folder / "litellm.log").open("w")
    process = lab.popen(
        argv,
        env={**lab.trust_env(), **PEER_ENVIRONMENT},
        cgroup=lab.bystanders,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        yield port if ready(port, process) else None
    finally:
        process.kill()
        process.communicate()
        log.close()


def ready(port: int, process: subprocess.Popen[str]) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + PEER_READY
    while time.monotonic() < end and process.poll() is None:
        try:
            opener.open(f"http://127.0.0.1:{port}/health/liveliness", timeout=2)
        except OSError:
            time.sleep(0.5)
        else:
            return True
    print("without LiteLLM: it did not start", file=sys.stderr)
    return False


def rows(told: dict[str, dict[str, list[float]]]) -> Iterator[Row]:
    direct = p50(told["direct"]["call"])
    yield Row("direct call, p50", direct, "ms")
    for name in told.keys() - {"direct"}:
        yield Row(f"added by {name}, p50", p50(told[name]["call"]) - direct, "ms")
        yield Row(f"{name}, 16 at once", p50(told[name]["rate"]), "1/s")
    low, middle, high = statistics.quantiles(ratios(told), n=4)
    note = f"quartiles {low:.2f}-{high:.2f}"
    yield Row("latency, milecastle to bare", middle, "x", 1.25, note)
    pairs = zip(told["milecastle"]["rate"], told["bare"]["rate"], strict=True)
    low, middle, high = statistics.quantiles([bare / ours for ours, bare in pairs], n=4)
    note = f"quartiles {low:.2f}-{high:.2f}; 1.18 is 0.85 of its throughput"
    yield Row("work, milecastle to bare", middle, "x", 1 / 0.85, note)
    if "litellm" in told:
        ours, theirs = p50(told["milecastle"]["call"]), p50(told["litellm"]["call"])
        yield Row("latency, LiteLLM to milecastle", (theirs - direct) / (ours - direct), "x")
        ours, theirs = p50(told["milecastle"]["rate"]), p50(told["litellm"]["rate"])
        yield Row("throughput, milecastle to LiteLLM", ours / theirs, "x")


if __name__ == "__main__":
    os.environ.pop("SSLKEYLOGFILE", None)
    sys.exit(main())
