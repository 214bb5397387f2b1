"""Sentences about sessions, findings and verdicts, the same in every command. Not yet escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def named(process: Mapping[str, Any]) -> str:
    """Return a process in a word: its name and pid."""
    if not process.get("pid"):
        return "unknown"
    return f"{process.get('comm') or '?'}[{process['pid']}]"


def called(process: Mapping[str, Any]) -> str:
    """Return a process by the AI client that it is, else as ``named`` does."""
    client = known_client(process)
    return f"{client}[{process.get('pid')}]" if client else named(process)


def known_client(process: Mapping[str, Any]) -> str | None:
    """Return the AI client that a process is; not one that only its requests say it is."""
    by_word_alone = str(process.get("client_evidence") or "").startswith("user agent")
    return None if by_word_alone else process.get("client")


def program(process: Mapping[str, Any]) -> str:
    """Return a program in a word: the AI client that it is, its script, or its executable."""
    script = process.get("script") or ""
    path = script if script and script != "-c" else process.get("exe") or process.get("comm")
    return known_client(process) or str(path or "unknown").rstrip("/").rsplit("/", 1)[-1]


def service(row: Mapping[str, Any]) -> str:
    """Return the service of a row of inventory or coverage; an unknown one by its host."""
    return str(row.get("host") or row.get("service") or "-")


def pod(process: Mapping[str, Any]) -> str:
    """Return the pod of a process as kubectl names it, its uid where no more is known, or ""."""
    told = process.get("pod") or {}
    name = f"{told.get('namespace')}/{told['name']}" if told.get("name") else told.get("uid")
    container = told.get("container")
    return f"{name} ({container})" if container else str(name or "")


def container(process: Mapping[str, Any]) -> str:
    """Return the container of a process with what runs it, or ""."""
    return " ".join(filter(None, (process.get("runtime"), process.get("container"))))


def plain(value: object) -> str:
    """Return text as it is and everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def described(finding: Mapping[str, Any]) -> str:
    """Return a finding in a line."""
    evidence = f" ({finding['evidence']})" if finding.get("evidence") else ""
    return (
        f"{finding.get('category')} {finding.get('rule')}, {finding.get('severity')}, "
        f"at {finding.get('where')}: {finding.get('excerpt')}{evidence}"
    )


def judged(verdict: Mapping[str, Any]) -> str:
    """Return a verdict in a line: what was done, what would have been, by which rule, and why."""
    action, applied = verdict.get("action"), verdict.get("applied") or verdict.get("action")
    what = f"{applied}" if action == applied else f"{applied} (monitor; would {action})"
    rule = f" by rule {verdict['rule']}" if verdict.get("rule") else ""
    return f"{what}{rule}: {verdict.get('reason')}"
