"""Policies, prompts and clients that the end-to-end tests share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "tests" / "lab" / "clients"
OPENAI = "https://api.openai.com/v1/chat/completions"
ANTHROPIC = "https://api.anthropic.com/v1/messages"

REDACTED_RULE = "aws-access-key-id"
BLOCKED_RULE = "slack-bot-token"

ENFORCE = f"""\
version: 1
mode: enforce
on_failure: open
services: {{default: sanctioned}}
rules:
  - id: keys-stay-here
    reason: A credential was taken out.
    when: {{direction: request, finding: {{category: secret, severity: ">= low"}}}}
    action: redact
  - id: no-chat-tokens
    reason: This message holds a chat token. Take it out and send it again.
    when: {{direction: request, finding: {{rule: {BLOCKED_RULE}}}}}
    action: block
"""
CLOSED = ENFORCE.replace("on_failure: open", "on_failure: closed")


def planted(rule: str) -> str:
    """Return a made-up secret that the shipped rule finds: the rule's own first example.

    The examples are cut by a mark so that no scanner takes the rule files for a leak.
    """
    for path in sorted((ROOT / "config" / "rules" / "secrets").glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text())["rules"]:
            if entry["id"] == rule:
                words = entry["matches"][0].split()
                return next(word for word in words if "‖" in word).replace("‖", "")
    raise LookupError(f"no shipped rule is called {rule}")


def chat(text: str, **more: Any) -> str:
    """Return a Chat Completions request as JSON."""
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": "gpt-4o-mini", "messages": messages, **more})


def messages(text: str, **more: Any) -> str:
    """Return an Anthropic Messages request as JSON."""
    said = [{"role": "user", "content": text}]
    return json.dumps({"model": "claude-haiku-4-5", "max_tokens": 50, "messages": said, **more})


def curl(url: str, body: str | None = None, *options: str) -> list[str]:
    """Return a curl command that prints the answer and, on a line of its own, the status."""
    command = ["curl", "-sS", "-m", "20", "-w", "\n%{http_code}", *options, url]
    if body is not None:
        command += ["-H", "content-type: application/json", "-d", body]
    return command


def sdk(language: str, *arguments: str) -> list[str]:
    """Return the command of one call through a provider's SDK."""
    program = {
        "python": [sys.executable, str(CLIENTS / "sdk.py")],
        "node": ["node", str(CLIENTS / "sdk.mjs")],
    }[language]
    return [*program, *arguments]


def load(host: str, seconds: float, prompt: str) -> list[str]:
    return [sys.executable, "-I", str(CLIENTS / "load.py"), host, str(seconds), prompt]


def brief(host: str, port: int, tag: str, count: int) -> list[str]:
    script = str(CLIENTS / "brief.py")
    return [sys.executable, "-I", "-S", script, host, str(port), tag, str(count)]
