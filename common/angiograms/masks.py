"""Vessel masks out of files: which of their values are vessel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .reading import read_angiogram

GREY_VESSEL = 127  # grey masks are 0 and 255, but JPEG files blur the edge
_ROUNDING = 1e-3  # of values that a NIfTI header scales


def read_masks(path: str | Path) -> NDArray[np.bool_]:
    """Read the vessel masks of an angiogram's frames, ``(T, H, W)``; see :func:`vessel_masks`.

    Raises:
        FileNotFoundError: If ``path`` leads nowhere.
        ValueError: If it cannot be read, or is no mask.
    """
    return vessel_masks(read_angiogram(path).frames, path)


def vessel_masks(values: NDArray[np.floating], path: str | Path) -> NDArray[np.bool_]:
    """Return where the values of a mask file are vessel.

    Args:
        values: all frames of the file, ``(T, H, W)``: 0 and 1; or grey, then vessel is what lies above 127.
        path: the file, for the error.

    Returns:
        Masks of the same shape.

    Raises:
        ValueError: If values are not finite, or neither 0 and 1 nor grey, as those of a branch map or of probabilities.
    """
    low, high = float(values.min()), float(values.max())  # NaN and infinity both come through
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{path}: the label holds NaN or infinite values; a label is 0 and 1, or 0 and 255")
    if high > GREY_VESSEL:
        return np.asarray(values > GREY_VESSEL)
    mask = np.asarray(values > 0.5)
    other = values[np.abs(values - mask) > _ROUNDING]
    if other.size:
        raise ValueError(
            f"{path}: a label is 0 and 1, or grey with vessels above {GREY_VESSEL}, but this one reaches from {low:g} "
            f"to {high:g} and holds {float(other[0]):g}; write (label > 0) as 1 if that is meant"
        )
    return mask
