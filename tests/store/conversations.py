"""Made-up conversations, as clients of three APIs have them, traced and stored for real."""

import json
from dataclasses import asdict
from itertools import count

from tests.store.examples import NOW

from milecastle import catalogue, policy, shipped
from milecastle.detect import Engine
from milecastle.inspection import Context, Inspector
from milecastle.model import Ancestor, Process, RequestHead, ResponseHead

RULES = """
category: secret
severity: high
rules:
  - id: lab-key
    title: A key that exists in these tests only
    source: https://example.test/
    token: 'labkey_[a-z0-9]{12}'
    matches: ['use ‖labkey_a1b2c3d4e5f6‖ here']
    ignores: ['labkey_short']
"""
KEY = "labkey_q7w8e9r0t1y2"
AGENT = Process(100, "agent", 1000, "/usr/bin/agent", started=NOW - 9000)
JSON = ResponseHead(200, {"content-type": "application/json"})
_ids = count(1)


def make_inspector(capture="redacted"):
    names, _ = catalogue.load(shipped.texts("config", "catalogue"))
    rules, problems = policy.check("version: 1\nmode: monitor\nrules: []\n", "policy.yaml")
    assert rules, problems
    return Inspector(
        names, Engine.load([("lab.yaml", RULES)], key=b"k" * 32), rules, capture=capture
    )


class Wire:
    """A worker and a daemon in one: what is asked and answered ends up in the store."""

    def __init__(self, store, inspector=None):
        self.store = store
        self.inspector = inspector or make_inspector()
        self.now = NOW
        self.records = []

    def exchange(self, path, asked, answer, *, process=AGENT, host="api.openai.com", **headers):
        self.now += 10
        head = RequestHead("POST", host, path, {"content-type": "application/json", **headers})
        name = f"01JEXCHANGE{next(_ids):015d}"
        context = Context(name, self.now, cookie=7, process=process)
        inspection = self.inspector.begin(head, context)
        inspection.request(json.dumps(asked).encode())
        inspection.respond(JSON)
        inspection.response(json.dumps(answer).encode())
        record = inspection.record(self.now + 1)
        self.records.append(json.loads(json.dumps(record)))
        record["attribution"] = attribution(process)
        return self.store.add(record, self.now + 2)

    def chat(self, messages, said, *, system=None, process=AGENT, **more):
        """One chat completion; ``said`` is a text or a whole message."""
        message = said if isinstance(said, dict) else {"role": "assistant", "content": said}
        first = [{"role": "system", "content": system}] if system else []
        return self.exchange(
            "/v1/chat/completions",
            {"model": "gpt-4o", "messages": [*first, *messages]},
            {"id": f"c{next(_ids)}", "choices": [{"message": message, "finish_reason": "stop"}]},
            process=process,
            **more,
        )

    def messages(self, messages, content, *, system="You code.", process=AGENT, **more):
        """One Anthropic message."""
        return self.exchange(
            "/v1/messages",
            {"model": "claude-4", "max_tokens": 9, "system": system, "messages": messages},
            {"id": f"m{next(_ids)}", "type": "message", "role": "assistant", "content": content,
             "stop_reason": "end_turn"},
            process=process,
            host="api.anthropic.com",
            **more,
        )  # fmt: skip

    def responses(self, asked, said, *, previous=None, process=AGENT):
        """One Responses call; return its id and what was stored."""
        name = f"resp_{next(_ids)}"
        body = {"model": "gpt-5", "input": asked}
        if previous:
            body["previous_response_id"] = previous
        content = [{"type": "output_text", "text": said}]
        item = {"type": "message", "id": "m", "role": "assistant", "content": content}
        answer = {"id": name, "object": "response", "status": "completed", "output": [item]}
        return name, self.exchange("/v1/responses", body, answer, process=process)


def attribution(process):
    told = {
        "pid": process.pid, "comm": process.comm, "uid": process.uid, "exe": process.exe,
        "started": process.started,
        "ancestry": [asdict(one) for one in process.ancestry],
    }  # fmt: skip
    return {"grade": "exact", "service": None, "standing": "sanctioned", "process": told}


def child_of(process, pid):
    ancestry = (Ancestor(process.pid, process.comm, process.exe),)
    return Process(pid, "tool", 1000, "/usr/bin/tool", started=NOW - 10, ancestry=ancestry)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def texts(exchange):
    """All that an exchange asked, in words."""
    return [
        part.get("content") or part.get("response") or part.get("arguments")
        for message in exchange["gen_ai.input.messages"]
        for part in message["parts"]
    ]
