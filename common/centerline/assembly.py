"""From a volume to windows and back: cut at any place, average where windows overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def cut_window(volume: Tensor, start: Sequence[int], size: Sequence[int], value: float = 0.0) -> Tensor:
    """Copy a window out of a volume; what lies outside the volume is filled.

    Args:
        volume: ``(C, *spatial)``.
        start: first voxel of the window on each spatial axis; may be negative.
        size: voxels of the window.
        value: what stands outside.

    Returns:
        ``(C, *size)``.
    """
    window = volume.new_full((len(volume), *size), value)
    here, there = _overlap(start, size, volume.shape[1:])
    window[here] = volume[there]
    return window


def assemble(
    windows: Iterable[Tensor], starts: NDArray[np.int64], shape: Sequence[int], weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Put windows back where they were cut; where they overlap, take their weighted mean.

    Args:
        windows: ``(C, *size)`` each, for example probabilities. A generator is read one window at a time, so that no
            more than one need be in memory.
        starts: first voxel of each window, ``(N, spatial axes)``; what overhangs the volume is dropped.
        shape: spatial shape of the volume.
        weights: above 0, ``(*size)``: ones, or MONAI's ``compute_importance_map`` to trust the middle of a window more.

    Returns:
        The means, ``(C, *shape)``, 0 where no window lies, and a mask of where one lies, ``(*shape)``.

    Raises:
        ValueError: If there is no window (then there is no channel to return), not as many as starts, or a weight is
            not above 0.
    """
    if not (weights > 0).all():
        raise ValueError(f"weights must be above 0, got a minimum of {float(weights.min())}")
    total: Tensor | None = None
    weight = torch.zeros(tuple(shape), dtype=weights.dtype, device=weights.device)
    for window, start in zip(windows, starts, strict=True):
        if total is None:
            total = torch.zeros((len(window), *shape), dtype=weights.dtype, device=weights.device)
        here, there = _overlap(start, weights.shape, shape)
        total[there] += (window * weights)[here]
        weight[there[1:]] += weights[here[1:]]
    if total is None:
        raise ValueError("windows must not be empty: without one the channels of the result are not known")
    covered = weight > 0
    return total / torch.where(covered, weight, 1), covered


def _overlap(
    start: Sequence[int] | NDArray[np.int64], size: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index the common part of window and volume: in the window, and in the volume, all channels first."""
    here, there = [slice(None)], [slice(None)]
    for first, edge, length in zip(map(int, start), size, shape, strict=True):
        low = min(max(first, 0), length)
        high = max(min(first + edge, length), low)  # equal to low, and both slices empty, where nothing is common
        here.append(slice(low - first, high - first))
        there.append(slice(low, high))
    return tuple(here), tuple(there)
