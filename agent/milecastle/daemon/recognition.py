"""What a process runs and which AI client it is, added to who it is."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from functools import lru_cache
from typing import Any

from milecastle.catalogue.clients import Clients
from milecastle.host.programs import interpreter, script_of
from milecastle.model import Process

REMEMBERED = 4096

type Looks = tuple[str | None, tuple[str, ...], str | None]
"""Executable, arguments and folder of a process."""


class Recognition:
    """Complete processes; what looks the same is looked at once."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._known = lru_cache(REMEMBERED)(self._look)

    def __call__(self, process: Process) -> Process:
        """Return the process with its script, its client, and what gave that away."""
        script, client, evidence = self._known((process.exe, process.argv, process.cwd))
        return replace(process, script=script, client=client, client_evidence=evidence)

    def complete(self, process: dict[str, Any], told: object) -> None:
        """Note the client that a worker read from the user agent, where the process says less.

        What a request says of itself is anybody's word; it never overrules an executable, except
        that an editor or a browser runs the code of others.
        """
        known = process.get("client")
        match told:
            case {"id": str(client), "evidence": str(evidence)} if (
                client in self._clients.clients and (known is None or self._clients.is_host(known))
            ):
                process |= {"client": client, "client_evidence": evidence[:256]}

    def _look(self, looks: Looks) -> tuple[str | None, str | None, str]:
        exe, argv, cwd = looks
        script = script_of(exe, argv, cwd)
        renamed = bool(argv) and script is None and interpreter(exe) is not None
        title = posixpath.basename(argv[0]) if renamed else ""
        found = self._clients.of_process(exe, script, title, argv)
        return (script, found.id, found.evidence) if found else (script, None, "")
