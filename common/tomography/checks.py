"""Arrays of slices and sinograms, as every function here takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def checked(array: NDArray[np.floating], name: str) -> NDArray[np.float32]:
    """The array as float32 with three axes."""
    if array.ndim not in (2, 3):
        raise ValueError(f"{name} must have 2 axes, or 3 with the slices last, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers only: replace NaN and infinite values first")
    return np.ascontiguousarray(array, np.float32).reshape(*array.shape[:2], -1)
