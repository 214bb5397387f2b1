"""What operators add reaches a worker that serves, and what it learns reaches the daemon."""

import os
import random

import pytest
from tests.proxy.lab import replied
from tests.proxy.test_worker import BODY, posted

from milecastle import wire
from milecastle.detect.fingerprints import Builder
from milecastle.proxy import knowledge

KEY = b"k" * 32
CANARY = """
category: marking
severity: high
rules:
  - id: canary-{name}
    title: The canary {name}
    source: milecastle canary
    pattern: '(?i){token}'
    certain: true
    matches: ['{token}']
    ignores: ['ref-']
"""
FIRST, SECOND = "ref-q7x2k4m9w3t8v5z6", "ref-n3b8v2c7x9z4k6j5"
POLICY = """
version: 1
mode: enforce
rules:
  - id: ours-stays-here
    when: {finding: {category: [marking, document]}}
    action: block
"""


def prose(seed, words=120):
    source = random.Random(seed)
    letters = "abcdefghiklmnoprstuvw"
    return " ".join("".join(source.choices(letters, k=6)) for _ in range(words))


def index(folder, *texts):
    builder = Builder(KEY)
    for number, text in enumerate(texts):
        builder.add(f"plan-{number}.md", text)
    file = folder / f"{len(texts)}.idx"
    file.write_bytes(b"".join(builder.finish()))
    return os.open(file, os.O_RDONLY)


def said(text, **more):
    return {**BODY, "messages": [{"role": "user", "content": text}], **more}


async def test_rules_and_indexes_are_used_from_the_hello_on_and_changed_while_it_serves(tmp_path):
    told = {"rules": [["own.yaml", CANARY.format(name="one", token=FIRST)]], "documents": ["plans"]}
    known = {"1000 curl prompt": {"mcp__sums__add": "f" * 32}}
    opened = index(tmp_path, prose(1))
    async with posted(tmp_path, POLICY, {**told, "tools": known}, [opened]) as post:
        post.provider.reply = replied(body=b'{"choices": []}')
        for text, status in (
            (f"see {FIRST.upper()}", 403),
            (prose(1), 403),
            (f"see {SECOND}", 200),
            (prose(2), 200),
        ):
            assert (await post.call(said(text))).status == status
        # other files: the first canary and the first plan are gone
        again = index(tmp_path, prose(2), prose(3))
        rules = [["own.yaml", CANARY.format(name="two", token=SECOND)], ["bad.yaml", "rules: 7"]]
        body = {"rules": rules, "documents": ["plans"]}
        post.daemon.send(0, "knowledge", body, descriptors=[again])
        for _ in range(100):
            if (await post.call(said(f"see {SECOND}"))).status == 403:
                break
        assert (await post.call(said(prose(2)))).status == 403
        assert (await post.call(said(f"see {FIRST}"))).status == 200
        assert (await post.call(said(prose(1)))).status == 200
        # tools that are new, and one that is not what the daemon knew it to be
        tools = [
            {"type": "function", "function": {"name": name, "description": "Adds."}}
            for name in ("mcp__sums__add", "mcp__sums__sub", "Bash")
        ]
        await post.call(said("hello", tools=tools))
        await post.until(lambda: post.tools)
        ((server, seals),) = post.tools
        assert server == "1000 curl prompt"
        assert seals.keys() == {"mcp__sums__add", "mcp__sums__sub"}
        await post.until(lambda: any(record["findings"] for record in post.records[-1:]))
        found = [each["rule"] for each in post.records[-1]["findings"]]
        assert found == ["tool-definition-changed"]
        gaps = [b - a for a, b in zip(post.beats, post.beats[1:], strict=False)]
        assert max(gaps) < 1.0, "the lease would have lapsed"
    os.close(opened)
    os.close(again)


def test_an_index_that_is_empty_or_of_another_key_is_left_out(tmp_path):
    (tmp_path / "empty.idx").touch()
    empty = os.open(tmp_path / "empty.idx", os.O_RDONLY)
    told = knowledge.read({"documents": ["a", "b"]}, [empty, index(tmp_path, prose(1))])
    assert told.indexes(b"another key") == []
    assert len(told.indexes(KEY)) == 1


@pytest.mark.parametrize("told", [{"rules": 7}, {"rules": [["a"]]}, {"documents": ["a"]}])
def test_knowledge_that_can_not_be_read_ends_the_conversation(told):
    with pytest.raises(wire.WireError):
        knowledge.read(told, [])
