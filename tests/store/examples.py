"""Records as they come to the store."""

import itertools

NOW = 1_800_000_000.0
_numbers = itertools.count(1)


def make_record(**changes):
    """A record as the worker sends it and the daemon completes it."""
    attribution = {
        "grade": "exact",
        "why": "recorded in connect()",
        "service": "openai",
        "standing": "sanctioned",
        "connection": {
            "cookie": 7,
            "destination": {"address": "198.51.100.3", "port": 443},
            "netns": 1,
            "cgroup_id": 42,
            "tid": 4711,
            "opened_ns": 5,
        },
        "process": {
            "pid": 4711,
            "comm": "python3",
            "exe": "/usr/bin/python3.12",
            "argv": ["python3", "ask.py"],
            "cwd": "/home/ada",
            "uid": 1000,
            "user": "ada",
            "loginuid": 1000,
            "started": NOW - 60,
            "sha256": "ab" * 32,
            "ancestry": [{"pid": 1, "comm": "systemd", "exe": "/usr/lib/systemd/systemd"}],
            "cgroup": "/user.slice",
            "container": None,
            "marks": [],
        },
    }
    record = {
        "cookie": 7,
        "exchange": f"01JEXCHANGE{next(_numbers):015d}",
        "started": NOW - 2,
        "ended": NOW - 1,
        "first_byte_ms": 12.5,
        "host": "api.openai.com",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "service": "openai",
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.input.messages": [
                {"role": "user", "parts": [{"type": "text", "content": "Where is the wall?"}]}
            ],
            "gen_ai.output.messages": [
                {
                    "role": "assistant",
                    "parts": [{"type": "text", "content": "In the north."}],
                    "finish_reason": "stop",
                }
            ],
            "gen_ai.usage.input_tokens": 11,
            "gen_ai.usage.output_tokens": 5,
        },
        "findings": [],
        "verdict": {
            "action": "allow",
            "applied": "allow",
            "rule": None,
            "reason": "no rule matched",
            "mode": "enforce",
        },
        "steps": [],
        "request_bytes": 154,
        "response_bytes": 800,
        "attribution": attribution,
    }
    return {**record, **changes}


def by_process(record, **changes):
    """The record, but its process differs."""
    attribution = dict(record["attribution"])
    attribution["process"] = {**attribution["process"], **changes}
    return {**record, "attribution": attribution}


A_FINDING = {
    "category": "secret",
    "rule": "aws-access-key",
    "severity": "critical",
    "where": "/messages/0/content",
    "excerpt": "AKIA************ABCD",
    "start": 3,
    "end": 23,
    "score": 1.0,
    "evidence": "checksum valid",
    "provenance": "user",
    "digest": "d1",
    "owasp": ["LLM02"],
    "atlas": [],
    "direction": "request",
}
