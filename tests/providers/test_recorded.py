"""All recorded exchanges: what the bench prints as a table must stay as good as it is."""

from __future__ import annotations

import contextlib

import pytest
from benchmarks import bench_parse
from tests.providers import recorded

from milecastle import providers
from milecastle.model import ParseError


@pytest.fixture(scope="module")
def total():
    rows = bench_parse.measure(misses=False)
    whole = bench_parse.Row()
    for row in rows.values():
        whole.update(row)
    return whole


def test_no_recorded_exchange_is_refused(total):
    assert (total["entries"], total["errors"]) == (954, 0)


def test_every_body_to_an_ai_service_is_recognised(total):
    assert total["not read"] == 0


def test_all_natural_language_of_requests_reaches_the_detectors(total):
    assert total["scanned"] >= 0.999 * total["asked"]
    assert total["placed"] >= 0.995 * total["asked"]


def test_answers_equal_the_providers_final_form(total):
    assert total["equal"] >= 0.995 * total["final"]


def test_model_and_usage_are_told(total):
    assert total["model"] == total["modelled"]
    assert total["usage"] == total["billed"]


def test_reading_is_the_same_whether_an_answer_came_whole_or_was_fed():
    for each in recorded.everything():
        wire = providers.recognise(each.head, each.body)
        if wire is None or each.messages or len(each.answer) > 200_000:
            continue
        asked = providers.parse_request(wire, each.head, each.body or b"")
        whole = providers.parse_response(asked, each.answer_head, each.answer)
        stream = providers.open_stream(asked, each.answer_head)
        for at in range(0, len(each.answer), 997):
            stream.feed(each.answer[at : at + 997])
        stream.close()
        assert stream.exchange == whole, each


def test_recordings_of_hosts_of_no_catalogue_are_recognised_by_path_and_shape():
    missed = []
    for each in recorded.of("localhost.har", "127.0.0.1.har", "traceloop-stg.openai.azure.com.har"):
        wire = providers.recognise(each.head, each.body, known=False)
        path = each.head.path
        if each.body and ("completions" in path or "/api/" in path) and wire is None:
            missed.append(path)
        if ":8080" in each.head.host or ":8882" in each.head.host:  # databases, no models
            assert wire is None, path
    assert missed == []


def test_mutilated_recordings_are_read_or_refused():
    for number, each in enumerate(recorded.everything()):
        if number % 9 or not each.body:
            continue
        wire = providers.recognise(each.head, each.body)
        asked = providers.parse_request(wire, each.head, each.body)
        for at in range(0, len(each.answer), max(1, len(each.answer) // 5)):
            for broken in (
                each.answer[:at],
                each.answer[at:],
                each.answer[:at] + b'\xff"}' + each.answer[at + 3 :],
            ):
                with contextlib.suppress(ParseError):
                    providers.parse_response(asked, each.answer_head, broken)
