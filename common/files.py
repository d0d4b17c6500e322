"""Writing files so that nothing half-written remains."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file name beside ``path``, which takes its place if the block succeeds and is removed if not.

    The temporary name ends like ``path``, because writers choose the format by the suffix.

    Args:
        path: file to write; its folder is made if it does not exist.

    Raises:
        OSError: If the folder cannot be made or written, or the disk is full; names the folder and the cure.
    """
    path = Path(path)
    check_writable(path.parent)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OSError(f"cannot write {path} ({error}): free some space, or choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json_file(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON file, whole or not at all, and return its path.

    Raises:
        OSError: See :func:`replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="ascii")
    return path


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_writable(folder: str | Path) -> None:
    """Make a folder and make sure that files can be written to it, before a long computation relies on it.

    Args:
        folder: made with its parents if it does not exist.

    Raises:
        OSError: If it is a file, or cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"cannot write to the folder {folder} ({error}): choose another one, or change its rights"
        ) from error
