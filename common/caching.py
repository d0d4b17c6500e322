"""Caches of prepared cases that notice when a file has changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.data.utils import pickle_hashing


class FileHash:
    """Hash of a case for MONAI's ``PersistentDataset`` that follows its files as well as their names.

    MONAI's own looks at the entry of the data list alone. A label that was corrected and saved under its old name, as
    in MONAI Label, would then be served from the cache as it was before.
    """

    def __call__(self, item: Mapping[str, Any]) -> bytes:
        """Return the hash of an entry, and of size and time of every file that it names, also those in a folder."""
        paths = [
            Path(value) for value in item.values() if isinstance(value, str | os.PathLike) and Path(value).exists()
        ]
        files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return bytes(pickle_hashing([dict(item), states]))
