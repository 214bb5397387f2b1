"""Errors in each provider's own shape, so that its SDK raises its own exception with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from milecastle.model import Json
from milecastle.providers.dialect import ErrorShape
from milecastle.providers.dialects import dialect
from milecastle.providers.format import Format

type Shape = Callable[[int, str, str, Json], tuple[dict[str, Json], dict[str, str]]]
"""Status, code, message and JSON-RPC id -> the body and the headers beyond the usual."""

ANTHROPIC_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
GOOGLE_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
AWS_TYPES: Mapping[int, str] = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
CONNECT_CODES: Mapping[int, str] = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    429: "resource_exhausted",
    503: "unavailable",
}
BLOCKED_RPC = -32000
"""JSON-RPC 2.0, section 5.1: -32000 to -32099 are the server's own errors."""


def error_body(
    wire: Format | None, *, status: int, code: str, message: str
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an error as the provider would write it."""
    shape: ErrorShape = dialect(wire.name).error if wire is not None else "openai"
    body, headers = SHAPES[shape](status, code, message, wire.call if wire else None)
    if shape == "json-rpc":
        status = 200  # the transport worked; the call did not
    return status, {"content-type": "application/json", **headers}, orjson.dumps(body)


def error_message(wire: Format, *, status: int, code: str, message: str) -> bytes:
    """Return an error as one message of the provider's WebSocket.

    OpenAI's error event, which Codex reads too; others have none and get the error's usual body.
    """
    _, _, body = error_body(wire, status=status, code=code, message=message)
    if dialect(wire.name).error != "openai":
        return body
    event = {"type": "error", "event_id": "event_milecastle", "status": status}
    return orjson.dumps(event | orjson.loads(body))


def _openai(
    status: int, code: str, message: str, _: Json
) -> tuple[dict[str, Json], dict[str, str]]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}, {}


def _anthropic(
    status: int, code: str, message: str, _: Json
) -> tuple[dict[str, Json], dict[str, str]]:
    kind = ANTHROPIC_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}, {
        "x-should-retry": "false"
    }


def _google(
    status: int, code: str, message: str, _: Json
) -> tuple[dict[str, Json], dict[str, str]]:
    told = GOOGLE_STATUS.get(status, "UNKNOWN")
    detail: Json = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": code,
        "domain": "milecastle",
    }
    return {"error": {"code": status, "message": message, "status": told, "details": [detail]}}, {}


def _aws(status: int, code: str, message: str, _: Json) -> tuple[dict[str, Json], dict[str, str]]:
    return {"message": message}, {"x-amzn-errortype": AWS_TYPES.get(status, "ModelErrorException")}


def _message(
    status: int, code: str, message: str, _: Json
) -> tuple[dict[str, Json], dict[str, str]]:
    return {"message": message, "code": code}, {}


def _error(status: int, code: str, message: str, _: Json) -> tuple[dict[str, Json], dict[str, str]]:
    return {"error": message}, {}


def _detail(
    status: int, code: str, message: str, _: Json
) -> tuple[dict[str, Json], dict[str, str]]:
    return {"detail": message}, {}


def _connect(
    status: int, code: str, message: str, _: Json
) -> tuple[dict[str, Json], dict[str, str]]:
    return {"code": CONNECT_CODES.get(status, "unknown"), "message": message}, {}


def _json_rpc(
    status: int, code: str, message: str, call: Json
) -> tuple[dict[str, Json], dict[str, str]]:
    error: Json = {"code": BLOCKED_RPC, "message": message, "data": {"reason": code}}
    return {"jsonrpc": "2.0", "id": call, "error": error}, {}


SHAPES: Mapping[ErrorShape, Shape] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "google": _google,
    "aws": _aws,
    "message": _message,
    "error": _error,
    "detail": _detail,
    "json-rpc": _json_rpc,
    "connect": _connect,
}
