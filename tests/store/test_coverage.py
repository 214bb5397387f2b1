import pytest
from tests.store.examples import make_record

from milecastle.store import coverage

BLOCK = {"action": "block", "applied": "block", "reason": "r"}


def bare(error, **changes):
    return make_record(attributes={"error.type": error}, **changes)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (make_record(), ("inspected", "")),
        (make_record(verdict=BLOCK), ("inspected", "")),
        (make_record(strange="changed_shape"), ("inspected", "changed_shape")),
        (make_record(strange="whatever else"), ("inspected", "")),
        (make_record(failures={"response": "body_too_large"}), ("metadata only", "body_too_large")),
        (make_record(failures={"request": "ParseError: x"}), ("metadata only", "unreadable_body")),
        (make_record(failures={"request": "Unfinished"}), ("metadata only", "failed")),
        (bare("websocket_not_inspected"), ("metadata only", "websocket_not_inspected")),
        (bare("client_refused_certificate"), ("metadata only", "client_refused_certificate")),
        (bare("ZeroDivisionError"), ("metadata only", "failed")),
        (bare("websocket_not_inspected", verdict=BLOCK), None),
        (make_record(failures={"request": "body_too_large"}, verdict=BLOCK), None),
        (bare("connection_closed"), None),
        (bare("malformed_request"), None),
    ],
)
def test_an_exchange_is_read_or_its_reason_is_known(record, expected):
    assert coverage.of_exchange(record) == expected


@pytest.mark.parametrize(
    ("outcome", "code", "expected"),
    [
        ("direct", "heartbeat", "metadata only"),
        ("direct", "policy", "metadata only"),
        ("passed through", "policy", "metadata only"),
        ("passed through", "not_listed", None),
        ("redirected", "", None),
        ("refused", "quic", None),
    ],
)
def test_a_connection_that_went_past_is_metadata_only(outcome, code, expected):
    assert coverage.of_connection(outcome, code) == expected
