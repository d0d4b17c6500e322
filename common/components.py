"""Connected components of masks, with voxels joined by a face, an edge or a corner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

try:
    from .accelerated import components as _accelerated
except ImportError:  # without numba
    _accelerated = None  # type: ignore[assignment]


def label_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the connected components of a mask.

    Args:
        mask: ``(H, W)`` with 8-connectivity, or ``(X, Y, Z)`` with 26-connectivity.

    Returns:
        Labels of the same shape, 0 outside and 1..n inside, in the order of each component's first voxel; and n.
    """
    mask = np.asarray(mask, dtype=bool)
    labels = np.zeros(mask.shape, np.int32)
    box = foreground_box(mask)
    if box is None:
        return labels, 0
    if _accelerated is not None and mask.ndim == 3:
        labels[box], count = _accelerated.label(mask[box])
    else:
        labels[box], count = ndimage.label(mask[box], np.ones((3,) * mask.ndim))
    return labels, int(count)


def remove_small_components(mask: NDArray[np.bool_], min_voxels: float) -> NDArray[np.bool_]:
    """Return the components of ``mask`` that have at least ``min_voxels`` voxels."""
    labels, count = label_components(mask)
    kept = np.bincount(labels[labels > 0], minlength=count + 1) >= max(min_voxels, 1)
    return np.asarray(kept[labels])


def keep_largest_components(mask: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Return the ``count`` largest components of ``mask``; of equals those that come first.

    Raises:
        ValueError: If ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    labels, total = label_components(mask)
    sizes = np.bincount(labels[labels > 0], minlength=total + 1)
    kept = np.zeros(total + 1, bool)
    kept[1 + np.argsort(-sizes[1:], kind="stable")[:count]] = True
    return np.asarray(kept[labels])


def foreground_box(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, ...] | None:
    """Return the smallest box around the true voxels, ``margin`` voxels wider where the array allows; None if empty."""
    box = []
    for axis in range(mask.ndim):
        # reduced one axis after another, so that each pass is over what the passes before have left
        line = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if len(line) == 0:
            return None
        box.append(slice(max(int(line[0]) - margin, 0), min(int(line[-1]) + 1 + margin, mask.shape[axis])))
        mask = mask[(slice(None),) * axis + (box[-1],)] if margin == 0 else mask
    return tuple(box)
