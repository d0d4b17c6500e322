"""Extra peak memory of one call, from the kernel's own high-water mark."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def extra_peak_mb(call: Callable[[], object]) -> float | None:
    """By how many MiB the resident memory rises during one call.

    Args:
        call: the work; called before, so that nothing is imported or compiled inside.

    Returns:
        MiB above what the process held before, or None on systems that are not Linux.
    """
    if not _CLEAR_REFS.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed but resident pages would be reused unseen
    _CLEAR_REFS.write_text("5")  # sets the high-water mark back to the present size
    before = _status_kb("VmRSS")
    call()
    return (_status_kb("VmHWM") - before) / 1024


def _status_kb(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    if found is None:
        raise OSError(f"{_STATUS} has no line {field}: this kernel does not report memory")
    return int(found.group(1))
