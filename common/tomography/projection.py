"""Parallel-beam projection of axial slices and filtered back-projection.

Arrays are ``(X, Y)`` for one slice or ``(X, Y, Z)`` for Z of them, sinograms ``(bins, angles)`` or ``(bins, angles,
Z)``. Distances are in pixels, so pixels must be square. Slices are processed together: the geometry of an angle is
computed once for all of them. scikit-image has the same operators for one slice; ours must agree with it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from . import operators
from .checks import checked

_ANGLES_DEG = np.arange(180.0)


def radon(
    image: NDArray[np.floating], angles_deg: ArrayLike = _ANGLES_DEG, device: str | torch.device | None = None
) -> NDArray[np.float32]:
    """Line integrals of slices along parallel rays, for every angle.

    The slice is rotated around the pixel ``(X // 2, Y // 2)`` with bilinear interpolation, taken as 0 outside, and
    summed along X.

    Args:
        image: ``(X, Y)`` or ``(X, Y, Z)``.
        angles_deg: angles in degrees, ``(angles,)``.
        device: where torch shall do it; None: compiled kernels on the CPU, or torch where numba is missing.

    Returns:
        ``(bins, angles)`` or ``(bins, angles, Z)``, in image units times pixels. The bins, one pixel apart, cover the
        diagonal of the square around the slice; the ray through the axis of rotation is bin ``bins // 2``.

    Raises:
        ValueError: If the image has another number of axes, or a value is not finite.

    Source:
        Equal to ``skimage.transform.radon(circle=False)`` up to the rounding of float32.
    """
    slices, angles = checked(image, "image"), np.asarray(angles_deg, np.float64)
    projections = operators.project(slices, angles, bins_for(slices.shape), device)
    return projections.swapaxes(0, 1).reshape(-1, len(angles), *image.shape[2:])


def filtered_backprojection(
    sinogram: NDArray[np.floating],
    shape: tuple[int, int],
    angles_deg: ArrayLike = _ANGLES_DEG,
    device: str | torch.device | None = None,
) -> NDArray[np.float32]:
    """Slices from their sinograms: ramp filter, then back-projection with linear interpolation.

    Args:
        sinogram: ``(bins, angles)`` or ``(bins, angles, Z)`` as :func:`radon` gives it.
        shape: pixels (X, Y) of the slice.
        angles_deg: angles in degrees, evenly spread over half a turn, ``(angles,)``.
        device: as for :func:`radon`.

    Returns:
        ``(X, Y)`` or ``(X, Y, Z)``.

    Raises:
        ValueError: If the number of angles or bins does not fit the sinogram, or a value is not finite.

    Source:
        Equal to ``skimage.transform.iradon(filter_name="ramp", circle=False)`` up to the rounding of float32.
    """
    projections, angles = checked(sinogram, "sinogram").swapaxes(0, 1), np.asarray(angles_deg, np.float64)
    count, bins = projections.shape[:2]
    if len(angles) != count:
        raise ValueError(f"angles_deg must have one angle for each column of the sinogram ({count}), got {len(angles)}")
    if bins != bins_for(shape):
        raise ValueError(f"sinogram must have {bins_for(shape)} bins for slices of {shape}, got {bins}")
    slices = operators.backproject(operators.ramp_filter(projections, device), shape, angles, device)
    slices *= np.float32(np.pi / (2 * count))
    return slices.reshape(*shape, *sinogram.shape[2:])


def bins_for(shape: tuple[int, ...]) -> int:
    """Bins that cover a slice ``(X, Y)`` from every angle."""
    return int(np.ceil(np.sqrt(2) * max(shape[:2])))
