"""The entry script in a real mitmdump, over plain HTTP to a server on loopback."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "addons" / "milecastle_inspect.py"
POLICY = """
version: 1
mode: enforce
rules:
  - id: no-secrets
    when: {finding: {category: secret}}
    action: redact
"""
KEY = "AKIA" + "Z7QK4MNW2XPLVBTR"


class Upstream(http.server.BaseHTTPRequestHandler):
    seen: list[bytes] = []  # noqa: RUF012

    def do_POST(self):
        self.seen.append(self.rfile.read(int(self.headers["content-length"])))
        answer = json.dumps({"id": "1", "choices": []}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def proxy(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    server = http.server.HTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("mitmdump"), "-q", "-s", SCRIPT,
            "--listen-host", "127.0.0.1", "--listen-port", str(port),
            "--set", f"confdir={tmp_path}", "--set", "keep_host_header=true",
            "--mode", f"reverse:http://127.0.0.1:{server.server_port}",
        ],
        env={**os.environ, "MILECASTLE_POLICY": str(tmp_path / "policy.yaml")},
        stdout=subprocess.PIPE,
    )  # fmt: skip
    for _ in range(300):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                break
        threading.Event().wait(0.1)
    yield port, process
    process.kill()
    process.communicate()
    server.shutdown()
    server.server_close()


def test_a_script_in_a_plain_mitmdump_redacts_and_reports(proxy):
    port, process = proxy
    body = {"model": "m", "messages": [{"role": "user", "content": f"my key is {KEY}"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "host": "api.openai.com"},
    )
    assert urllib.request.urlopen(request, timeout=20).status == 200
    assert KEY.encode() not in Upstream.seen[-1]
    assert b"[REDACTED:" in Upstream.seen[-1]
    record = json.loads(process.stdout.readline())
    assert record["service"] == "openai"
    assert record["verdict"]["applied"] == "redact"
