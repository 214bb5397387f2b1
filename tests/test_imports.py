"""The rooms of the architecture, as data, held against what the modules really import."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[1] / "agent" / "milecastle"
ADDONS = Path(__file__).parents[1] / "addons"


@dataclass(frozen=True)
class Room:
    may: str = ""
    """Rooms that it may import, all above it in the table."""
    pure: bool = False
    """No I/O, no clock, no randomness but as an argument."""
    packages: str = ""
    """What it may import beside the standard library."""


ROOMS = {
    "model": Room(pure=True),
    "shipped": Room(),
    "wire": Room("model", pure=True, packages="msgpack"),
    "yamldoc": Room("model", pure=True, packages="yaml"),
    "catalogue": Room("model yamldoc shipped", pure=True),
    "providers": Room("model", pure=True, packages="orjson pypdf brotli zstandard"),
    "detect": Room(
        "model yamldoc shipped",
        pure=True,
        packages="re2 yaml orjson phonenumbers stdnum tree_sitter tree_sitter_bash",
    ),
    "policy": Room("model yamldoc catalogue", pure=True),
    "inspection": Room("model catalogue providers detect policy", pure=True, packages="orjson"),
    "redteam": Room("model yamldoc providers inspection", pure=True, packages="orjson"),
    "settings": Room("model yamldoc policy shipped"),
    "kernel": Room("model shipped", packages="bcc offsets"),  # offsets: beside the loader
    "host": Room("model", packages="psutil"),
    "packets": Room("model", packages="scapy"),
    "pods": Room("model wire", packages="orjson"),
    "signer": Room("model shipped wire yamldoc catalogue", packages="cryptography"),
    "store": Room("model", packages="orjson cryptography"),
    "export": Room("model", packages="orjson"),
    "daemon": Room(
        "model shipped wire yamldoc catalogue policy settings kernel host signer store export",
        packages="watchdog psutil cryptography",
    ),
    "proxy": Room(
        "model wire yamldoc settings shipped packets catalogue providers detect policy inspection",
        packages="mitmproxy h11 h2 cryptography certifi OpenSSL brotli zstandard",
    ),
    "cli": Room(
        "model shipped wire yamldoc settings policy catalogue providers detect inspection redteam",
        packages="orjson",
    ),
}
"""As in the architecture. daemon, proxy and cli never import each other."""

ONLY = {"bcc": "kernel/loader.py", "scapy": "packets.py", "mitmproxy": "proxy/"}
"""Packages that have one importer: too heavy, or too near to hostile bytes, for two."""

IMPURE = frozenset(
    """
    os socket ssl select selectors asyncio threading multiprocessing subprocess signal
    time random secrets uuid pathlib shutil tempfile glob fcntl mmap ctypes logging sqlite3
    urllib.request http.client sched
    """.split()  # noqa: SIM905 - a table reads better
)
EXCUSED = {("providers/pdf.py", "logging"): "it silences pypdf, which would quote documents"}
IMPURE_FUNCTIONS = frozenset({"open", "print", "input", "breakpoint"})
IMPURE_METHODS = frozenset({"now", "today", "utcnow", "read_text", "read_bytes", "write_text"})
LONGEST_SCRIPT = 40


def rooms() -> Iterator[tuple[str, Path]]:
    for file in sorted(AGENT.rglob("*.py")):
        inside = file.relative_to(AGENT).parts
        if file.name != "__init__.py" or len(inside) > 1:
            yield inside[0].removesuffix(".py"), file


FILES = [pytest.param(room, file, id=str(file.relative_to(AGENT))) for room, file in rooms()]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of imported modules, relative ones as they resolve here."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield node.module or ""
            if node.module == "milecastle":
                yield from (f"milecastle.{alias.name}" for alias in node.names)


def typing_only(tree: ast.AST) -> set[ast.AST]:
    """Return what stands below ``if TYPE_CHECKING``: it is never imported at run time."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }


def test_imports_go_one_way():
    names = list(ROOMS)
    for at, (name, room) in enumerate(ROOMS.items()):
        assert set(room.may.split()) <= set(names[:at]), name


def test_every_module_stands_in_a_room():
    assert {room for room, _ in rooms()} <= set(ROOMS)


@pytest.mark.parametrize(("room", "file"), FILES)
def test_a_module_imports_only_what_its_room_may(room, file):
    may = {room, "__version__", *ROOMS[room].may.split()}
    packages = {"milecastle", *ROOMS[room].packages.split(), *sys.stdlib_module_names}
    for name in imported(ast.parse(file.read_text())):
        top, _, rest = name.partition(".")
        assert top in packages, f"{room} may not import {name}"
        if top == "milecastle" and rest:
            assert rest.split(".")[0] in may, f"{room} may not import {name}"


@pytest.mark.parametrize(("room", "file"), FILES)
def test_a_heavy_package_has_one_importer(room, file):
    inside = str(file.relative_to(AGENT))
    for name in imported(ast.parse(file.read_text())):
        owner = ONLY.get(name.partition(".")[0])
        assert owner is None or inside.startswith(owner), f"{name} belongs to {owner} alone"


@pytest.mark.parametrize(("room", "file"), [each for each in FILES if ROOMS[each.values[0]].pure])
def test_a_pure_room_touches_nothing(room, file):
    tree = ast.parse(file.read_text())
    inside = str(file.relative_to(AGENT))
    for name in imported(tree):
        if (inside, name) not in EXCUSED:
            assert name not in IMPURE and name.partition(".")[0] not in IMPURE, name
    unseen = typing_only(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node not in unseen:
            match node.func:
                case ast.Name(id=called):
                    assert called not in IMPURE_FUNCTIONS, f"line {node.lineno}: {called}()"
                case ast.Attribute(attr=called):  # of io, BytesIO alone is no I/O
                    assert ast.unparse(node.func) not in {"io.open", "io.FileIO"}
                    assert called not in IMPURE_METHODS, f"line {node.lineno}: .{called}()"


def test_an_addon_script_is_short_and_imports_the_proxy_room_alone():
    for file in ADDONS.glob("*.py"):
        assert file.stem not in {"inspect", "http", "types"}, "it would shadow the library's own"
        assert len(file.read_text().splitlines()) <= LONGEST_SCRIPT, file.name
        ours = [n for n in imported(ast.parse(file.read_text())) if n.startswith("milecastle")]
        assert all(name.startswith("milecastle.proxy") for name in ours if name != "milecastle")
