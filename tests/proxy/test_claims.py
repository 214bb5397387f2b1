import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.catalogue import clients
from milecastle.proxy import claims
from milecastle.proxy.claims import Claims

CLAIMS = Claims(clients.shipped(), b"k" * 32)
OTHER = Claims(clients.shipped(), b"o" * 32)
HOST = "api.openai.com"


def account(host=HOST, path="/v1/x", answered=(), **asked):
    fields = {name.replace("_", "-"): value for name, value in asked.items()}
    return CLAIMS.account(host, path, fields, dict(answered))


def token(**claims):
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{body}.signature"


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"authorization": "Bearer sk-proj-abc"}, "project_key"),
        ({"authorization": "Bearer sk-svcacct-abc"}, "service_account"),
        ({"authorization": "Bearer sk-abc"}, "api_key"),
        ({"authorization": "bearer whatever"}, "api_key"),
        ({"x_api_key": "sk-ant-api03-x"}, "api_key"),
        ({"api_key": "azure"}, "api_key"),
        ({"x_goog_api_key": "AIza"}, "api_key"),
        ({"authorization": "Bearer sk-ant-oat01-abc"}, "subscription"),
        ({"authorization": "Bearer eyJ.x.y", "chatgpt_account_id": "acc"}, "subscription"),
        ({"authorization": "Bearer ya29.abc"}, "login"),
        ({"authorization": "Basic YTpi"}, "api_key"),
        ({"cookie": "session=1"}, "web_login"),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/2026/x"},
         "access_key"),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=ASIAIOSFODNN7EXAMPLE/2026/x"},
         "temporary"),
    ],
)  # fmt: skip
def test_the_kind_of_account_shows_in_the_credential(asked, kind):
    assert account(**asked)["kind"] == kind
    fields = {name.replace("_", "-"): value for name, value in asked.items()}
    assert claims.kind(HOST, "/v1/x", fields) == kind


def test_the_kind_is_told_by_a_request_s_head_alone():
    assert claims.kind(HOST, "/v1/x", {}) == ""
    own = {"authorization": "Bearer sk-x", "openai-organization": "user-x1"}
    assert claims.kind(HOST, "/v1/x", own) == "personal"
    assert claims.kind("api.business.githubcopilot.com", "/x", {}) == "business"


def test_a_key_in_the_query_is_a_key():
    assert account(path="/v1/models/x?alt=sse&key=AIzaSy")["kind"] == "api_key"
    assert account(path="/v1/models?monkey=x") is None


@pytest.mark.parametrize("plan", ["individual", "business", "enterprise"])
def test_copilots_plan_shows_in_the_host(plan):
    host = f"api.{plan}.githubcopilot.com"
    assert account(host, authorization="Bearer tid=x;exp=1")["kind"] == plan
    assert account(f"evil-{host}.example", authorization="Bearer tid=x")["kind"] == "login"


def test_the_answers_organisation_tells_a_personal_account_from_a_companys():
    key = {"authorization": "Bearer sk-proj-x"}
    company = account(answered={"openai-organization": "acme"}, **key)
    assert (company["kind"], company["organisation"]) == ("organisation", "acme")
    assert account(answered={"openai-organization": "user-x1"}, **key)["kind"] == "personal"
    uuid = {"anthropic-organization-id": "04aa8588-6567-40cb-9042-a54b20ebaf4f"}
    assert account(answered=uuid, x_api_key="x")["organisation"] == uuid[next(iter(uuid))]


def test_equal_keys_have_equal_fingerprints_on_one_host_only():
    one = CLAIMS.account(HOST, "/", {"authorization": "Bearer sk-abc"}, {})
    two = CLAIMS.account(HOST, "/", {"x-api-key": "sk-abc"}, {})
    else_ = CLAIMS.account(HOST, "/", {"authorization": "Bearer sk-abd"}, {})
    elsewhere = OTHER.account(HOST, "/", {"authorization": "Bearer sk-abc"}, {})
    assert one["fingerprint"] == two["fingerprint"]
    assert len({each["fingerprint"] for each in (one, else_, elsewhere)}) == 3
    assert len(one["fingerprint"]) == 16


def test_a_login_is_known_by_whom_it_was_made_for_and_not_by_its_token():
    first = account(authorization=f"Bearer {token(iss='i', sub='ada', iat=1)}")
    later = account(authorization=f"Bearer {token(iss='i', sub='ada', iat=2)}")
    other = account(authorization=f"Bearer {token(iss='i', sub='bob', iat=2)}")
    assert first == later != other
    assert account(authorization=f"Bearer {token(iat=1)}")["fingerprint"] == ""


@pytest.mark.parametrize("asked", [{"cookie": "a=b"}, {"authorization": "Bearer ya29.x"},
                                   {"authorization": "Bearer sk-ant-oat01-x"}])  # fmt: skip
def test_what_changes_by_the_hour_has_no_fingerprint(asked):
    assert account(**asked)["fingerprint"] == ""


def test_nothing_shown_is_nothing_said():
    assert account() is None
    assert CLAIMS.of(HOST, "/", {}, {}) == {}


@given(st.text(min_size=8), st.sampled_from(["Bearer ", "Basic ", "", "AWS4-HMAC-SHA256 "]))
def test_no_credential_ever_leaves(secret, scheme):
    asked = {"authorization": f"{scheme}q9{secret}", "x-api-key": f"q9{secret}"}
    told = CLAIMS.of(HOST, f"/?key=q9{secret}", asked, {})
    assert f"q9{secret}" not in json.dumps(told, ensure_ascii=False)


@given(st.dictionaries(st.sampled_from(
    ["authorization", "cookie", "x-api-key", "user-agent", "chatgpt-account-id"]), st.text()),
    st.text(), st.text())  # fmt: skip
def test_anything_at_all_is_read_without_an_error(asked, path, host):
    CLAIMS.of(host, path, asked, asked)


@pytest.mark.parametrize("payload", ["", "a.b", "a.!!!.c", "a.W10.c", "a.eyJzdWIiOjV9.c"])
def test_a_web_token_that_is_none_is_a_login_without_fingerprint(payload):
    assert account(authorization=f"Bearer eyJ{payload}")["fingerprint"] == ""


def test_the_user_agent_speaks_where_the_process_says_nothing_or_runs_others_code():
    asked = {"user-agent": "GitHubCopilotChat/0.29"}
    for process in (None, "vscode", "firefox"):
        told = CLAIMS.of(HOST, "/", asked, {}, process)["client"]
        assert told["id"] == "github-copilot"
        assert told["evidence"] == "user agent GitHubCopilotChat/0.29"
    assert "client" not in CLAIMS.of(HOST, "/", asked, {}, "aider")
