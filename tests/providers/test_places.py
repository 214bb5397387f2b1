"""Every text that detectors read can be rewritten exactly where it stands, in every format."""

from __future__ import annotations

import pytest
from tests.providers import recorded

from milecastle import providers
from milecastle.model import Edit, ParseError
from milecastle.providers.places import byte_range, take_apart, token


def requests():
    seen: dict[tuple[str, str], int] = {}
    for each in recorded.everything():
        if not each.body:
            continue
        wire = providers.recognise(each.head, each.body)
        key = (each.file, wire.name if wire else "")
        seen[key] = seen.get(key, 0) + 1
        if wire is not None and seen[key] <= 12:
            yield each, wire


def test_every_segment_of_a_request_is_rewritten_where_it_stands():
    checked = 0
    for each, wire in requests():
        exchange = providers.parse_request(wire, each.head, each.body)
        found = providers.segments(exchange, "request")
        parts = [part for said in exchange.input_messages for part in said.parts]
        packed = {part.place for part in parts if part.mime_type == "application/pdf"}
        structural = {"type", "role", "model"}
        wanted = [
            one
            for one in found
            if not one.place.endswith("~")
            and one.label not in structural
            and one.place not in packed  # refused: see test_pdf.py
            # a call without any string: there is nothing that could be rewritten
            and not (one.provenance in ("tool_call", "tool_result") and one.text[:1] in "{[")
        ]
        edits = [Edit(one.place, 0, len(one.text), f"[{n}]") for n, one in enumerate(wanted)]
        body = providers.rewrite(each.body, edits)
        again = providers.parse_request(wire, each.head, body)
        now = {one.place: one.text for one in providers.segments(again, "request")}
        for number, one in enumerate(wanted):
            assert now.get(one.place, f"[{number}]") == f"[{number}]", (each, one.place)
            checked += one.place in now
    assert checked > 1000


def test_every_delta_of_a_stream_is_rewritten_where_it_stands():
    kinds = set()
    for each, wire in requests():
        exchange = providers.parse_request(wire, each.head, each.body)
        if not providers.is_stream(exchange, each.answer_head):
            continue
        stream = providers.open_stream(exchange, each.answer_head)
        spans: dict[tuple[int, int], list] = {}
        for delta in [*stream.feed(each.answer), *stream.close()]:
            spans.setdefault((delta.start, delta.end), []).append(delta)
        for (start, end), deltas in list(spans.items())[:40]:
            raw = each.answer[start:end]
            places = {}
            for delta in deltas:
                for leaf in delta.leaves or (delta,):
                    if leaf.place and not leaf.place.endswith("~"):
                        places[leaf.place] = leaf.text
            edits = [Edit(place, 0, len(text), "X") for place, text in places.items()]
            rewritten = stream.rewrite(raw, edits)
            once = providers.open_stream(exchange, each.answer_head)
            now = [*once.feed(rewritten), *once.close()]
            texts = {leaf.text for one in now for leaf in (one.leaves or (one,)) if leaf.place}
            assert texts <= {"X"}, (each, raw[:200], texts)
            kinds.add(wire.name)
    assert len(kinds) >= 8


@pytest.mark.parametrize("key", ["a", "a b", "~", "/", "a/b~c#d^e@f", "~0", "", "é", "0"])
def test_a_key_of_any_characters_comes_back_from_its_place(key):
    place = take_apart(f"/x/{token(key)}#/y")
    assert place.steps[0].tokens == ("x", key)
    assert [step.tokens for step in place.steps[1:]] == [("y",)]


def test_a_range_may_be_text_or_a_document():
    assert take_apart(byte_range(3, 9)).text
    assert not take_apart(byte_range(3, 9) + "#/a").text


@pytest.mark.parametrize("place", ["a", "!0/1", "@1-2/a", "@x", "/a#b", "/a^/b", "/a~#/b"])
def test_what_is_no_place_is_a_parse_error(place):
    with pytest.raises(ParseError):
        providers.rewrite(b'{"a":"{}"}', [Edit(place, 0, 0, "")])
