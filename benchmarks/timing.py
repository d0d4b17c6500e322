"""Process-CPU times of interleaved calls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

SHORTEST = 0.05  # CPU seconds; a quicker call is repeated until one measurement takes that long


def cpu_seconds(call: Callable[[], object], repeats: int = 1) -> float:
    """CPU time of this process for one call, the mean over ``repeats``."""
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats


def interleave(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Time every call once per round, in the order A B C A B C.

    Args:
        calls: the work; each must have been called before, so that nothing is compiled inside the clock.
        rounds: number of measurements of each.

    Returns:
        CPU seconds, one list of ``rounds`` values for each call.
    """
    repeats = [max(1, math.ceil(SHORTEST / max(cpu_seconds(call), 1e-6))) for call in calls]
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for times, call, repeat in zip(seconds, calls, repeats, strict=True):
            times.append(cpu_seconds(call, repeat))
    return seconds


def copy_bandwidth() -> float:
    """Bytes per second (read plus written) of one thread copying an array that fits into no cache."""
    source = np.ones(2**26, np.float32)
    target = np.empty_like(source)
    np.copyto(target, source)
    best = min(cpu_seconds(lambda: np.copyto(target, source)) for _ in range(3))
    return 2 * source.nbytes / best
