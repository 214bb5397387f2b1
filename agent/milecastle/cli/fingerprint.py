"""`milecastle fingerprint`: make passages of an organisation's own files known to the detectors.

Files are opened here and read by `indexing`, unprivileged. An index holds keyed hashes, the files'
names below the folder, and no text; it is root's, and workers get it as an opened file.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from milecastle.cli import escaping, faults, keeping, reader, walking
from milecastle.cli.command import Verb, json_option
from milecastle.cli.faults import InputError
from milecastle.cli.terminal import Column, Terminal, clock, plural, size
from milecastle.detect.fingerprints import Builder

FOLDER = "fingerprints"
MOST = 64
"""Indexes that workers are handed."""
SHOWN = 20
"""Skipped files that are named."""
COLUMNS = (
    Column("NAME", least=8),
    Column("FILES", right=True),
    Column("TEXT", right=True),
    Column("INDEX", right=True),
    Column("MADE"),
    Column("FOLDER", least=10),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read the arguments of ``fingerprint add``."""
    json_option(parser)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder, or one file")
    parser.add_argument(
        "--name", type=keeping.named, metavar="NAME", help="what it is called; DIR's own name"
    )
    keeping.state_option(parser)


def add(options: argparse.Namespace, terminal: Terminal) -> int:
    """Index a folder, in place of what was indexed under the same name."""
    source = options.folder.absolute()
    name = options.name or default_name(source)
    kept = keeping.folder(options, FOLDER)
    file = kept / f"{name}.idx"
    if not file.exists() and len(list(kept.glob("*.idx"))) >= MOST:
        raise InputError(f"there are {MOST} indexes: remove one, or index a folder above several")
    key = host_key(kept.parent)
    started = time.monotonic()
    builder, told = Builder(key), walking.Told()
    with reader.Reader(key) as reads:
        for found in walking.files(source, told):
            hashes, why = reads.hashes(found.descriptor)
            if why:
                told.skip(found.name, why)
            elif hashes:
                builder.add_hashes(found.name, hashes)
                told.take(found.size)
            else:
                told.skip(found.name, "less than a passage of text")
    if not told.files:
        raise InputError(f"{source}: no text was found in it; nothing was changed")
    taken = keeping.write(file, builder.finish())
    outcome = {
        "name": name, "folder": str(source), "files": told.files, "bytes": told.bytes,
        "index_bytes": taken, "skipped": told.skipped, "made": time.time(), "more": told.more,
    }  # fmt: skip
    keeping.write(file.with_suffix(".json"), [json.dumps(outcome).encode()])
    live = keeping.reloaded(options.run_dir)
    if options.json:
        terminal.json({**outcome, "seconds": round(time.monotonic() - started, 3)})
        return faults.FINE
    terminal.line(
        f"{name}: {plural(told.files, 'file')} with {size(told.bytes)}, an index of {size(taken)}"
    )
    for why, names in told.reasons.items():
        shown = ", ".join(map(escaping.line, names[:SHOWN]))
        more = f" and {told.skipped[why] - len(names)} more" if told.skipped[why] > SHOWN else ""
        terminal.line(f"left out, {why}: {shown}{more}")
    if told.more:
        terminal.line(f"not looked at: {told.more}")
    if not live:
        terminal.line("no daemon runs: it will be used when one does")
    return faults.FINE


def default_name(source: Path) -> str:
    """Return a name made of a folder's own."""
    name = "-".join(part for part in map_letters(source.name).split("-") if part)[:48].strip("-")
    if not keeping.NAME.fullmatch(name):
        raise InputError(f"{source} has no name to call it by: say --name")
    return name


def map_letters(text: str) -> str:
    return "".join(each if each.isascii() and each.isalnum() else "-" for each in text.lower())


def host_key(state: Path) -> bytes:
    """Return the key that this host's fingerprints are made with."""
    file = state / "digest.key"
    try:
        key = file.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != 32:
        raise InputError(f"{file} is not there: milecastled makes it when it starts first")
    return key


def show(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print every index."""
    found = [told(file) for file in sorted(keeping.folder(options, FOLDER).glob("*.idx"))]
    if options.json:
        for each in found:
            terminal.json(each)
    elif not found:
        terminal.line("no index: 'milecastle fingerprint add DIR' makes one")
    else:
        terminal.table(COLUMNS, [row(each) for each in found])
    return faults.FINE


def told(index: Path) -> dict[str, Any]:
    """Return what was noted when an index was made; its size if that is lost."""
    try:
        note = json.loads(index.with_suffix(".json").read_text())
        return dict(note)
    except (OSError, ValueError, TypeError):
        return {"name": index.stem, "index_bytes": index.stat().st_size}


def row(index: dict[str, Any]) -> tuple[object, ...]:
    """Return the cells of one index."""
    return (
        index["name"],
        index.get("files", "?"),
        size(index.get("bytes", 0)),
        size(index["index_bytes"]),
        clock(index.get("made")),
        escaping.line(str(index.get("folder", "?"))),
    )


def remove(options: argparse.Namespace, terminal: Terminal) -> int:
    """Look for the passages of a folder no longer."""
    file = keeping.folder(options, FOLDER) / f"{options.name}.idx"
    return keeping.remove(options, terminal, file, f"index {options.name}")


VERBS = {
    "fingerprint add": Verb(
        add_arguments, add, "  sudo milecastle fingerprint add /srv/plans --name plans"
    ),
    "fingerprint list": Verb(keeping.list_arguments, show, "  sudo milecastle fingerprint list"),
    "fingerprint remove": Verb(
        keeping.remove_arguments, remove, "  sudo milecastle fingerprint remove plans"
    ),
}
