"""Growing masks by disks of pixels, slice by slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dilate_in_slices(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Grow a mask by a disk in every slice.

    Args:
        mask: ``(X, Y, Z)`` with slices along Z.
        radius_px: radius of the disk, at least 0; 2 gives the 13 pixels of MATLAB's and scikit-image's disk.
    """
    grown = np.zeros_like(mask)
    for across in range(-radius_px, radius_px + 1):
        reach = int(np.sqrt(radius_px**2 - across**2))
        for along in range(-reach, reach + 1):
            to_x, from_x = _overlap(across, mask.shape[0])
            to_y, from_y = _overlap(along, mask.shape[1])
            grown[to_x, to_y] |= mask[from_x, from_y]
    return grown


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Where a shifted axis lies on itself: the target and the source."""
    low, high = max(shift, 0), min(size + shift, size)
    return slice(low, max(high, low)), slice(low - shift, max(high, low) - shift)
