import json

import pytest
from tests.inspection.samples import KEY, chat

from milecastle.inspection import Block, Forward
from milecastle.inspection.signatures import signature
from milecastle.model import RequestHead

SIGV4 = (
    "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/bedrock/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=00"
)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"authorization": SIGV4}, "/"),
        ({"authorization": SIGV4.replace("HMAC-SHA256", "ECDSA-P256-SHA256")}, "/"),
        ({}, "/model/m/invoke?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00"),
        (
            {"authorization": 'Signature version="1",headers="date x-content-sha256"'},
            "/20231130/actions/chat",
        ),
        ({"signature-input": 'a=("@method" "content-digest");created=1'}, "/"),
        ({"authorization": "TC3-HMAC-SHA256 Credential=x, Signature=0"}, "/"),
        ({"authorization": "ACS3-HMAC-SHA256 Credential=x,Signature=0"}, "/"),
    ],
)
def test_a_signature_over_the_body_is_known(fields, path):
    assert signature(RequestHead("POST", "h", path, fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"authorization": "Bearer sk-1"},
        {"authorization": SIGV4, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
        {"signature-input": 'a=("@method" "@path");created=1'},
    ],
)
def test_what_leaves_the_body_out_is_no_such_signature(fields):
    assert signature(RequestHead("POST", "h", "/v1/x", fields)) is None


def converse(text):
    return json.dumps({"messages": [{"role": "user", "content": [{"text": text}]}]}).encode()


@pytest.fixture
def bedrock(begin):
    return {
        "path": "/model/anthropic.claude-3-haiku/converse",
        "host": "bedrock-runtime.us-east-1.amazonaws.com",
        "headers": {"authorization": SIGV4},
    }


def test_a_signed_request_is_blocked_where_a_rule_wants_it_redacted_and_says_why(begin, bedrock):
    inspection = begin("redact", **bedrock)
    answer = inspection.request(converse(f"use {KEY}"))
    assert isinstance(answer, Block)
    assert answer.status == 403
    assert answer.headers["x-amzn-errortype"] == "AccessDeniedException"
    assert b"signed (AWS Signature Version 4)" in answer.body
    assert b"keys stay at home" in answer.body
    verdict = inspection.record(1.0)["verdict"]
    assert (verdict["action"], verdict["rule"]) == ("block", "no-secrets")


def test_a_signed_request_without_findings_goes_on(begin, bedrock):
    body = converse("hello")
    assert begin("redact", **bedrock).request(body) == Forward(body)


def test_an_unsigned_request_to_the_same_service_is_redacted(begin, bedrock):
    bedrock["headers"] = {"authorization": "Bearer bedrock-api-key-1"}
    assert isinstance(begin("redact", **bedrock).request(converse(KEY)), Forward)
    assert isinstance(begin("redact").request(chat(KEY)), Forward)
