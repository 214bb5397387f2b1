"""How much of recorded traffic the providers room reads, host by host, and how fast.

    .venv/bin/python -m benchmarks.bench_parse            # the table
    .venv/bin/python -m benchmarks.bench_parse --misses   # what was missed, to work on
    .venv/bin/python -m benchmarks.bench_parse --speed    # MB/s and microseconds

Columns: entries; AI calls recognised (the others are GET, DELETE and the like without model
content); parse errors; share of the requests' natural-language characters in messages, system
instructions and tool definitions, and in the segments that detectors read; answers whose text
and tool calls equal the provider's final form, of those that have one to compare with; exchanges
with a model; answers with token usage, of those whose body tells it.

The final forms are taken by a walk of their own (FINAL below), not by the code under test.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from tests.providers import recorded  # noqa: E402

from milecastle import providers  # noqa: E402 - after the path is set
from milecastle.model import Exchange, ParseError, RequestHead, ResponseHead  # noqa: E402

WORDS = re.compile(r"[^\W\d_]{2,}[,;:.!?]*\s+[^\W\d_]{2,}")
"""What makes a string natural language here: two words with a space between them."""
USED = re.compile(
    r'"(?:prompt_tokens|input_tokens|promptTokenCount|inputTokens|inputTokenCount|eval_count'
    r'|input_token_count|prompt_token_count|inputTextTokenCount|total_tokens)"\s*:\s*[1-9]'
)
FINAL = (
    "choices/*/message/content",
    "choices/*/message/tool_calls/*/function/arguments",
    "choices/*/text",
    "content/*/text",
    "content/*/text/value",
    "completion",
    "completions/*/completion",
    "completions/*/data/text",
    "output/*/content/*/text",
    "output/*/arguments",
    "output/message/content/*/text",
    "candidates/*/content/parts/*/text",
    "message/content",
    "message/content/*/text",
    "message/tool_calls/*/function/arguments",
    "response",
    "text",
    "generations/*/text",
    "results/*/generated_text",
    "results/*/outputText",
    "generation",
    "outputs/*/text",
    "*/generated_text",
    "data/*/content/*/text/value",
)
"""Where providers put the text and the calls of a whole answer."""
NO_MODEL = {
    "unknown", "openai-traces", "search", "mcp", "huggingface", "sagemaker", "replicate-stream",
}  # fmt: skip


def walk(value, path=()):
    if isinstance(value, dict):
        for key, below in value.items():
            yield from walk(below, (*path, key))
    elif isinstance(value, list):
        for below in value:
            yield from walk(below, (*path, "*"))
    elif isinstance(value, str):
        yield "/".join(path), value


def asked(each) -> list[str]:
    """The natural-language strings of a request."""
    bodies = [each.body] if each.body else [d.encode() for k, d in each.messages if k == "send"]
    found = []
    for body in bodies:
        try:
            document = json.loads(re.sub(rb",(\s*[}\]])", rb"\1", body))
        except ValueError:
            continue
        found += [text for _, text in walk(document)]
    for text in [text for text in found if text[:1] in ("{", "[")]:
        try:  # arguments: JSON in a string
            found += [inner for _, inner in walk(json.loads(text))]
            found.remove(text)
        except ValueError:
            pass
    return [text for text in found if WORDS.search(text) and ";base64," not in text[:100]]


def final_form(each) -> list[str]:
    """The texts of an answer as the provider gives them whole."""
    texts = [data for kind, data in each.messages if kind == "receive"]
    texts = texts or [each.answer.decode("utf-8", "replace")]
    documents = []
    for text in texts:
        if text.lstrip()[:1] in ("{", "["):
            try:
                documents.append(json.loads(text))
                continue
            except ValueError:
                pass
        for line in text.splitlines():
            if line.startswith(("data: {", "{")):
                try:
                    value = json.loads(line.removeprefix("data: "))
                except ValueError:
                    continue
                kind = value.get("type") or value.get("event_type")
                if kind in ("response.completed", "response.done", "stream-end"):
                    documents.append(value["response"])
                elif value.get("object") == "thread.message" and value.get("content"):
                    documents.append(value)
    if each.messages:
        documents = [d["response"] for d in documents if d.get("type") == "response.done"]
    return [text for d in documents for path, text in walk(d) if path in FINAL and text]


def told(exchange: Exchange) -> list[str]:
    return [part.text for m in exchange.output_messages for part in m.parts]


def placed(exchange: Exchange) -> str:
    """Everything of the request that has a place in messages, instructions and definitions."""
    parts = [*exchange.system_instructions]
    parts += [part for message in exchange.input_messages for part in message.parts]
    texts = [part.text or part.uri or "" for part in parts]
    texts += [leaf.text for part in parts for leaf in part.leaves]
    texts += [leaf.text for tool in exchange.tool_definitions for leaf in tool.leaves]
    return "\x00".join(texts)


def read(each):
    wire = providers.recognise(each.head, each.body)
    if wire is None:
        return None
    if each.messages:
        session = providers.open_session(wire, each.head)
        for kind, data in each.messages:
            (session.send if kind == "send" else session.receive)(data.encode())
        return session.exchange
    exchange = providers.parse_request(wire, each.head, each.body or b"")
    return providers.parse_response(exchange, each.answer_head, each.answer)


class Row(Counter):
    """One host's figures."""


def measure(misses: bool) -> dict[str, Row]:
    rows: dict[str, Row] = defaultdict(Row)
    for each in recorded.everything():
        host = each.file.removesuffix(".har").removesuffix(".2")
        row = rows[host]
        row["entries"] += 1
        missed = []
        try:
            exchange = read(each)
        except ParseError as error:
            row["errors"] += 1
            missed.append(f"error: {error}")
            exchange = None
        if exchange is not None:
            row["read"] += 1
            row["unknown"] += exchange.format == "unknown"
            count(each, exchange, row, missed)
        elif each.body:
            row["not read"] += 1
            missed.append("not recognised")
        if misses and missed:
            print(each, each.head.method, each.head.path[:60], *missed, sep="\n    ")
    return rows


def count(each, exchange, row, missed) -> None:
    where = placed(exchange)
    scanned = "\x00".join(one.text for one in providers.segments(exchange, "request"))
    for text in asked(each):
        row["asked"] += len(text)
        if text in where:
            row["placed"] += len(text)
        else:
            missed.append(f"not placed: {text[:100]!r}")
        if text in scanned:
            row["scanned"] += len(text)
        else:
            missed.append(f"not scanned: {text[:100]!r}")
    if each.answer_head.status < 400 and exchange.format not in ("unknown", "search"):
        final = final_form(each)
        if final:
            row["final"] += 1
            if Counter(final) <= Counter(told(exchange)):
                row["equal"] += 1
            else:
                missed.append(
                    f"final: {[t[:60] for t in final]} != {[t[:60] for t in told(exchange)]}"
                )
    if exchange.format not in NO_MODEL and each.body:
        row["modelled"] += 1
        if exchange.request_model or exchange.response_model or "/threads" in each.head.path:
            row["model"] += 1
        else:
            missed.append("no model")
    answer = each.answer or "".join(d for k, d in each.messages if k == "receive").encode()
    if USED.search(answer.decode("utf-8", "replace")):
        row["billed"] += 1
        usage = exchange.usage
        if (usage.input_tokens, usage.output_tokens) != (None, None):
            row["usage"] += 1
        else:
            missed.append("no usage")


def share(row: Row, part: str, whole: str) -> str:
    return f"{row[part] / row[whole]:.1%}" if row[whole] else "-"


def table(rows: dict[str, Row]) -> None:
    total = Row()
    print(
        "| host | entries | read | errors | placed | scanned | final form | model | usage |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for row in rows.values():
        total.update(row)
    for host, row in [*sorted(rows.items()), ("**all**", total)]:
        print(
            f"| {host} | {row['entries']} | {row['read']} | {row['errors']} "
            f"| {share(row, 'placed', 'asked')} | {share(row, 'scanned', 'asked')} "
            f"| {row['equal']}/{row['final']} | {row['model']}/{row['modelled']} "
            f"| {row['usage']}/{row['billed']} |"
        )


# --- speed ---------------------------------------------------------------------------------------


def best(run, times: int = 7) -> float:
    figures = []
    for _ in range(times):
        began = time.process_time()
        run()
        figures.append(time.process_time() - began)
    return min(figures)


def conversation(size: int) -> dict:
    """A coding agent's request of about this many bytes: long turns, tool calls and results."""
    code = "".join(f'    value_{n} = compute("é{n}", {n})  # why\n' for n in range(60))
    messages = [{"role": "system", "content": "You are a careful engineer. " * 100}]
    while len(messages) * len(code) * 0.62 < size:
        call = {
            "id": f"call_{len(messages)}",
            "type": "function",
            "function": {
                "name": "edit",
                "arguments": json.dumps({"path": "a.py", "text": code[:900]}),
            },
        }
        messages += [
            {"role": "user", "content": f"Please change this:\n{code}"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": code},
        ]
    schema = {
        "type": "object",
        "properties": {
            f"p{n}": {"type": "string", "description": "What it is for."} for n in range(8)
        },
    }
    tools = [
        {
            "type": "function",
            "function": {
                "name": f"tool_{n}",
                "description": "Does a thing. " * 20,
                "parameters": schema,
            },
        }
        for n in range(30)
    ]
    return {"model": "gpt-5", "messages": messages, "tools": tools, "stream": True}


def speed() -> None:
    head = RequestHead("POST", "api.openai.com", "/v1/chat/completions", {})
    document = conversation(1_000_000)
    for name, body in (
        ("compact JSON", json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()),
        ("json.dumps default", json.dumps(document).encode()),
    ):

        def run(body=body):
            wire = providers.recognise(head, body)
            exchange = providers.parse_request(wire, head, body)
            return exchange, providers.segments(exchange, "request")

        exchange, found = run()
        took = best(run)
        print(
            f"request, {name}: {len(body) / 1e6:.2f} MB, {len(found)} segments: "
            f"{took * 1e3:.1f} ms, {len(body) / took / 1e6:.0f} MB/s"
        )
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-5",
        "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
    }
    events = [b"data: " + json.dumps(chunk).encode() + b"\n\n"] * 2000

    def stream():
        reader = providers.open_stream(
            exchange, ResponseHead(200, {"content-type": "text/event-stream"})
        )
        for each in events:
            reader.feed(each)

    print(f"SSE: {best(stream) / len(events) * 1e6:.1f} us an event, fed one by one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--misses", action="store_true")
    parser.add_argument("--speed", action="store_true")
    chosen = parser.parse_args()
    if not chosen.speed:
        table(measure(chosen.misses))
    speed()


if __name__ == "__main__":
    main()
