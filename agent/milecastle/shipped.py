"""Where the files that milecastle ships are: inside an installed package, else in the checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent.parent


def path(*parts: str) -> Path:
    """Return the path of a shipped file or folder: ``path("bpf", "connect.c")``.

    FileNotFoundError means a broken installation, never a wrong setting.
    """
    for root in (PACKAGE / "shipped", CHECKOUT):
        candidate = root.joinpath(*parts)
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"{'/'.join(parts)} is missing from this installation of milecastle")


def text(*parts: str) -> tuple[str, str]:
    """Return (file, text) of one shipped file."""
    file = path(*parts)
    return str(file), file.read_text("utf-8")


def texts(*parts: str) -> list[tuple[str, str]]:
    """Return (file, text) of the YAML files of a shipped folder, in the order of their names."""
    return [(str(file), file.read_text("utf-8")) for file in sorted(path(*parts).glob("*.yaml"))]
