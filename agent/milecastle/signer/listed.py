"""The catalogue as the signer and the CA need it: the shipped files and the operator's own.

The only module of this room that knows where catalogue files lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from milecastle import shipped
from milecastle.catalogue import Catalogue, load
from milecastle.model import Problem


def catalogue(further: Sequence[Path]) -> tuple[Catalogue, list[Problem]]:
    """Load all files; a folder stands for its YAML files.

    An unreadable one is a problem among the others, not an error.
    """
    texts = shipped.texts("config", "catalogue")
    unread: list[Problem] = []
    for file in chain.from_iterable(map(files_of, further)):
        try:
            texts.append((str(file), file.read_text("utf-8")))
        except (OSError, ValueError) as error:
            unread.append(Problem(str(file), 0, f"cannot be read: {error}"))
    loaded, problems = load(texts)
    return loaded, [*unread, *problems]


def files_of(path: Path) -> list[Path]:
    return sorted(path.glob("*.yaml")) if path.is_dir() else [path]
