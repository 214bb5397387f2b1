"""The JSON Schema of policy files, from the same tables that read them."""

from __future__ import annotations

from milecastle.model import Json
from milecastle.policy.checking import CHANGES
from milecastle.policy.document import DOCUMENT


def override_schema() -> dict[str, Json]:
    """Return the schema of the files that are laid over a policy."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "milecastle policy override, version 1",
        **CHANGES.schema,
    }


def schema() -> dict[str, Json]:
    """Return the schema (draft 2020-12) that editors complete and check a policy with."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "milecastle policy, version 1",
        **DOCUMENT.schema,
    }
