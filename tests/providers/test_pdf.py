"""PDF attachments: their text is read, wherever a format puts them; hostile ones do no harm."""

from __future__ import annotations

import base64
import contextlib
import json
import time
import zlib

import pytest

from milecastle import providers
from milecastle.model import Edit, ParseError, RequestHead
from milecastle.providers import pdf

WORDS = "The account of Ada Lovelace is closed"


def document(drawing: str, *, info: bytes = b"") -> bytes:
    """Return a PDF of one page; ``drawing`` stands between the brackets of one Tj."""
    stream = zlib.compress(f"BT /F1 12 Tf 72 720 Td ({drawing}) Tj ET".encode())
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> /Annots [6 0 R] >>",
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Annot /Subtype /Text /Rect [0 0 9 9] /Contents (a note in the margin) >>",
        b"<< /Title (minutes of the board) " + info + b">>",
    ]
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, each in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer << /Size %d /Root 1 0 R /Info 7 0 R >>\n" % (len(objects) + 1)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


DATA = base64.b64encode(document(WORDS)).decode()
SOURCE = {"type": "base64", "media_type": "application/pdf", "data": DATA}
INLINE = {"inlineData": {"mimeType": "application/pdf", "data": DATA}}
FILE = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{DATA}"}
REQUESTS = {
    "anthropic": (
        "api.anthropic.com",
        "/v1/messages",
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "document", "source": SOURCE}]}],
        },
    ),
    "openai chat": (
        "api.openai.com",
        "/v1/chat/completions",
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "file", "file": FILE}]}],
        },
    ),
    "openai responses": (
        "api.openai.com",
        "/v1/responses",
        {"model": "m", "input": [{"role": "user", "content": [{"type": "input_file", **FILE}]}]},
    ),
    "gemini": (
        "generativelanguage.googleapis.com",
        "/v1beta/models/m:generateContent",
        {"contents": [{"role": "user", "parts": [INLINE]}]},
    ),
    "bedrock": (
        "bedrock-runtime.us-east-1.amazonaws.com",
        "/model/m/converse",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"document": {"format": "pdf", "name": "a", "source": {"bytes": DATA}}}
                    ],
                }
            ]
        },
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_text_of_an_attached_pdf_is_a_segment_and_can_not_be_rewritten(name: str):
    host, path, body = REQUESTS[name]
    raw = json.dumps(body).encode()
    head = RequestHead("POST", host, path, {"content-type": "application/json"})
    wire = providers.recognise(head, raw)
    assert wire is not None
    found = providers.segments(providers.parse_request(wire, head, raw), "request")
    (segment,) = [each for each in found if WORDS in each.text]
    assert segment.provenance == "file"
    assert "minutes of the board" in segment.text
    assert "a note in the margin" in segment.text
    assert not any(DATA[:200] in each.text for each in found)
    with pytest.raises(ParseError):  # so a redaction becomes a refusal
        providers.rewrite(raw, [Edit(segment.place, 0, 5, "x")])


def test_what_only_looks_like_a_pdf_is_read_as_text():
    text = b"%PDF-1.7 is how such files begin, said " + b"somebody " * 20
    body = {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "source": {**SOURCE, "data": base64.b64encode(text).decode()},
                    }
                ],
            }
        ],
    }
    raw = json.dumps(body).encode()
    head = RequestHead("POST", "api.anthropic.com", "/v1/messages")
    wire = providers.recognise(head, raw)
    assert wire is not None
    found = providers.segments(providers.parse_request(wire, head, raw), "request")
    (segment,) = [each for each in found if "said somebody" in each.text]
    assert b"c2FpZCBz" not in providers.rewrite(raw, [Edit(segment.place, 0, 60, "x")])


HOSTILE = {
    "a header": b"%PDF-1.4",
    "objects without an end": b"%PDF-" + b"1 0 obj" * 100_000,
    "brackets": b"%PDF-1.4\n" + b"[" * 500_000,
    "dictionaries": b"%PDF-1.4\n" + b"<<" * 200_000 + b"startxref\n9\n%%EOF",
    "a tree that bites its tail": b"%PDF-1.4\n"
    + b"1 0 obj\n<< /Type /Pages /Pages 1 0 R /Kids [1 0 R] >>\nendobj\n" * 2_000
    + b"trailer << /Root 1 0 R >>\nstartxref\n9\n%%EOF",
    "too many operations": document(") Tj ( a" * 200_000),
    "a bomb": document("a" * 60_000_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pdf_costs_little(name: str):
    begun = time.process_time()
    with contextlib.suppress(ParseError):
        pdf.text_of(HOSTILE[name])
    assert time.process_time() - begun < 3
