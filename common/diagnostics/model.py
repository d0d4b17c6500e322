"""Which model made a mask: the bundle with its version, and the checksums of its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import sha256_of


def describe_model(bundle_root: str | Path, checkpoints: Sequence[str | Path]) -> dict[str, Any]:
    """Return name and version of a bundle and the SHA-256 of its weights.

    Args:
        bundle_root: folder with ``configs/metadata.json``.
        checkpoints: files of weights.

    Returns:
        Plain values for a JSON file; null where the bundle has no metadata.

    Raises:
        FileNotFoundError: If a file of weights is absent.
    """
    path = Path(bundle_root) / "configs" / "metadata.json"
    metadata = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return {
        "name": metadata.get("name"),
        "version": metadata.get("version"),
        "weights": [{"file": Path(path).name, "sha256": sha256_of(path)} for path in checkpoints],
    }
