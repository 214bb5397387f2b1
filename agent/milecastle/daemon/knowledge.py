"""What this host's operators add for the detectors: rules, canaries, indexes of own documents.

Files of root's, handed to the workers as they are: texts, and opened index files that are mapped
there and never stored. Nothing in them is understood here; `milecastle rules check` tells an
operator what is wrong with a rule, and so does a worker's log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milecastle.model import Problem

log = logging.getLogger(__name__)

USUAL_RULES = Path("/etc/milecastle/rules.d")
CANARIES = "canaries"
DOCUMENTS = "fingerprints"
FOLDERS = (CANARIES, DOCUMENTS)
"""Below the state directory, written by `milecastle canary` and `milecastle fingerprint`."""
MOST_FILES = 500
LARGEST = 4 << 20
"""Bytes of all rule files together."""
MOST_INDEXES = 64
"""Descriptors that travel with one frame."""


@dataclass(frozen=True, slots=True)
class Document:
    """An index that is open for the workers."""

    name: str
    descriptor: int
    identity: tuple[int, int, int]
    """Device, inode and time of change: another file under the same name is another index."""


class Knowledge:
    """Holds what was read last, and the indexes open."""

    def __init__(self, rules: Sequence[Path], state_dir: Path) -> None:
        self._folders = (*rules, state_dir / CANARIES)
        self._indexes = state_dir / DOCUMENTS
        self._rules: list[list[str]] = []
        self._documents: list[Document] = []
        self._left: list[Document] = []
        """Those of before: a frame that is not sent yet may still name them."""
        self.problems: list[Problem] = []
        self.reload()

    @property
    def watched(self) -> list[Path]:
        """Paths at which a change means that something may have to be read again."""
        folders = [folder for folder in (*self._folders, self._indexes) if folder.is_dir()]
        return [*self._folders, self._indexes, *(folder / "any" for folder in folders)]

    def reload(self) -> bool:
        """Read everything; return whether it is something else now. Problems are kept."""
        before, self.problems = self.problems, []
        rules = self._read_rules()
        documents = self._open_documents()
        same = [one.identity for one in documents] == [one.identity for one in self._documents]
        if same:
            close(documents)
        else:
            close(self._left)
            self._left, self._documents = self._documents, documents
        changed = not same or rules != self._rules
        self._rules = rules
        for problem in self.problems if self.problems != before else ():
            log.error("%s", problem)
        return changed

    def told(self) -> dict[str, Any]:
        """Return what workers are told; `descriptors` go with it."""
        return {"rules": self._rules, "documents": [one.name for one in self._documents]}

    @property
    def descriptors(self) -> list[int]:
        return [one.descriptor for one in self._documents]

    def health(self) -> Mapping[str, Any]:
        """Return what there is, for `status`."""
        canaries = [name for name, _ in self._rules if f"/{CANARIES}/" in name]
        return {
            "rule_files": len(self._rules) - len(canaries),
            "canaries": len(canaries),
            "documents": [one.name for one in self._documents],
            "problems": [str(problem) for problem in self.problems],
        }

    def close(self) -> None:
        """Close every index."""
        close(self._documents)
        close(self._left)
        self._documents, self._left = [], []

    def _read_rules(self) -> list[list[str]]:
        files: list[Path] = []
        for folder in self._folders:
            files += sorted(folder.rglob("*.yaml")) if folder.is_dir() else [folder]
        found: list[list[str]] = []
        left = LARGEST
        for file in files[:MOST_FILES]:
            try:
                text = read(file, left)
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                self._say(file, f"cannot be read: {error}")
                continue
            left -= len(text)
            found.append([str(file), text])
        if len(files) > MOST_FILES:
            self._say(
                files[MOST_FILES], f"over {MOST_FILES} rule files: this and more are left out"
            )
        return found

    def _open_documents(self) -> list[Document]:
        files = sorted(self._indexes.glob("*.idx")) if self._indexes.is_dir() else []
        found = []
        for file in files[:MOST_INDEXES]:
            try:
                descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError as error:
                self._say(file, f"cannot be read: {error}")
                continue
            seen = os.fstat(descriptor)
            if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.geteuid():
                self._say(file, "is no file of root's")
                os.close(descriptor)
                continue
            identity = (seen.st_dev, seen.st_ino, seen.st_mtime_ns)
            found.append(Document(file.stem, descriptor, identity))
        if len(files) > MOST_INDEXES:
            self._say(files[MOST_INDEXES], f"over {MOST_INDEXES} indexes: the rest is left out")
        return found

    def _say(self, file: Path, what: str) -> None:
        self.problems.append(Problem(str(file), 0, what))


def read(file: Path, most: int) -> str:
    """Return a rule file's text. OSError where it is larger than what is left of the budget."""
    with file.open("rb") as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise OSError(0, f"all rule files together are larger than {LARGEST >> 20} MB")
    return data.decode()


def close(documents: Sequence[Document]) -> None:
    for each in documents:
        with contextlib.suppress(OSError):
            os.close(each.descriptor)
