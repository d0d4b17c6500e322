"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, without the interpreter's lock and with NumPy's rules for divisions; cache the machine code.

    The cache gets a name for each package that the file is imported as (``common``, ``casnet.common``). By itself numba
    goes by the file alone, and what was compiled under one name cannot be loaded where only the other one exists.
    """
    function.__qualname__ = f"{function.__module__}.{function.__qualname__}"
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder that could hold the cache may be written: compile in every process
        return njit(nogil=True, error_model="numpy")(function)
