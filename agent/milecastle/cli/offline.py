"""What commands without a daemon judge with: catalogue, rules and policy from files."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milecastle import settings, shipped
from milecastle.cli.faults import InputError
from milecastle.model import Problem

if TYPE_CHECKING:
    from milecastle.catalogue import Catalogue
    from milecastle.detect import Engine
    from milecastle.policy import Policy

LARGEST_FILE = 4 << 20
"""Bytes of a policy, rule or catalogue file."""
FULLEST_FOLDER = 1000
"""Rule files of one folder."""


def text(file: Path) -> str:
    """Return a file's text, or raise InputError with what is wrong with it."""
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    if len(data) > LARGEST_FILE:
        raise InputError(f"{file} is larger than {LARGEST_FILE >> 20} MB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8: {error.reason} at byte {error.start}") from None


def shipped_rules() -> Path:
    """Return the folder of the rules that milecastle brings along."""
    return shipped.path("config", "rules")


def rule_files(folders: Sequence[Path] = ()) -> list[tuple[str, str]]:
    """Return name and text of the shipped rule files and of those in further folders."""
    return files_of((shipped_rules(), *folders))


def files_of(folders: Sequence[Path]) -> list[tuple[str, str]]:
    """Return name and text of the rule files in these folders; one may be a file itself."""
    files: list[Path] = []
    for folder in folders:
        if not folder.exists():
            raise InputError(f"{folder} is not there")
        found = [folder] if folder.is_file() else sorted(folder.rglob("*.yaml"))
        if len(found) > FULLEST_FOLDER:
            raise InputError(f"{folder} holds more than {FULLEST_FOLDER} rule files")
        files += found
    return [(str(file), text(file)) for file in files]


def engine(folders: Sequence[Path] = ()) -> Engine:
    """Return the detectors with the shipped rules and further ones.

    Their digests compare findings of this run only: the host's key belongs to the daemon.
    """
    from milecastle.detect import Engine  # only here: re2 and the rules take a while

    return Engine.load(rule_files(folders), key=secrets.token_bytes(32))


def catalogue(files: Sequence[Path] = ()) -> Catalogue:
    """Return the shipped catalogue with further files; InputError lists their problems."""
    from milecastle.catalogue import load

    given = [*shipped.texts("config", "catalogue"), *((str(file), text(file)) for file in files)]
    found, problems = load(given)
    refuse(problems)
    return found


def policy(file: Path | None, **known: Any) -> Policy:  # noqa: ANN401 - as policy.check takes them
    """Return the policy of a file with what is laid over it, or the shipped one alone.

    InputError lists the problems.
    """
    from milecastle.policy import check

    path = file or shipped.path("config", "policy.yaml")
    over = overrides(path) if file else []
    compiled, problems = check(text(path), str(path), overrides=over, **known)
    refuse(problems)
    assert compiled is not None, "no problem and no policy"
    return compiled


def overrides(policy: Path) -> list[tuple[str, str]]:
    """Return name and text of the files that are laid over a policy file, as the daemon does it."""
    folder = settings.overrides_of(policy)
    files = sorted(each for each in folder.glob("*.yaml") if not each.name.startswith("."))
    if len(files) > FULLEST_FOLDER:
        raise InputError(f"{folder} holds more than {FULLEST_FOLDER} files")
    return [(str(file), text(file)) for file in files]


def refuse(problems: Sequence[Problem]) -> None:
    """Raise InputError with all of the problems, if there are any."""
    if problems:
        raise InputError("\n".join(map(str, problems)))
