"""What the daemon makes before it starts anything: folders, a lock, copies, command lines."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from milecastle.catalogue import hosts
from milecastle.daemon import accounts, knowledge
from milecastle.daemon.supervisor import Spec
from milecastle.settings import Settings

KEY = 32


def folders(settings: Settings, who: accounts.Accounts) -> None:
    """Make the state and run directories; both may be entered by the unprivileged users."""
    for folder in (settings.state_dir, settings.run_dir):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
    for name in knowledge.FOLDERS:
        (settings.state_dir / name).mkdir(exist_ok=True)
        (settings.state_dir / name).chmod(0o700)
    signer = settings.state_dir / "signer"
    signer.mkdir(exist_ok=True)
    signer.chmod(0o700)
    os.chown(signer, who.signer_uid, -1)


@contextlib.contextmanager
def only_one(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run directory: two daemons on one would fight over its sockets."""
    with (run_dir / "milecastled.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another milecastled runs with {run_dir}") from None
        yield


def key(settings: Settings) -> bytes:
    """Return the host's key for digests and fingerprints: equal values stay equal for good."""
    file = settings.state_dir / "digest.key"
    with contextlib.suppress(FileExistsError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(file, flags, 0o600), "wb") as new:  # noqa: PTH123 - a descriptor
            new.write(secrets.token_bytes(KEY))
    made = file.read_bytes()
    if len(made) == KEY:
        return made
    file.unlink()  # a crash or a full disk left a piece of one
    return key(settings)


def further_catalogue(settings: Settings) -> list[tuple[str, str]]:
    """Return (file, text) of what the operator adds to the shipped catalogue. OSError, or
    UnicodeDecodeError, where a file can't be read.
    """
    files = [(str(path), path.read_text("utf-8")) for path in settings.catalogue]
    if settings.intercept.hosts:
        wanted = settings.intercept
        files.append(("intercept.hosts", hosts.document(wanted.hosts, shape=wanted.shape)))
    return files


def published_catalogue(settings: Settings) -> list[Path]:
    """Write the operator's catalogue to where the signer's user may read it."""
    folder = settings.run_dir / "catalogue"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    copies = []
    for number, (file, text) in enumerate(further_catalogue(settings)):
        copy = folder / f"{number:03}-{Path(file).stem}.yaml"
        copy.write_text(text)
        copy.chmod(0o644)
        copies.append(copy)
    return copies


def worker(settings: Settings, cgroup: Path) -> Spec:
    """Return how a worker is run."""
    command = [sys.executable, "-I", "-m", "milecastle.proxy.main"]
    command += ["--run-dir", str(settings.run_dir)]
    return Spec("worker", tuple(command), accounts.PROXY, cgroup, need=(settings.run_dir,))


def pods(settings: Settings) -> Spec:
    """Return how the reader of pods is run: with the host's network, and nothing else."""
    command = [sys.executable, "-I", "-m", "milecastle.pods.main"]
    command += ["--run-dir", str(settings.run_dir)]
    return Spec("pods", tuple(command), accounts.PODS, need=(settings.run_dir,))


def signer(settings: Settings, catalogue: list[Path], descriptor: int) -> Spec:
    """Return how the signer is run: no network, one writable folder."""
    state = settings.state_dir
    command = [sys.executable, "-I", "-m", "milecastle.signer.main"]
    command += ["--socket-fd", str(descriptor), "--key", str(state / "signer/intermediate.key")]
    command += ["--chain", str(state / "ca/intermediate.pem")]
    command += ["--audit", str(state / "signer/audit.jsonl"), "--peer-user", accounts.PROXY]
    command += [word for path in catalogue for word in ("--catalogue", str(path))]
    return Spec(
        "signer",
        tuple(command),
        accounts.SIGNER,
        no_network=True,
        descriptors=(descriptor,),
        need=(settings.run_dir, state / "ca"),
        write=(state / "signer",),
    )
