"""Requests and answers of OpenAI's chat completions, as small as they can be."""

import json

from milecastle.model import Ancestor, Process, ResponseHead

KEY = "labkey_q7w8e9r0t1y2"
PYTHON = Process(
    pid=4711,
    comm="python3",
    uid=1000,
    exe="/usr/bin/python3",
    argv=("python3", "ask.py"),
    user="ada",
    ancestry=(Ancestor(1, "init"),),
)


def chat(text, **more):
    return json.dumps(
        {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}
    ).encode()


def completion(text, **message):
    said = {"role": "assistant", "content": text, **message}
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    return json.dumps({"id": "c1", "model": "gpt-4o-2024", "choices": [choice]}).encode()


def event(delta, **choice):
    body = {"id": "c1", "choices": [{"index": 0, "delta": delta, **choice}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


JSON = ResponseHead(200, {"content-type": "application/json"})
SSE = ResponseHead(200, {"content-type": "text/event-stream; charset=utf-8"})
