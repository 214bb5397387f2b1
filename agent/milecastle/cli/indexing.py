"""Opened files -> hashes of their text, in a process that may do nothing else.

Documents are as hostile as anything that is downloaded, so root opens them and reads none. This
program is run as an unprivileged user without network (`daemon/launch.py`); descriptors come in
over the socket that it is given, one at a time, and hashes go out:

    in   the key, 32 bytes; then one byte and a descriptor for each file
    out  the number of hashes (4 bytes), or NOTHING and a reason (1 byte); then 4 bytes for each
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import sys
from array import array

from milecastle.detect.fingerprints import Hasher
from milecastle.model import ParseError
from milecastle.providers import office, pdf

KEY = 32
NOTHING = 0xFFFFFFFF
LARGEST = 32 << 20
"""Bytes of a file."""
MEMORY = 2 << 30
COUNT = struct.Struct(">I")
REASONS = ("", "too large", "no text", "can't be read")
TOO_LARGE, NO_TEXT, BROKEN = 1, 2, 3
BEGINNING = 8 << 10
"""Bytes in which a file that is no text shows a NUL."""


def main() -> None:
    """Answer until the other end is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    link = socket.socket(fileno=int(sys.argv[1]))
    key = link.recv(KEY, socket.MSG_WAITALL)
    hasher = Hasher(key)
    while True:
        data, descriptors, _flags, _address = socket.recv_fds(link, 1, 1)
        if not data or not descriptors:
            return
        link.sendall(answer(descriptors[0], hasher))


def answer(descriptor: int, hasher: Hasher) -> bytes:
    """Return what is told of one file; the descriptor is closed."""
    try:
        with os.fdopen(descriptor, "rb") as opened:
            opened.seek(0)
            raw = opened.read(LARGEST + 1)
        if len(raw) > LARGEST:
            return refusal(TOO_LARGE)
        text = text_of(raw)
    except (OSError, MemoryError, ParseError):
        return refusal(BROKEN)
    if not text:
        return refusal(NO_TEXT)
    found = array("I", sorted({mark.value for mark in hasher.marks(text)}))
    return COUNT.pack(len(found)) + found.tobytes()


def refusal(reason: int) -> bytes:
    return COUNT.pack(NOTHING) + bytes([reason])


def text_of(raw: bytes) -> str:
    """Return the text of a PDF, an office document or a text file; empty where it is none."""
    if pdf.is_pdf(raw):
        return pdf.text_of(raw)
    found = office.text_of(raw)
    if found is not None:
        return found
    for mark, encoding in MARKED:
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    if b"\0" in raw[:BEGINNING]:
        return ""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


MARKED: tuple[tuple[bytes, str], ...] = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""Byte order marks; a file without one is UTF-8, or else an old eight-bit encoding."""


if __name__ == "__main__":
    main()
