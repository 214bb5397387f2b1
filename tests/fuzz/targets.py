"""One target for each format: a request, an answer and a stream out of one run of bytes.

The first byte picks what is done with the rest, so that one corpus serves all three.
"""

from __future__ import annotations

from collections.abc import Callable

from milecastle import providers
from milecastle.model import Edit, ParseError, RequestHead, ResponseHead
from milecastle.providers.dialects import DIALECTS
from milecastle.providers.format import Format

type Target = Callable[[bytes], None]

CONTENT_TYPES = (
    "application/json",
    "text/event-stream",
    "application/vnd.amazon.eventstream",
    "application/x-ndjson",
    "multipart/form-data; boundary=b",
    "application/connect+proto",
)
SEEDS = (
    b'\x00{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hello"}]}]}',
    b'\x00{"contents":[{"parts":[{"text":"hello you"},{"inlineData":{"data":"JVBERi0xLjQ="}}]}]}',
    b'\x01{"choices":[{"message":{"content":"hello you"},"logprobs":{"content":[{"token":"a"}]}}]}',
    b'\x09data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\ndata: [DONE]\n\n',
    b'\x09event: content_block_delta\ndata: {"index":0,"delta":{"text":"a","text":"b"}}\n\n',
    b'\x0d{"message":{"content":"hello"},"done":false}\n{"done":true}\n',
    b"\x10--b\r\ncontent-disposition: form-data; name=file; filename=a.txt\r\n\r\nhi\r\n--b--\r\n",
    b"\x14\x00\x00\x00\x00\x05\x0a\x03abc",
)


def target(name: str) -> Target:
    """Return the function that a fuzzer calls for one format."""
    wire = Format(name, "chat", "nobody", "m")

    def run(data: bytes) -> None:
        if not data:
            return
        choice, body = data[0], data[1:]
        kind = {"content-type": CONTENT_TYPES[(choice >> 2) % len(CONTENT_TYPES)]}
        head = RequestHead("POST", "api.example.test", "/v1/x", kind)
        try:
            if choice & 1:
                _answer(wire, head, ResponseHead(200, kind), body, pieces=bool(choice & 2))
            else:
                _request(wire, head, body)
        except ParseError:
            pass

    return run


def _request(wire: Format, head: RequestHead, body: bytes) -> None:
    exchange = providers.parse_request(wire, head, body)
    for segment in providers.segments(exchange, "request")[:20]:
        try:
            providers.rewrite(body, [Edit(segment.place, 0, 1, "x")])
        except ParseError:
            continue


def _answer(
    wire: Format, head: RequestHead, answer: ResponseHead, body: bytes, *, pieces: bool
) -> None:
    asked = providers.parse_request(wire, head, b"{}")
    stream = providers.open_stream(asked, answer)
    step = 7 if pieces else max(len(body), 1)
    for at in range(0, len(body), step):
        stream.feed(body[at : at + step])
    stream.close()
    providers.segments(stream.exchange, "response")
    providers.closing_events(wire, stream, "the end")


NAMES = tuple(sorted(DIALECTS))
