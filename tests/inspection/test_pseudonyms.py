"""What must not leave goes under another name, and comes back under its own."""

import json
import re
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.inspection.samples import JSON, KEY, PYTHON, SSE, chat, completion, event

from milecastle import policy
from milecastle.inspection import Block, Context, Forward, Inspector
from milecastle.inspection.pseudonyms import NAMES, Pseudonyms, Restoring, Vault, kind
from milecastle.model import Finding, RequestHead, ResponseHead, Severity

PLACEHOLDER = re.compile(r"\[LAB_KEY_[0-9a-f]{6}\]")
OTHER = "labkey_z9y8x7w6v5u4"
DONE = b"data: [DONE]\n\n"


def finding(rule="lab-key", start=0, end=1):
    return Finding("secret", rule, Severity.HIGH, start, end, "")


def asked(begin, *texts, **options):
    """Return the inspection of a pseudonymised request and the texts that went upstream."""
    inspection = begin("pseudonymise", **options)
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": text} for text in texts]}
    ).encode()
    answer = inspection.request(body)
    assert isinstance(answer, Forward)
    return inspection, [m["content"] for m in json.loads(answer.body)["messages"]]


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("email-address", "EMAIL"),
        ("phone-named", "PHONE"),
        ("us-ssn", "US_SSN"),
        ("42", "42"),
        ("-", "VALUE"),
    ],
)
def test_a_placeholder_says_what_it_stands_for(rule, word):
    assert kind(rule) == word


def test_a_text_has_one_name_for_a_user_and_service_and_another_elsewhere():
    one, same, other = Pseudonyms(b"k", "a"), Pseudonyms(b"k", "a"), Pseudonyms(b"k", "b")
    assert one.name(finding(), "x@y.z") == same.name(finding(), "x@y.z")
    assert one.name(finding(), "x@y.z") != other.name(finding(), "x@y.z")
    assert one.name(finding(), "x@y.z") != one.name(finding(), "y@y.z")


def test_two_texts_never_share_a_name(monkeypatch):
    monkeypatch.setattr("milecastle.inspection.pseudonyms.DIGITS", 1)
    names = Pseudonyms(b"k", "a")
    given_out = {names.name(finding(), f"text {number}") for number in range(200)}
    assert len(given_out) == 200
    assert names.name(finding(), "text 7") in given_out


def test_what_is_remembered_is_bounded():
    names, vault = Pseudonyms(b"k", "a"), Vault(b"k")
    for number in range(NAMES + 50):
        names.name(finding(), f"text {number}")
    assert len(list(names.known())) == NAMES
    huge = Pseudonyms(b"k", "a")
    for number in range(5):
        huge.name(finding(), str(number) * 400_000)
    assert sum(len(text) for _, text in huge.known()) <= 1 << 20
    assert vault.of("a") is vault.of("a")


# --- requests --------------------------------------------------------------------------------


def test_no_byte_of_it_leaves_and_the_same_text_has_the_same_name(begin):
    _, (first, second) = asked(begin, f"use {KEY} here", f"{KEY} and {OTHER}")
    assert KEY not in first + second
    (name,) = PLACEHOLDER.findall(first)
    assert second.startswith(f"{name} and [")
    assert len(set(PLACEHOLDER.findall(second))) == 2


def test_the_name_is_the_same_in_the_next_request(begin):
    _, first = asked(begin, KEY)
    _, second = asked(begin, KEY, "and again?")
    assert second[0] == first[0]


def test_the_same_words_are_taken_out_where_no_detector_sees_them(begin_on):
    begin = begin_on("phone", "pattern: 'call (?P<secret>[0-9]{9})'", "call ‖123456780‖")
    inspection = begin("pseudonymise")
    answer = inspection.request(chat("call 123456789. It was 123456789, not 9123456789."))
    assert isinstance(answer, Forward)
    told = json.loads(answer.body)["messages"][0]["content"]
    assert "9123456789" in told
    assert re.search(r"\b123456789\b", told) is None


def test_a_signed_request_is_blocked_instead(begin):
    inspection = begin(
        "pseudonymise", headers={"authorization": "AWS4-HMAC-SHA256 Credential=x, Signature=y"}
    )
    assert isinstance(inspection.request(chat(KEY)), Block)


def test_the_record_holds_neither_the_text_nor_the_way_back(begin):
    inspection, (sent,) = asked(begin, f"use {KEY}")
    inspection.respond(JSON)
    inspection.response(completion(f"I used {sent}"))
    record = json.dumps(inspection.record(1.0))
    assert KEY not in record
    assert json.loads(record)["verdict"]["action"] == "pseudonymise"


# --- answers ---------------------------------------------------------------------------------


def test_an_answer_has_the_texts_back_and_its_other_bytes_stay(begin):
    inspection, (sent,) = asked(begin, KEY)
    inspection.respond(JSON)
    answer = inspection.response(b"  " + completion(f"It is {sent}, is it not?"))
    assert answer == Forward(b"  " + completion(f"It is {KEY}, is it not?"))


def test_in_a_tool_call_it_is_put_back_as_json_wants_it(begin_on):
    begin = begin_on("quoted", "token: 'q\"[a-z]{6}\\\\'", "'a ‖q\"abcdeg\\‖ b'")
    value = 'q"abcdef\\'
    inspection, (sent,) = asked(begin, f"say {value} now")
    (name,) = re.findall(r"\[QUOTED_[0-9a-f]{6}\]", sent)
    called = {"name": "f", "arguments": json.dumps({"path": f"/x/{name}"})}
    inspection.respond(JSON)
    answer = inspection.response(
        completion(None, tool_calls=[{"id": "t", "type": "function", "function": called}])
    )
    call = json.loads(answer.body)["choices"][0]["message"]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"path": f"/x/{value}"}


def test_a_later_request_that_does_not_repeat_it_has_it_back_too(begin):
    """OpenAI's previous_response_id: the history is with the provider."""
    make = begin.__closure__ and begin
    first, (name,) = asked(make, KEY)
    second = first.inspector.begin(first.head, first.context)
    second.request(chat("what was it?"))
    second.respond(JSON)
    assert second.response(completion(name)) == Forward(completion(KEY))


def test_without_such_a_rule_nothing_is_held_back(begin):
    inspection = begin("alert")
    inspection.request(chat("x", stream=True))
    assert not inspection.binding("response")


# --- streams ---------------------------------------------------------------------------------


def streamed(inspection, chunks):
    inspection.respond(SSE)
    got = b"".join(inspection.feed(chunk).data for chunk in chunks)
    return got + inspection.finish().data


def deltas_of(stream, key="content"):
    told = ""
    for line in stream.decode().split("\n\n"):
        if line.startswith("data: {"):
            delta = json.loads(line[6:])["choices"][0]["delta"]
            if key == "content":
                told += delta.get("content") or ""
            else:
                for call in delta.get("tool_calls", ()):
                    told += call["function"].get("arguments") or ""
    return told


def test_ordinary_text_is_not_held_back(begin):
    document = "version: 1\nmode: enforce\nrules:\n- id: s\n  action: pseudonymise\n"
    document += "  when: {direction: request, finding: {category: secret}}\n"
    inspection, _ = asked(begin, KEY, document=document)
    inspection.respond(SSE)
    for word in ("Hello", " [there]", " [LABEL", "_X] [", "x", " you", "?"):
        inspection.feed(event({"content": word}))
    assert inspection.feed(event({"content": "!"})).data == event({"content": "!"})
    assert inspection.feed(event({"content": " [LAB_"})).data == b""
    assert inspection.feed(event({"content": "?"})).data == event({"content": " [LAB_"}) + event(
        {"content": "?"}
    )


def test_a_tool_call_that_streams_has_it_back(begin):
    inspection, (name,) = asked(begin, KEY)
    arguments = json.dumps({"command": f"echo {name}", "note": [name, "x"]})
    events = [
        event({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": ""}}]})
    ]
    events += [
        event({"tool_calls": [{"index": 0, "function": {"arguments": arguments[at : at + 5]}}]})
        for at in range(0, len(arguments), 5)
    ]
    got = streamed(inspection, [*events, event({}, finish_reason="tool_calls"), DONE])
    assert json.loads(deltas_of(got, "tool")) == {"command": f"echo {KEY}", "note": [KEY, "x"]}


def test_pieces_that_are_sent_by_themselves_are_put_back_too():
    names = Pseudonyms(b"k", "a")
    name = names.name(finding(), 'a"b')
    for in_json, value in ((False, 'a"b'), (True, 'a\\"b')):
        for size in range(1, 20):
            text = f'{{"x": "{name}, [LAB and {name}"}}'
            part = Restoring(names, in_json=in_json)
            got = "".join(part.pour(text[at : at + size]) for at in range(0, len(text), size))
            assert got == text.replace(name, value)


def test_arguments_that_are_no_json_are_not_escaped():
    names = Pseudonyms(b"k", "a")
    name = names.name(finding(), 'a"b')
    assert Restoring(names, in_json=True).pour(f"*** patch {name}") == '*** patch a"b'


# --- whole conversations ---------------------------------------------------------------------

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def key(number):
    """Return a made-up key that looks random enough to be one."""
    digest = blake2b(b"%d" % number).digest()[:12]
    return "labkey_" + "".join(LETTERS[byte % len(LETTERS)] for byte in digest)


SECRETS = st.integers(0, 1000).map(key)
SAID = st.lists(st.one_of(WORDS, SECRETS), min_size=1, max_size=4).map(" ".join)


@settings(max_examples=1000, deadline=None)
@given(said=st.lists(SAID, min_size=1, max_size=3), data=st.data())
def test_random_conversations_come_back_as_if_nothing_had_been_replaced(forever, said, data):
    """The model repeats what it was told: in words, in a tool call, whole or as a stream."""
    messages = [{"role": "user", "content": text} for text in said]
    stream = data.draw(st.booleans())
    body = json.dumps({"model": "m", "stream": stream, "messages": messages}).encode()
    inspection = forever()
    sent = inspection.request(body)
    assert isinstance(sent, Forward)
    heard = "\n".join(message["content"] for message in json.loads(sent.body)["messages"])
    plain = "\n".join(said)
    assert "labkey_" not in heard
    as_call = data.draw(st.booleans())
    if not stream:
        inspection.respond(JSON)

        def answer(text):
            if not as_call:
                return completion(text)
            function = {"name": "f", "arguments": json.dumps({"text": text})}
            return completion(None, tool_calls=[{"id": "t", "function": function}])

        got = inspection.response(answer(heard))
        assert json.loads(got.body) == json.loads(answer(plain))
        if plain.isascii() and not as_call:
            assert got.body == answer(plain), "byte by byte"
        return
    text = json.dumps({"text": heard}) if as_call else heard
    size = data.draw(st.integers(1, 9))
    events, at = [], 0
    while at < len(text):
        piece = text[at : at + size]
        at += len(piece)
        function = {"index": 0, "function": {"arguments": piece}}
        events.append(event({"tool_calls": [function]} if as_call else {"content": piece}))
    wire = b"".join(events) + event({}, finish_reason="stop") + DONE
    step = data.draw(st.integers(1, 300))
    got = streamed(inspection, [wire[i : i + step] for i in range(0, len(wire), step)])
    told = deltas_of(got, "tool" if as_call else "content")
    assert (json.loads(told)["text"] if as_call else told) == plain
    assert got.endswith(DONE)


@pytest.fixture(scope="module")
def forever(names, engine):
    """Return what begins inspections for one user, over and over."""
    text = "version: 1\nmode: enforce\nrules:\n- id: s\n  when: {finding: {category: secret}}\n"
    compiled, _ = policy.check(f"{text}  action: pseudonymise\n", "p")
    inspector = Inspector(names, engine, compiled)
    head = RequestHead("POST", "api.openai.com", "/v1/chat/completions", {})
    return lambda: inspector.begin(head, Context("x", 0.0, process=PYTHON))


@pytest.fixture
def begin_on(names):
    """Return `begin` for an engine with one rule of the test's own."""
    from milecastle.detect import Engine

    def make(rule, pattern, matches):
        text = f"category: secret\nseverity: high\nrules:\n  - id: {rule}\n    title: t\n"
        text += f"    source: https://example.test/\n    {pattern}\n    matches: [{matches}]\n"
        text += "    ignores: [nothing]\n"
        engine = Engine.load([("lab.yaml", text)], key=b"k" * 32)

        def begin(action):
            document = "version: 1\nmode: enforce\nrules:\n- id: s\n"
            document += f"  when: {{finding: {{category: secret}}}}\n  action: {action}\n"
            compiled, problems = policy.check(document, "p")
            assert compiled, problems
            head = RequestHead("POST", "api.openai.com", "/v1/chat/completions", {})
            return Inspector(names, engine, compiled).begin(head, Context("x", 0.0, process=PYTHON))

        return begin

    return make


def test_other_formats_have_it_back_as_well(begin):
    inspection = begin("pseudonymise", host="api.anthropic.com", path="/v1/messages")
    body = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": KEY}]}
    sent = inspection.request(json.dumps(body).encode())
    name = json.loads(sent.body)["messages"][0]["content"]
    inspection.respond(ResponseHead(200, {"content-type": "application/json"}))
    content = [
        {"type": "text", "text": f"It is {name}"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"deep": [{"key": name}]}},
    ]
    answer = {"type": "message", "role": "assistant", "content": content, "stop_reason": "tool_use"}
    got = json.loads(inspection.response(json.dumps(answer).encode()).body)
    assert got["content"][0]["text"] == f"It is {KEY}"
    assert got["content"][1]["input"] == {"deep": [{"key": KEY}]}
