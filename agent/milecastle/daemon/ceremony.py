"""Have the host's CA made or checked, by a process that ends at once and keeps no key."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
)
"""Where Debian, Fedora, older Red Hat and SUSE keep the system's roots."""


class CeremonyError(OSError):
    """There is no usable CA; the message says why."""


@dataclass(frozen=True, slots=True)
class HostCA:
    """The public side of the host's CA."""

    certificate: Path
    """What clients have to trust."""
    bundle: Path
    """The system's roots and ours in one file, for clients that take a single file."""
    chain: str
    """PEM of the intermediate."""
    missing: frozenset[str]
    """Domains of the catalogue that it may not sign for."""
    expires: float
    """Unix time in seconds."""
    advice: str

    def covers(self, name: str) -> bool:
        """Whether certificates for this name would be accepted by clients."""
        labels = name.lower().rstrip(".").split(".")
        return not any(".".join(labels[start:]) in self.missing for start in range(len(labels)))


class Custody:
    """The host's CA while the daemon runs: what it is now, and its renewal."""

    def __init__(self, state: Path, catalogue: list[Path], owner: str) -> None:
        self._ask = (state, catalogue, owner)
        self._renewing = asyncio.Lock()
        self.ca: HostCA

    async def take(self) -> None:
        """Make the CA where there is none. CeremonyError where it can't be made."""
        self.ca = await hold(*self._ask)

    async def renew(self) -> None:
        """Put a new CA in place of the present one. CeremonyError: the old one stays."""
        async with self._renewing:
            self.ca = await hold(*self._ask, renew=True)
        log.warning("the CA was renewed: clients have to trust %s", self.ca.certificate)

    def covers(self, name: str) -> bool:
        """Whether certificates for this name would be accepted by clients."""
        return self.ca.covers(name)


async def hold(state: Path, catalogue: list[Path], owner: str, *, renew: bool = False) -> HostCA:
    """Make the CA where there is none, or anew; describe it. CeremonyError: it can't be made."""
    command = [sys.executable, "-I", "-m", "milecastle.signer.ceremony"]
    command += ["--state-dir", str(state), "--owner", owner]
    command += [word for path in catalogue for word in ("--catalogue", str(path))]
    command += ["--rotate"] * renew
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await child.communicate()
    if child.returncode:
        raise CeremonyError(errors.decode(errors="replace").strip() or "the CA was not made")
    told = json.loads(output)
    root = Path(told["root"])
    return HostCA(
        certificate=root,
        bundle=write_bundle(root),
        chain=(root.parent / "intermediate.pem").read_text(),
        missing=frozenset(told["missing"]),
        expires=told["expires"],
        advice=told["why"] if told["state"] == "kept" else "",
    )


def write_bundle(root: Path) -> Path:
    """Write the system's roots and ours beside the root, and return where."""
    system = next((path.read_text() for path in SYSTEM_BUNDLES if path.is_file()), "")
    bundle = root.parent / "bundle.pem"
    fresh = bundle.with_suffix(".new")
    fresh.write_text(system + root.read_text())
    fresh.chmod(0o644)
    return fresh.replace(bundle)
