"""The shipped manifests as Python values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "config" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
DOCUMENTS: list[dict[str, Any]] = [
    document for file in FILES for document in yaml.safe_load_all(file.read_text())
]


def of(kind: str, name: str = "") -> dict[str, Any]:
    """Return the one document of a kind, of this name if one is given."""
    (found,) = (
        each
        for each in DOCUMENTS
        if each["kind"] == kind and each["metadata"]["name"].endswith(name)
    )
    return found


POD: dict[str, Any] = of("DaemonSet")["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
SETTINGS: str = of("ConfigMap", "settings")["data"]["milecastled.yaml"]
POLICY: str = of("ConfigMap", "policy")["data"]["policy.yaml"]
