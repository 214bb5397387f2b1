"""Own documents: passages of an organisation's files are recognised; none of their text is kept.

Winnowing (Schleimer, Wilkerson and Aiken, SIGMOD 2003): of all runs of WORDS words, hashed, the
smallest of every WINDOW neighbours is kept. Any copied passage of WORDS + WINDOW - 1 words shares
at least one such hash, wherever it was cut out; an edited word costs the few that hold it. Case,
punctuation, white space and quotes are not looked at, so reflowed prose and reindented code match.

An index holds keyed hashes alone: who reads it without the key can test no guess. It is one block
of bytes (where each bucket of hashes begins, the document of each hash, what is left of it, the
documents' names), made for being mapped.
"""

from __future__ import annotations

import hashlib
import re
import struct
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from milecastle.detect.candidate import Unfinished
from milecastle.detect.masking import digest
from milecastle.detect.taxonomy import ids
from milecastle.model import Finding, ParseError, Segment, Severity

WORDS = 8
WINDOW = 9
"""One hash in about five is kept; 16 copied words in a row share one."""
LEAST = 32
"""Words that a passage has to span: with three hashes, 60 copied words do, two of them changed."""
SHARED = 3
"""Hashes that a passage and a document have to share."""
NEAR = 60
"""Words between two shared hashes of one passage at most."""
COMMON = 8
"""A hash that so many documents hold is a phrase of the house, a licence or a template."""
BITS = 32
"""Of a hash that are kept. Two texts that share none agree in SHARED of them by chance once in
some billion passages; and it halves the index."""
BUCKET = 16
"""Of these, the first bits say where in the index a hash stands, and are not written down: six
bytes are left of each kept hash, its document included."""
REST = (1 << BITS - BUCKET) - 1
LONGEST = 2_000_000
"""Characters of a text that are read."""
FEWEST_CHARACTERS = 200
"""A text shorter than this holds no passage."""
WORD = re.compile(r"[^\W_]+")
MODULUS = (1 << 61) - 1
MAGIC = b"MCFP\x00\x02"
HEADER = struct.Struct("<6sHHxxIQ16s")
"""Magic, WORDS, WINDOW, documents, hashes, check of the key."""
CACHED = 50_000


@dataclass(frozen=True, slots=True)
class Mark:
    """A kept hash, and where its words stand."""

    value: int
    word: int
    start: int
    end: int


class Hasher:
    """Turns text into marks, under a key."""

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]
        seed = hashlib.blake2b(b"base", key=self._key, digest_size=8).digest()
        self._base = int.from_bytes(seed) % (MODULUS - 3) + 2
        self._top = pow(self._base, WORDS, MODULUS)
        self._known: dict[str, int] = {}

    def check(self) -> bytes:
        """Return what tells an index of this key from one of another."""
        return hashlib.blake2b(b"check", key=self._key, digest_size=16).digest()

    def marks(self, text: str) -> Iterator[Mark]:
        """Yield the marks of a text, in order. Linear."""
        run: deque[tuple[int, int, int]] = deque(maxlen=WORDS)
        window: deque[tuple[int, int, int, int]] = deque()
        """(hash, number, start, end), hashes rising: its first is the window's smallest."""
        rolled = 0
        told = -1
        for number, found in enumerate(WORD.finditer(text)):
            value = self._word(found.group().lower())
            dropped = run[0][0] if len(run) == WORDS else 0
            run.append((value, found.start(), found.end()))
            rolled = (rolled * self._base + value - dropped * self._top) % MODULUS
            if number < WORDS - 1:
                continue
            while window and window[-1][0] >= rolled:
                window.pop()
            window.append((rolled, number, run[0][1], found.end()))
            while window[0][1] <= number - WINDOW:
                window.popleft()
            if number >= WORDS + WINDOW - 2 and window[0][1] != told:
                smallest, told, start, end = window[0]
                yield Mark(self._sealed(smallest), told, start, end)

    def _word(self, word: str) -> int:
        value = self._known.get(word)
        if value is None:
            if len(self._known) >= CACHED:
                self._known.clear()
            data = hashlib.blake2b(word.encode(errors="replace"), key=self._key, digest_size=8)
            value = self._known[word] = int.from_bytes(data.digest()) % MODULUS
        return value

    def _sealed(self, rolled: int) -> int:
        data = hashlib.blake2b(rolled.to_bytes(8), key=self._key, digest_size=8)
        return int.from_bytes(data.digest()) >> 64 - BITS


class Builder:
    """Collects documents and writes an index. Eight bytes of memory for each kept hash."""

    def __init__(self, key: bytes) -> None:
        self._hasher = Hasher(key)
        self._names: list[str] = []
        self._hashes = [array("I") for _ in range(256)]
        self._documents = [array("I") for _ in range(256)]

    def add(self, name: str, text: str) -> int:
        """Index a document under a name that findings may show; return how many hashes it gave."""
        return self.add_hashes(name, {mark.value for mark in self._hasher.marks(text)})

    def add_hashes(self, name: str, hashes: Collection[int]) -> int:
        """Index a document of which somebody else has made the hashes, each of them once."""
        number = len(self._names)
        self._names.append(name[:500])
        for value in hashes:
            self._hashes[value >> BITS - 8].append(value)
            self._documents[value >> BITS - 8].append(number)
        return len(hashes)

    def finish(self) -> Iterator[bytes]:
        """Yield the index, piece by piece."""
        begins, rests, documents = array("I"), array("H"), array("I")
        for values, numbers in zip(self._hashes, self._documents, strict=True):
            pairs = sorted(zip(values, numbers, strict=True))
            often = Counter(value for value, _ in pairs)
            for value, number in pairs:
                if often[value] >= COMMON:
                    continue
                begins.extend([len(rests)] * (bucket_of(value) - len(begins) + 1))
                rests.append(value & REST)
                documents.append(number)
        begins.extend([len(rests)] * ((1 << BUCKET) + 1 - len(begins)))
        names = b"".join(
            struct.pack("<H", len(data)) + data
            for data in (name.encode(errors="replace") for name in self._names)
        )
        counts = (len(self._names), len(rests))
        yield HEADER.pack(MAGIC, WORDS, WINDOW, *counts, self._hasher.check())
        yield begins.tobytes()
        yield documents.tobytes()
        yield rests.tobytes()
        yield names


def bucket_of(value: int) -> int:
    return value >> BITS - BUCKET


class Index:
    """A read-only view of an index; the bytes may be a mapped file."""

    def __init__(self, data: bytes | memoryview, key: bytes) -> None:
        """Raise ParseError where the data is no whole index, or one of another key."""
        view = memoryview(data)
        if len(view) < HEADER.size:
            raise ParseError("an index of fingerprints that is cut off")
        magic, words, window, names, count, check = HEADER.unpack_from(view)
        if magic != MAGIC or (words, window) != (WORDS, WINDOW):
            raise ParseError("no index of fingerprints, or one of another version")
        if check != Hasher(key).check():
            raise ParseError("an index of fingerprints that was made with another key")
        documents = HEADER.size + ((1 << BUCKET) + 1) * 4
        rests = documents + count * 4
        end = rests + count * 2
        if len(view) < end:
            raise ParseError("an index of fingerprints that is cut off")
        self.hashes = count
        self._begins: Sequence[int] = view[HEADER.size : documents].cast("I")
        self._documents: Sequence[int] = view[documents:rests].cast("I")
        self._rests: Sequence[int] = view[rests:end].cast("H")
        self.names = tuple(texts(view[end:], names))

    def documents(self, value: int) -> Iterator[int]:
        """Yield the documents that hold a hash."""
        bucket, rest = bucket_of(value), value & REST
        end = min(self._begins[bucket + 1], self.hashes)
        at = bisect_left(self._rests, rest, min(self._begins[bucket], end), end)
        while at < end and self._rests[at] == rest:
            number = self._documents[at]
            if number < len(self.names):
                yield number
            at += 1


def texts(view: memoryview, count: int) -> Iterator[str]:
    """Yield length-prefixed texts. ParseError where they end too early."""
    at = 0
    for _ in range(count):
        if at + 2 > len(view):
            raise ParseError("an index of fingerprints whose names are cut off")
        (length,) = struct.unpack_from("<H", view, at)
        yield bytes(view[at + 2 : at + 2 + length]).decode(errors="replace")
        at += 2 + length


@dataclass(slots=True)
class Passage:
    """A stretch of text that shares hashes with a document."""

    document: int
    first: Mark
    last: Mark
    shared: int = 1

    @property
    def span(self) -> int:
        """Words from its first to its last."""
        return self.last.word - self.first.word + WORDS


def passages(marks: Iterable[Mark], index: Index) -> list[Passage]:
    """Return the passages that share enough with a document of this index."""
    growing: dict[int, Passage] = {}
    found: list[Passage] = []
    for mark in marks:
        for document in index.documents(mark.value):
            passage = growing.get(document)
            if passage and mark.word - passage.last.word <= NEAR:
                passage.last = mark
                passage.shared += 1
            else:
                growing[document] = Passage(document, mark, mark)
                found.append(growing[document])
    return [each for each in found if each.shared >= SHARED and each.span >= LEAST]


def apart(found: Iterable[tuple[Passage, Index]]) -> list[tuple[Passage, Index]]:
    """Keep one passage for each place, the one that shares most; in the order of the text."""
    kept: list[tuple[Passage, Index]] = []
    for passage, index in sorted(found, key=lambda each: -each[0].shared):
        if all(
            passage.last.end <= other.first.start or other.last.end <= passage.first.start
            for other, _ in kept
        ):
            kept.append((passage, index))
    return sorted(kept, key=lambda each: each[0].first.start)


class OwnDocuments:
    """A detector: passages of the documents that some indexes hold."""

    def __init__(self, indexes: Sequence[Index], key: bytes) -> None:
        self._indexes = indexes
        self._hasher = Hasher(key)
        self._key = key

    def scan(self, segment: Segment) -> list[Finding]:
        """Return a finding for each passage; Unfinished where the text is longer than LONGEST."""
        if len(segment.text) < FEWEST_CHARACTERS:
            return []
        marks = list(self._hasher.marks(segment.text[:LONGEST]))
        shared = [(each, index) for index in self._indexes for each in passages(marks, index)]
        found = [self._finding(segment, *each) for each in apart(shared)]
        if len(segment.text) > LONGEST:
            raise Unfinished(f"a text of over {LONGEST} characters", found)
        return found

    def _finding(self, segment: Segment, passage: Passage, index: Index) -> Finding:
        start, end = passage.first.start, passage.last.end
        owasp, atlas = ids("document", segment.provenance)
        name = index.names[passage.document]
        return Finding(
            category="document",
            rule="own-document",
            severity=Severity.HIGH if passage.span >= 3 * LEAST else Severity.MEDIUM,
            start=start,
            end=end,
            excerpt=f"…({end - start} chars)",
            place=segment.place,
            provenance=segment.provenance,
            score=min(1.0, 0.6 + 0.05 * passage.shared),
            evidence=f"{passage.span} words of {name[-80:]}",
            digest=digest(segment.text[start:end], self._key),
            owasp=owasp,
            atlas=atlas,
            count=passage.shared,
        )
