"""The text of Office and OpenDocument files: zip archives of XML, read within bounds.

No XML parser is run over them: tags are dropped, so entities can't expand and nothing is fetched.
What the archive claims about sizes is not believed; reading stops at the limits.
"""

from __future__ import annotations

import html
import io
import re
import zipfile
import zlib

MAGIC = b"PK\x03\x04"
MOST_MEMBERS = 2_000
LARGEST_MEMBER = 4 << 20
LARGEST = 16 << 20
"""Most XML that is read of one file, bytes unpacked."""

TEXTS = re.compile(
    r"word/(?:document|header\d*|footer\d*|comments|footnotes|endnotes)\.xml"
    r"|ppt/(?:slides|notesSlides)/[^/]+\.xml"
    r"|xl/(?:sharedStrings|worksheets/[^/]+|comments\d*)\.xml"
    r"|content\.xml|docProps/(?:core|custom)\.xml"
)
"""Members that hold what a person wrote."""

_BREAK = re.compile(r"</(?:w:p|a:p|text:p|text:h|si|row|c)>|<w:br[ /]")
_TAG = re.compile(r"<[^<>]*+>")
_FAULTS = (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, EOFError)
"""What zipfile raises over a broken, encrypted or unknown kind of member."""


def text_of(raw: bytes) -> str | None:
    """Return the text of a document; None where it is none of these, or can't be read."""
    if not raw.startswith(MAGIC):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                return None
            found: list[str] = []
            left = LARGEST
            for info in members:  # by entry, not by name: a name may stand twice
                if TEXTS.fullmatch(info.filename) is None or left <= 0:
                    continue
                with archive.open(info) as member:
                    data = member.read(min(LARGEST_MEMBER, left))
                left -= len(data)
                found.append(_plain(data.decode("utf-8", "replace")))
    except _FAULTS:
        return None
    return "\n".join(filter(None, found)) or None


def _plain(xml: str) -> str:
    broken = _BREAK.sub("\n", xml)
    lines = html.unescape(_TAG.sub("", broken)).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())
