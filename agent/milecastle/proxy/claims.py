"""What a request says of its sender: the client by its user agent, and whose account it uses.

Pure. A credential is never kept: what leaves is its fingerprint, made with the daemon's key, so
that equal keys are recognised and none can be recovered. What changes by the hour has none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from milecastle.catalogue.clients import Clients

LONGEST = 8192
"""Characters of a header that are looked at."""
PLANS = re.compile(r"\.(individual|business|enterprise)\.githubcopilot\.com$")
"""The plan stands in the host's name."""
KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key", "xi-api-key", "ocp-apim-subscription-key")
ORGANISATIONS = ("openai-organization", "anthropic-organization-id", "x-goog-user-project")
"""Request or answer; the answer's word counts."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """What the beginning of a bearer token says."""

    kind: str
    lasting: bool = True
    """Whether it stays the same for long enough to be known by it."""


BEARERS: Mapping[str, Bearer] = {
    "sk-ant-oat": Bearer("subscription", lasting=False),
    "sk-ant-admin": Bearer("admin_key"),
    "sk-ant-": Bearer("api_key"),
    "sk-proj-": Bearer("project_key"),
    "sk-svcacct-": Bearer("service_account"),
    "sk-admin-": Bearer("admin_key"),
    "ya29.": Bearer("login", lasting=False),
    "tid=": Bearer("login", lasting=False),  # GitHub Copilot
    "gho_": Bearer("login"),
    "ghu_": Bearer("login", lasting=False),
    "": Bearer("api_key"),
}
"""By its first characters; the first that fits."""
QUERY_KEY = re.compile(r"[?&]key=([^&#]+)")
"""As Google's services take it."""
SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=((AKIA|ASIA)[A-Z0-9]{16})/")


@dataclass(frozen=True, slots=True)
class Credential:
    kind: str
    lasting: str = ""
    """What it can be known by again; never leaves this module as it is."""


class Claims:
    """Reads claims. ``key`` keys the fingerprints."""

    def __init__(self, clients: Clients, key: bytes) -> None:
        self._clients = clients
        self._key = key

    def of(
        self,
        host: str,
        path: str,
        asked: Mapping[str, str],
        answered: Mapping[str, str],
        process: str | None = None,
    ) -> dict[str, Any]:
        """Return what a record says of client and account; keys that are absent are not known.

        ``asked`` and ``answered`` are header fields under lower-case names; ``process`` is the
        client that the process is known as, which says more unless it runs others' code.
        """
        told: dict[str, Any] = {}
        client = self._clients.of_user_agent(asked.get("user-agent", "")[:LONGEST])
        if client and (process is None or self._clients.is_host(process)):
            told["client"] = {"id": client.id, "evidence": client.evidence}
        if account := self.account(host, path, asked, answered):
            told["account"] = account
        return told

    def account(
        self, host: str, path: str, asked: Mapping[str, str], answered: Mapping[str, str]
    ) -> dict[str, str] | None:
        """Return kind, fingerprint and organisation of the account, None where nothing shows."""
        used, organisation = credential(path, asked), organisation_of(answered, asked)
        kind = kind_of(host, used, organisation)
        if not kind:
            return None
        lasting = used.lasting if used else ""
        mark = self.fingerprint(lasting) if lasting else ""
        return {"kind": kind, "fingerprint": mark, "organisation": organisation}

    def fingerprint(self, secret: str) -> str:
        """Return 16 hexadecimal digits that stand for a credential on this host."""
        message = b"account\0" + secret.encode(errors="replace")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:16]


def kind(host: str, path: str, asked: Mapping[str, str]) -> str:
    """Return the kind of account that a request uses, as far as its head shows; else nothing."""
    return kind_of(host, credential(path, asked), organisation_of(asked))


def kind_of(host: str, used: Credential | None, organisation: str) -> str:
    """Return what an account is: by the plan, then the organisation, then the credential."""
    if plan := PLANS.search(host):
        return plan[1]
    if organisation and not (used and used.kind == "subscription"):
        return "personal" if organisation.startswith("user-") else "organisation"
    return used.kind if used else ""


def organisation_of(*heads: Mapping[str, str]) -> str:
    """Return the organisation that the first of these heads names."""
    said = (fields.get(name, "") for fields in heads for name in ORGANISATIONS)
    return next(filter(None, said), "")[:128]


def credential(path: str, asked: Mapping[str, str]) -> Credential | None:
    """Return what a request authenticates with."""
    if account := asked.get("chatgpt-account-id", "")[:LONGEST]:
        return Credential("subscription", account)
    for name in KEY_HEADERS:
        if key := asked.get(name, "")[:LONGEST]:
            return Credential("api_key", key)
    scheme, _, value = asked.get("authorization", "")[:LONGEST].strip().partition(" ")
    if scheme.lower() == "bearer" and value:
        return bearer(value.strip())
    if signed := SIGNED.match(f"{scheme} {value}"):
        temporary = signed[2] == "ASIA"
        return Credential("temporary", "") if temporary else Credential("access_key", signed[1])
    if value:
        return Credential("api_key", value)
    if in_query := QUERY_KEY.search(path[:LONGEST]):
        return Credential("api_key", in_query[1])
    return Credential("web_login") if asked.get("cookie") else None


def bearer(token: str) -> Credential:
    """Return what a bearer token is; of a JSON web token who it was made for."""
    if token.startswith("eyJ"):
        return Credential("login", subject(token))
    mark = next(mark for mark in BEARERS if token.startswith(mark))
    return Credential(BEARERS[mark].kind, token if BEARERS[mark].lasting else "")


def subject(token: str) -> str:
    """Return issuer and subject of a JSON web token (RFC 7519), unverified; "" without one."""
    payload = token.split(".", 2)[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return ""
    if not isinstance(claims, dict) or not isinstance(claims.get("sub"), str):
        return ""
    return f"{claims.get('iss')} {claims['sub']}"[:LONGEST]
