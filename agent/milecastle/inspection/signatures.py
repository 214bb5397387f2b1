"""Which requests carry a signature over their own body: those can be judged, but not rewritten.

A rewritten body would be refused by the service, with an error that says nothing of the reason.
So where a rule wants such a request changed it is blocked instead, and told why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from milecastle.model import RequestHead

type Fields = Mapping[str, str]


def unless_unsigned(fields: Fields) -> bool:
    """Whether SigV4 covers the body; ``x-amz-content-sha256`` may say that it doesn't."""
    return not fields.get("x-amz-content-sha256", "").upper().startswith("UNSIGNED-PAYLOAD")


def always(_fields: Fields) -> bool:
    return True


def names_digest(fields: Fields) -> bool:
    """Whether an RFC 9421 or draft-cavage signature covers a digest of the body."""
    said = (fields.get("signature-input", "") + fields.get("authorization", "")).lower()
    return "digest" in said or "x-content-sha256" in said


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to sign requests."""

    name: str
    field: str
    """The header field that shows it; ``?`` is the query."""
    sign: re.Pattern[str]
    covers_body: Callable[[Fields], bool] = always


SCHEMES: tuple[Scheme, ...] = (
    # docs.aws.amazon.com/IAM: AWS Signature Version 4, and its multi-region variant SigV4A
    Scheme(
        "AWS Signature Version 4",
        "authorization",
        re.compile(r"AWS4-(HMAC-SHA256|ECDSA-P256-SHA256)\b"),
        unless_unsigned,
    ),
    Scheme(
        "AWS Signature Version 4",
        "?",
        re.compile(r"[?&]X-Amz-Signature=", re.IGNORECASE),
        unless_unsigned,
    ),
    # docs.oracle.com: Signature version="1",headers="... x-content-sha256 ..."
    Scheme("HTTP signature", "authorization", re.compile(r"Signature\b"), names_digest),
    # RFC 9421 with a Content-Digest (RFC 9530) among its components
    Scheme("HTTP message signature", "signature-input", re.compile(r"."), names_digest),
    # Tencent Cloud, Alibaba Cloud, Volcengine and Azure: all hash the body
    Scheme("TC3-HMAC-SHA256", "authorization", re.compile(r"TC3-HMAC-SHA256\b")),
    Scheme("ACS3-HMAC-SHA256", "authorization", re.compile(r"ACS3-[A-Z0-9-]+\b")),
    Scheme("HMAC-SHA256", "authorization", re.compile(r"HMAC-SHA256\b")),
)


def signature(head: RequestHead) -> str | None:
    """Return the name of the scheme that signs this request's body, None: none known here."""
    for scheme in SCHEMES:
        said = head.path if scheme.field == "?" else head.headers.get(scheme.field, "")
        found = scheme.sign.search(said) if scheme.field == "?" else scheme.sign.match(said)
        if found and scheme.covers_body(head.headers):
            return scheme.name
    return None
