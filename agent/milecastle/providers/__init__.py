"""Providers: bytes of AI traffic -> Exchange, for every wire format; pure and sans-io.

``recognise`` says which format a request speaks. ``parse_request`` and ``parse_response`` read
bodies, ``open_stream`` an answer as it comes. ``segments`` is what detectors read, ``rewrite`` puts
their edits back where they belong, ``error_body``, ``closing_events`` and ``spoken`` speak to the
client in its provider's own words. Whatever bytes come, only ParseError escapes.
"""

from milecastle.providers.delta import Delta
from milecastle.providers.errors import error_body, error_message
from milecastle.providers.exchange import (
    closing_events,
    is_stream,
    open_stream,
    parse_request,
    parse_response,
)
from milecastle.providers.format import Format
from milecastle.providers.history import History
from milecastle.providers.recognition import promises_text, recognise
from milecastle.providers.rewriting import rewrite
from milecastle.providers.segments import segments
from milecastle.providers.session import Session, has_session, open_session
from milecastle.providers.speaking import spoken, spoken_messages
from milecastle.providers.strangeness import strange
from milecastle.providers.stream import Stream

__all__ = [
    "Delta",
    "Format",
    "History",
    "Session",
    "Stream",
    "closing_events",
    "error_body",
    "error_message",
    "has_session",
    "is_stream",
    "open_session",
    "open_stream",
    "parse_request",
    "parse_response",
    "promises_text",
    "recognise",
    "rewrite",
    "segments",
    "spoken",
    "spoken_messages",
    "strange",
]
