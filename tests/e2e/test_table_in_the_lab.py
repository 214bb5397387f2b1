"""Action x direction x provider x {JSON, stream, WebSocket} x {HTTP/1.1, HTTP/2}, all at once.

One policy has a rule for each action, told apart by the kind of credential; so the text chooses
the action. The witnesses are the journal of the providers' stand-in and the client's own bytes.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from tests.e2e.scenarios import CLIENTS, planted
from tests.e2e.test_protocols_in_the_lab import CHATS, Call
from tests.lab import Agent, Lab
from tests.lab.servers import FIXTURES

RULES: Mapping[str, str] = {
    "alert": "npm-token",
    "coach": "github-pat",
    "pseudonymise": "gitlab-pat",
    "redact": "aws-access-key-id",
    "neutralise": "stripe-secret-key",
    "cut": "sendgrid-api-key",
    "block": "slack-bot-token",
}
"""Each action, and the credential that a rule of this policy does it to."""
SECRETS = {action: planted(rule) for action, rule in RULES.items()}
REASON = "This is the reason for {}."
PROVIDERS = [
    call
    for call in CHATS
    if call.name
    in (
        "openai chat",
        "openai responses",
        "anthropic",
        "gemini",
        "bedrock converse",
        "bedrock invoke",
        "mistral",
        "cohere",
        "ollama chat",
    )
]
POLICY = "version: 1\nmode: enforce\nservices: {default: sanctioned}\nrules:\n" + "".join(
    f"  - id: do-{action}\n    reason: {REASON.format(action)}\n"
    f"    when: {{finding: {{rule: {rule}}}}}\n    action: {action}\n"
    for action, rule in RULES.items()
)


@dataclass(frozen=True, slots=True)
class Case:
    """One call, with where the credential stands."""

    action: str
    direction: str
    how: str
    """``whole``, ``stream`` or ``ws``."""
    version: int | str
    name: str
    url: str
    body: str | tuple[str, ...]
    number: int = 0

    def __str__(self) -> str:
        return f"{self.action} {self.direction} {self.name} {self.how} {self.version}"

    def sent(self) -> dict[str, Any]:
        return {"id": self.number, "url": self.url, "body": self.body, "version": self.version}


def prompt(action: str, direction: str, number: int) -> str:
    if direction == "request":
        return f"case {number}: use {SECRETS[action]} please"
    return f"case {number}: tell me the {action} key"


REALTIME: Callable[[str], list[dict[str, Any]]] = lambda text: [  # noqa: E731 - a row of a table
    {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        },
    },
    {"type": "response.create"},
]
SOCKETS: Mapping[str, tuple[str, Callable[[str], list[dict[str, Any]]]]] = {
    "responses": (
        "https://api.openai.com/v1/responses",
        lambda text: [{"type": "response.create", "model": "gpt-4o-mini", "input": text}],
    ),
    "realtime": ("https://api.openai.com/v1/realtime?model=gpt-realtime", REALTIME),
    "live": (
        "https://generativelanguage.googleapis.com/ws/"
        "google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        lambda text: [
            {"setup": {"model": "models/gemini-2.0-flash"}},
            {
                "clientContent": {
                    "turns": [{"role": "user", "parts": [{"text": text}]}],
                    "turnComplete": True,
                }
            },
        ],
    ),
}


def http_cases() -> Iterator[Case]:
    for action, direction, call, stream, version in product(
        RULES, ("request", "response"), PROVIDERS, (False, True), (1, 2)
    ):
        yield http_case(action, direction, call, stream, version)


def http_case(action: str, direction: str, call: Call, stream: bool, version: int) -> Case:
    url, body = call.ask("TEXT", stream)
    how = "stream" if stream else "whole"
    return Case(action, direction, how, version, call.name, url, body)


def socket_cases() -> Iterator[Case]:
    for action, direction, (name, (url, say)) in product(
        RULES, ("request", "response"), SOCKETS.items()
    ):
        told = tuple(json.dumps(message) for message in say("TEXT"))
        yield Case(action, direction, "ws", "ws", name, url, told)


@pytest.fixture(scope="module")
def answers(lab: Lab) -> Iterator[dict[Case, dict[str, Any]]]:
    """Make all calls; return what came back of each, and what the stand-in was sent."""
    cases = []
    for number, case in enumerate([*http_cases(), *socket_cases()], 1000):
        text = prompt(case.action, case.direction, number)
        body = case.body
        said = body.replace("TEXT", text) if isinstance(body, str) else None
        told = said or tuple(one.replace("TEXT", text) for one in body)
        made = (case.action, case.direction, case.how, case.version, case.name, case.url, told)
        cases.append(Case(*made, number))
    fixtures = json.loads(FIXTURES.read_text())["fixtures"]
    telling = [
        {
            "match": {"userMessage": f"tell me the {action} key"},
            "response": {"content": f"The key is {secret} as you know."},
            "chunkSize": 7,
        }
        for action, secret in SECRETS.items()
    ]
    lab.control("DELETE", "fixtures")
    lab.add_fixtures(*telling, *fixtures)
    lab.clear_journal()
    try:
        with Agent.up(lab, name="table", policy=POLICY) as agent:
            done = agent.run_client(
                [sys.executable, str(CLIENTS / "table.py")],
                stdin=json.dumps([case.sent() for case in cases]),
                timeout=120,
            )
            assert done.returncode == 0, done.stderr[-2000:]
            got = {each["id"]: each for each in json.loads(done.stdout)}
            journal = lab.journal()
    finally:
        lab.control("DELETE", "fixtures")
        lab.add_fixtures(*fixtures)
    seen: dict[int, str] = {}
    for entry in journal:
        text = json.dumps(entry)
        if found := re.search(r"case (\d+):", text):
            seen[int(found[1])] = seen.get(int(found[1]), "") + text
    yield {case: {**got[case.number], "upstream": seen.get(case.number)} for case in cases}


def mark(action: str) -> str:
    return f"[REDACTED:{RULES[action]}]"


def problem(case: Case, told: Mapping[str, Any]) -> str | None:
    """Return what is wrong with what came of a case."""
    secret, upstream, body = SECRETS[case.action], told["upstream"], told["body"]
    reason = REASON.format(case.action)
    let_through = case.action in ("alert", "coach")
    if case.direction == "request":
        if case.action in ("cut", "block"):
            if upstream is not None:
                return "it reached the provider"
            refused = told["status"] == (1008 if case.how == "ws" else 403)
            return None if refused and reason in body else "it was not refused with the reason"
        if upstream is None or (case.how != "ws" and told["status"] != 200):
            return "it did not reach the provider"
        if let_through:
            return None if secret in upstream else "it was changed"
        if secret in upstream:
            return "the provider got a protected byte"
        stand_in = r"\[GITLAB_PAT_[0-9a-f]{6}\]" if case.action == "pseudonymise" else ""
        return None if re.search(stand_in or re.escape(mark(case.action)), upstream) else "no mark"
    if upstream is None:
        return "the question did not reach the provider"
    if let_through:
        noted = case.action == "alert" or "milecastle" in body or case.how != "whole"
        return None if secret in pieced(body) and noted else "it was changed"
    if secret in pieced(body):
        return "the client got a protected byte"
    if case.action in ("cut", "block"):
        wanted = {"stream": 200, "whole": 403, "ws": 1008}[case.how]
        return None if told["status"] == wanted and reason in decoded(body) else "no reason"
    return None if mark(case.action) in pieced(body) else "no mark"


def decoded(body: str) -> str:
    """Return a body with base64 payloads (Bedrock's chunks) undone behind it."""
    chunks = re.findall(r'"bytes":"([A-Za-z0-9+/=]+)"', body)
    return body + "".join(base64.b64decode(chunk).decode("utf-8", "replace") for chunk in chunks)


def pieced(body: str) -> str:
    """Return a body with the text of its streamed pieces put together behind it."""
    text = decoded(body)
    pieces = re.findall(r'"(?:content|text|delta)"\s*:\s*"((?:[^"\\]|\\.)*)"', text)
    return text + "".join(pieces)


def test_no_protected_byte_passes_in_any_case(answers: dict[Case, dict[str, Any]]):
    wrong = {str(case): why for case, told in answers.items() if (why := problem(case, told))}
    assert not wrong, f"{len(wrong)} of {len(answers)}: " + json.dumps(wrong, indent=1)[:6000]
    assert len(answers) > 500


def test_every_stream_ends_as_its_grammar_wants(answers: dict[Case, dict[str, Any]]):
    for case, told in answers.items():
        if case.how != "stream" or told["status"] != 200:
            continue
        if case.name in ("openai chat", "mistral"):
            assert told["body"].rstrip().endswith("data: [DONE]"), case
        elif case.name == "anthropic":
            assert '"type":"message_stop"' in told["body"].replace(": ", ":"), case
