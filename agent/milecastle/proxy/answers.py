"""What the gate itself answers: refusals, an upstream that can't be had, and the self-test.

Pure. The bodies are read by the OpenAI, Anthropic and Google SDKs alike: `error` with `message`,
`type` and `code` inside, `type: error` outside. No text of a peer goes into them.
"""

from __future__ import annotations

import json

from mitmproxy import http

from milecastle.inspection import Block

SELF_TEST_HOST = "selftest.milecastle.invalid"

JSON_TYPE = {"content-type": "application/json"}


def block(status: int, code: str, message: str, kind: str = "permission_error") -> Block:
    """Return an answer that refuses, in a shape that the providers' SDKs show to the person."""
    error = {"type": kind, "code": code, "message": f"Milecastle: {message}", "param": None}
    body = json.dumps({"type": "error", "error": error}).encode()
    return Block(status, JSON_TYPE | {"x-milecastle": code}, body)


def malformed(problem: str) -> Block:
    """Return the answer to a request that could be read in two ways."""
    return block(400, "malformed_request", problem, "invalid_request_error")


def misdirected(problem: str) -> Block:
    """Return the answer to a request that names two services."""
    return block(403, "host_mismatch", problem)


def uninspectable(what: str) -> Block:
    """Return the answer where the policy says closed and the inspection could not be done."""
    return block(403, what, f"this exchange could not be inspected ({what}), and it must be")


def blocked() -> Block:
    """Return the answer where the policy keeps everybody from a service."""
    return block(403, "service_blocked", "this service is blocked here by the policy")


UPSTREAM: tuple[tuple[str, str, str], ...] = (
    (
        "Certificate verify failed",
        "upstream_certificate",
        "the provider's certificate was not accepted",
    ),
    ("does not speak TLS", "upstream_no_tls", "the provider's address does not speak TLS"),
    ("Cannot parse HTTP response", "upstream_garbage", "the provider's answer is not HTTP"),
    ("server closed connection", "upstream_closed", "the provider closed the connection"),
)
"""Mark in mitmproxy's message, code, and what the person reads; the first that fits."""


def upstream(error: str) -> tuple[str, Block]:
    """Return code and answer where upstream can't be reached or is not who it should be."""
    for mark, code, message in UPSTREAM:
        if mark in error:
            detail = error.rpartition(": ")[2] if code == "upstream_certificate" else ""
            message += f" ({detail[:100]})" if detail else ""
            break
    else:
        code, message = "upstream_unreachable", "the provider can't be reached"
    return code, block(502, code, message, "api_error")


def response_of(answer: Block) -> http.Response:
    """Return mitmproxy's form of an answer."""
    headers = http.Headers(
        [
            (name.encode(), value.encode("latin-1", "replace"))
            for name, value in answer.headers.items()
        ]
    )
    return http.Response.make(answer.status, answer.body, headers)


def self_test() -> http.Response:
    """Return the canned completion (OpenAI Chat Completions) that proves the way here."""
    message = {"role": "assistant", "content": "This is milecastle; the gate is manned."}
    completion = {
        "id": "chatcmpl-milecastle-selftest",
        "object": "chat.completion",
        "created": 0,
        "model": "milecastle-selftest",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return response_of(Block(200, JSON_TYPE, json.dumps(completion).encode()))
