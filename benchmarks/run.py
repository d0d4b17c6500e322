"""One case: compare, time, probe."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from .case import Case, Variant
from .probe import probe
from .timing import copy_bandwidth, interleave


@dataclass(frozen=True)
class Row:
    """Figures of one variant; those of a variant whose package is missing are None.

    Args:
        module: file in ``cases/``.
        case: what is done.
        size: on what.
        variant: how.
        equality: in which sense the result is the peer's.
        seconds: CPU seconds of each round.
        speedups: peer's time over ours, round by round.
        peak_mb: extra peak memory of a warm call in MiB.
        memory_share: that over the peer's.
        of_limit: time over the time that the least memory traffic would take at copy bandwidth.
        first_call_s: CPU seconds of the first call in a fresh process.
        floor: least accepted median speed-up.
        memory_ceiling: largest accepted memory share.
    """

    module: str
    case: str
    size: str
    variant: str
    equality: str = "n/a"
    seconds: list[float] | None = None
    speedups: list[float] | None = None
    peak_mb: float | None = None
    memory_share: float | None = None
    of_limit: float | None = None
    first_call_s: float | None = None
    floor: float | None = None
    memory_ceiling: float | None = None


def measure(module: str, size: str, case: Case, rounds: int) -> list[Row]:
    """Compare every variant with the peer, then time them interleaved, then probe each in a fresh process.

    Args:
        module: file in ``cases/`` that the case comes from.
        size: ``"quick"`` or ``"full"``.
        case: what to measure.
        rounds: interleaved rounds.

    Returns:
        One row per variant, the peer first.

    Raises:
        AssertionError: If a variant's result is not the peer's; nothing has been timed then.
    """
    torch.set_num_threads(1)
    data = case.prepare()
    variants = [variant for variant in case.variants if variant.available]
    equality = _compare(case, variants, data)
    seconds = interleave([functools.partial(variant.run, data) for variant in variants], rounds)
    del data
    probes = [probe(module, size, case.title, variant.name) for variant in variants]
    bandwidth = copy_bandwidth()
    peer_mb = probes[0].peak_mb

    rows = {variant.name: Row(module, case.name, case.size, variant.name) for variant in case.variants}
    for variant, times, probed in zip(variants, seconds, probes, strict=True):
        traffic = variant.traffic_bytes
        rows[variant.name] = Row(
            module=module,
            case=case.name,
            size=case.size,
            variant=variant.name,
            equality=equality[variant.name],
            seconds=times,
            speedups=[peer / ours for peer, ours in zip(seconds[0], times, strict=True)],
            peak_mb=probed.peak_mb,
            memory_share=probed.peak_mb / peer_mb if probed.peak_mb is not None and peer_mb else None,
            of_limit=float(np.median(times)) * bandwidth / traffic if traffic else None,
            first_call_s=probed.first_call_s,
            floor=variant.floor,
            memory_ceiling=variant.memory_ceiling,
        )
    return list(rows.values())


def _compare(case: Case, variants: list[Variant], data: object) -> dict[str, str]:
    expected = case.peer.run(data)
    others = (variant for variant in variants if variant is not case.peer)
    return {case.peer.name: "reference"} | {other.name: case.check(other.run(data), expected) for other in others}
