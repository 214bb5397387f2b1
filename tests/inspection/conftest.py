import pytest
from tests.inspection.samples import PYTHON

from milecastle import catalogue, policy, shipped
from milecastle.detect import Engine
from milecastle.inspection import Context, Inspector
from milecastle.model import RequestHead

RULES = """
category: secret
severity: high
rules:
  - id: lab-key
    title: A key that exists in these tests only
    source: https://example.test/
    token: 'labkey_[a-z0-9]{12}'
    matches: ['use ‖labkey_a1b2c3d4e5f6‖ here']
    ignores: ['labkey_short']
"""


@pytest.fixture(scope="session")
def names():
    loaded, problems = catalogue.load(shipped.texts("config", "catalogue"))
    assert not problems
    return loaded


@pytest.fixture(scope="session")
def engine():
    return Engine.load([("lab.yaml", RULES)], key=b"k" * 32)


@pytest.fixture
def inspector(names, engine):
    """Return an inspector for a policy: one action for secrets, or a whole document."""

    def make(action="alert", *, document=None, mode="enforce", on_failure="open", **options):
        text = (
            document
            or f"""
version: 1
mode: {mode}
on_failure: {{default: {on_failure}}}
rules:
  - id: no-secrets
    when: {{finding: {{category: secret}}}}
    action: {action}
    mode: {mode}
    reason: keys stay at home
"""
        )
        compiled, problems = policy.check(text, "policy.yaml")
        assert compiled, problems
        return Inspector(names, engine, compiled, **options)

    return make


@pytest.fixture
def begin(inspector):
    def begin(
        action="alert",
        *,
        path="/v1/chat/completions",
        host="api.openai.com",
        headers=None,
        **options,
    ):
        fields = {"content-type": "application/json", **(headers or {})}
        head = RequestHead("POST", host, path, fields)
        context = Context("01EXCHANGE", 1_700_000_000.0, cookie=7, process=PYTHON)
        return inspector(action, **options).begin(head, context)

    return begin
