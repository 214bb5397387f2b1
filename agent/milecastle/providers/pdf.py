"""The text of PDF files: pages, annotations, form fields and titles, read within bounds by pypdf.

A PDF is a program more than a document, so the work is counted, not timed: pages, bytes unpacked,
drawing operations, characters. What is over the limits is left out; what can't be read at all, or
is locked with a password, raises ParseError. pypdf is imported with the first PDF that comes.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from milecastle.model import ParseError

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

MAGIC = b"%PDF-"
MAGIC_WITHIN = 1 << 10
"""Readers take a header that stands this far into the file (PDF 1.7, annex H.3.4.1)."""
LARGEST_FILE = 32 << 20
MOST_PAGES = 200
LARGEST_STREAM = 2 << 20
"""Most bytes that one page's drawing unpacks to; a page with more is left out."""
LIMITS: dict[str, Any] = {
    **dict.fromkeys(
        (
            "maximum_declared_stream_length",
            "array_based_stream_maximum_output_length",
            "lzw_maximum_output_length",
            "run_length_maximum_output_length",
            "zlib_maximum_output_length",
        ),
        LARGEST_STREAM,
    ),
    "zlib_maximum_recovery_input_length": 64 << 10,
    "stream_filters_maximum_length": 4,
    "stream_decoding_work_maximum_length": 16 << 20,
    "stream_parsing_work_maximum_count": 200_000,
    "page_tree_maximum_entries": 10_000,
    "page_tree_maximum_page_entries": 10_000,
}
"""pypdf's own limits, which are far higher."""
MOST_OPERATIONS = 20_000
"""Drawing operations of a whole file: some tenths of a second, for nothing else is served then."""
MOST_ANNOTATIONS = 1_000
LONGEST = 2 << 20
"""Most text that is taken of one file, code points."""


class _OverBudgetError(Exception):
    """The budget of operations is used up."""


def is_pdf(raw: bytes) -> bool:
    """Tell whether a reader would take these bytes for a PDF."""
    return MAGIC in raw[:MAGIC_WITHIN]


def text_of(raw: bytes) -> str:
    """Return the text of a PDF, empty for one of pictures only. ParseError where it is none."""
    if not is_pdf(raw) or len(raw) > LARGEST_FILE:
        raise ParseError("no PDF, or one that is too large")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)  # it would quote the document
    try:
        return _read(raw)
    except Exception as error:  # noqa: BLE001 - hostile files reach every corner of the library
        raise ParseError(f"a PDF that can't be read: {type(error).__name__}") from None


def _read(raw: bytes) -> str:
    from pypdf import PdfReader, apply_configuration

    with apply_configuration(**LIMITS):
        reader = PdfReader(io.BytesIO(raw), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise ParseError("a PDF that is locked with a password")
        found: list[str] = []
        left = LONGEST
        for text in _texts(reader):
            found.append(text[:left])
            left -= len(text)
            if left <= 0:
                break
    return "\n".join(filter(None, found))


def _texts(reader: PdfReader) -> Iterator[str]:
    yield from (str(value) for value in (reader.metadata or {}).values())
    budget = [MOST_OPERATIONS]
    for number, page in enumerate(reader.pages):
        if number >= MOST_PAGES or budget[0] <= 0:
            return
        yield from _annotations(page)
        yield _drawn(page, budget)


def _drawn(page: PageObject, budget: list[int]) -> str:
    """Return what a page draws as text; of a page that breaks off, what came before."""
    seen: list[str] = []

    def count(*_: object) -> None:
        budget[0] -= 1
        if budget[0] < 0:
            raise _OverBudgetError

    def keep(text: str, *_: object) -> None:
        seen.append(text)

    try:
        return page.extract_text(visitor_operand_before=count, visitor_text=keep)
    except Exception:  # noqa: BLE001 - one broken page does not hide the others
        return "".join(seen)


def _annotations(page: PageObject) -> Iterator[str]:
    """Yield the words of notes, and what stands in form fields."""
    try:
        for note in list(page.annotations or ())[:MOST_ANNOTATIONS]:
            told = note.get_object()
            yield from (str(told[key]) for key in ("/Contents", "/V") if key in told)
    except Exception:  # noqa: BLE001 - as above
        return
