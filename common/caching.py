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
        values = [entry for value in item.values() for entry in (value if isinstance(value, list) else [value])]
        named = [value for value in values if isinstance(value, str | os.PathLike)]
        # not Path.exists, which raises an error for a long text
        paths = sorted(Path(value) for value in named if os.path.exists(value))  # noqa: PTH110
        files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
        return bytes(pickle_hashing({"item": dict(item), "states": states}))  # of a dictionary it sorts the keys
