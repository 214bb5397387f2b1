"""What Python source does, told in the words of ``effects``: read by its syntax tree."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

from milecastle.detect.tools.paths import host, is_local, path
from milecastle.detect.vocabulary import vocabulary

LONGEST = 40_000
"""Characters; more is not read."""
NODES = 20_000
SHELL_CALLS = vocabulary(
    "os.system os.popen subprocess.getoutput subprocess.getstatusoutput commands.getoutput "
    "subprocess.run subprocess.call subprocess.check_call subprocess.check_output subprocess.Popen "
    "asyncio.create_subprocess_shell pty.spawn os.execl os.execv os.execvp os.spawnl"
)
FETCH_CALLS = vocabulary(
    "urlopen urllib.request.urlopen request.urlopen requests.get httpx.get urllib2.urlopen "
    "urllib.urlopen urlretrieve urllib.request.urlretrieve"
)
SEND_CALLS = vocabulary(
    "requests.post requests.put requests.patch httpx.post httpx.put requests.request"
)
RUN_CALLS = frozenset({"exec", "eval", "compile", "marshal.loads", "pickle.loads"})
TREE_CALLS = frozenset({"shutil.rmtree", "rmtree"})
DELETE_CALLS = frozenset({"os.remove", "os.unlink", "os.rmdir"})
COPY_CALLS = frozenset(
    {"shutil.copy", "shutil.copyfile", "shutil.copy2", "shutil.move", "os.rename"}
)


def told(text: str) -> Iterator[tuple[str, str]]:
    """Yield (verb, object); ``shell`` is source for a shell. Nothing where it is not Python."""
    if len(text) > LONGEST:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    names = imports(tree)
    constants = assigned(tree)
    called: set[str] = set()
    for count, node in enumerate(ast.walk(tree)):
        if count > NODES:
            return
        if isinstance(node, ast.Call):
            name = called_name(node.func, names)
            called.add(name)
            yield from call(name, node, constants)
    sockets = any(name.endswith((".connect", "create_connection")) for name in called)
    if sockets and (called & {"os.dup2", "pty.spawn"} or any("dup2" in name for name in called)):
        yield "opens-shell", "a socket's other end"


def imports(tree: ast.AST) -> dict[str, str]:
    """Return what the imported names stand for: ``sp`` is subprocess, ``run`` subprocess.run."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({a.asname or a.name: a.name for a in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return names


def assigned(tree: ast.AST) -> dict[str, str]:
    """Return the names that are bound to a text."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                text = literal(node.value, found)
                if text:
                    found[target.id] = text
    return found


def called_name(node: ast.expr, names: dict[str, str], depth: int = 0) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and depth < 8:
        return f"{called_name(node.value, names, depth + 1)}.{node.attr}"
    if isinstance(node, ast.Call) and depth < 8:
        inner = called_name(node.func, names, depth + 1)
        if inner == "__import__" and node.args:
            return literal(node.args[0], {}) or inner
        return inner
    return ""


def literal(node: ast.expr | None, constants: dict[str, str], depth: int = 0) -> str:
    """Return a text that the source says, with ``…`` for what it does not."""
    if node is None or depth > 8:
        return ""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.Name):
        return constants.get(node.id, "")
    if isinstance(node, ast.JoinedStr):
        parts = (literal(v, constants, depth + 1) or "…" for v in node.values)
        return "".join(parts)
    if isinstance(node, ast.FormattedValue):
        return literal(node.value, constants, depth + 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left = literal(node.left, constants, depth + 1)
        return left + literal(node.right, constants, depth + 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left, right = (literal(n, constants, depth + 1) for n in (node.left, node.right))
        return f"{left}/{right}" if left or right else ""
    if isinstance(node, ast.Call):
        name = called_name(node.func, {})
        if name.endswith("Path.home"):
            return "~"
        if node.args and name.rpartition(".")[2] in {"Path", "expanduser", "join", "expandvars"}:
            return "/".join(literal(arg, constants, depth + 1) for arg in node.args)
    return ""


def call(name: str, node: ast.Call, constants: dict[str, str]) -> Iterator[tuple[str, str]]:
    first = node.args[0] if node.args else None
    text = literal(first, constants)
    last = name.rpartition(".")[2]
    if name in SHELL_CALLS:
        if isinstance(first, ast.List | ast.Tuple):
            words = [literal(item, constants) for item in first.elts]
            text = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words if word)
        if text:
            yield "shell", text
    elif name in RUN_CALLS and first is not None and fetches(first):
        yield "runs-fetched", "code from " + (fetched_host(first, constants) or "a host")
    elif name in TREE_CALLS and text:
        yield "deletes-tree", path(text)
    elif name in DELETE_CALLS and text:
        yield "deletes", path(text)
    elif name in {"open", "io.open"} and text:
        mode = literal(node.args[1], constants) if len(node.args) > 1 else ""
        mode = mode or next(
            (literal(k.value, constants) for k in node.keywords if k.arg == "mode"), ""
        )
        yield ("writes" if set(mode) & set("wax+") else "reads"), path(text)
    elif last in {"read_text", "read_bytes", "write_text", "write_bytes"}:
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        text = literal(receiver, constants)
        if text:
            yield ("reads" if last.startswith("read") else "writes"), path(text)
    elif name in COPY_CALLS and len(node.args) > 1:
        yield "reads", path(text)
        target = literal(node.args[1], constants)
        if target:
            yield "writes", path(target)
    elif name in SEND_CALLS:
        yield from sent(node, text, constants)


def sent(node: ast.Call, url: str, constants: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what a POST takes along: an opened file, the environment."""
    target = host(url)
    verb = "sends-near" if target and is_local(target) else "sends"
    for keyword in node.keywords:
        if keyword.arg not in {"data", "files", "json", "content", "params"}:
            continue
        for inner in ast.walk(keyword.value):
            if isinstance(inner, ast.Call) and called_name(inner.func, {}) == "open" and inner.args:
                what = literal(inner.args[0], constants)
                if what:
                    yield verb, f"{path(what)} to {target or 'a host'}"
            elif isinstance(inner, ast.Attribute) and inner.attr == "environ":
                yield verb, f"output of env to {target or 'a host'}"


def fetches(node: ast.expr) -> bool:
    return any(
        isinstance(inner, ast.Call)
        and called_name(inner.func, {}).rpartition(".")[2] in {"urlopen", "get", "b64decode"}
        and (called_name(inner.func, {}) in FETCH_CALLS or "urlopen" in called_name(inner.func, {}))
        for inner in ast.walk(node)
    )


def fetched_host(node: ast.expr, constants: dict[str, str]) -> str:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and host(inner.value):
            return host(inner.value)
    return ""
