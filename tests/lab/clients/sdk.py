"""One call through a provider's own Python SDK; prints what happened as one JSON object.

    sdk.py PROVIDER PROMPT [--api chat|responses] [--style blocking|asyncio] [--stream]
                           [--http2] [--family 4|6] [--calls N]

Prints ``{"pid", "text", "arrivals": [seconds since the call], "error": {status, type, message}}``.
Run with the environment that an operator would give it: nothing here configures trust.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator

import anthropic
import httpx2
import openai

ANY = {4: "0.0.0.0", 6: "::"}
KEY = "lab-key-not-a-secret"
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("provider", choices=MODELS)
    parser.add_argument("prompt")
    parser.add_argument("--api", choices=("chat", "responses"), default="chat")
    parser.add_argument("--style", choices=("blocking", "asyncio"), default="blocking")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--http2", action="store_true")
    parser.add_argument("--family", type=int, choices=ANY)
    parser.add_argument("--calls", type=int, default=1)
    return parser.parse_args()


def transport(args: argparse.Namespace) -> dict[str, object]:
    """Return what an application gives its HTTP client; empty for the SDK's own default."""
    options: dict[str, object] = {"http2": True} if args.http2 else {}
    if args.family:
        kind = httpx2.HTTPTransport if args.style == "blocking" else httpx2.AsyncHTTPTransport
        options = {"transport": kind(local_address=ANY[args.family], http2=args.http2)}
    return options


def client(args: argparse.Namespace) -> object:
    asynchronous = args.style == "asyncio"
    module = openai if args.provider == "openai" else anthropic
    name = "OpenAI" if args.provider == "openai" else "Anthropic"
    kind = getattr(module, f"Async{name}" if asynchronous else name)
    options = {"api_key": KEY, "max_retries": 0, "timeout": 30}
    if http := transport(args):
        options["http_client"] = (httpx2.AsyncClient if asynchronous else httpx2.Client)(**http)
    return kind(**options)


def call(sdk: object, args: argparse.Namespace) -> object:
    """Begin the call; the result is an answer or a stream, or an awaitable of one."""
    messages = [{"role": "user", "content": args.prompt}]
    model, stream = MODELS[args.provider], args.stream
    if args.provider == "anthropic":
        return sdk.messages.create(model=model, max_tokens=200, messages=messages, stream=stream)
    if args.api == "responses":
        return sdk.responses.create(model=model, input=args.prompt, stream=stream)
    return sdk.chat.completions.create(model=model, messages=messages, stream=stream)


def whole(answer: object) -> str:
    """Return the text of an answer that came in one piece."""
    if hasattr(answer, "choices"):
        return answer.choices[0].message.content or ""
    if hasattr(answer, "output_text"):
        return answer.output_text
    return "".join(block.text for block in answer.content if block.type == "text")


def grown(event: object) -> str:
    """Return the text that one event of a stream adds."""
    if hasattr(event, "choices"):
        return (event.choices[0].delta.content or "") if event.choices else ""
    if event.type in ("response.output_text.delta",):
        return event.delta
    if event.type == "content_block_delta" and event.delta.type == "text_delta":
        return event.delta.text
    return ""


def blocking(args: argparse.Namespace) -> Iterator[str]:
    sdk = client(args)
    for _ in range(args.calls):
        answer = call(sdk, args)
        if args.stream:
            yield from filter(None, map(grown, answer))
        else:
            yield whole(answer)


async def asynchronous(args: argparse.Namespace, note: object) -> None:
    sdk = client(args)
    for _ in range(args.calls):
        answer = await call(sdk, args)
        if not args.stream:
            note(whole(answer))
            continue
        async for event in answer:
            if text := grown(event):
                note(text)


def main() -> None:
    args = arguments()
    told: dict[str, object] = {"pid": os.getpid(), "text": "", "arrivals": [], "error": None}
    begun = time.monotonic()

    def note(text: str) -> None:
        told["text"] += text
        told["arrivals"].append(round(time.monotonic() - begun, 4))

    try:
        if args.style == "asyncio":
            asyncio.run(asynchronous(args, note))
        else:
            for text in blocking(args):
                note(text)
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        told["error"] = {
            "kind": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "message": str(error),
            "body": getattr(error, "body", None),
        }
    print(json.dumps(told))


main()
