"""Slices scanned in full: projection, counting, reconstruction."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from . import operators
from .detector import Detector
from .projection import bins_for

VIEWS = 180


def scan_exactly(
    values: NDArray[np.float32],
    border: NDArray[np.float32],
    counts: NDArray[np.float64],
    rngs: Sequence[np.random.Generator],
    detector: Detector,
    blur_px: tuple[float, float],
    device: str | torch.device | None,
) -> NDArray[np.float32]:
    """Scan slices that lie on a background of 0.

    Args:
        values: slices less their background, ``(X, Y, Z)``.
        border: the background of each, ``(Z,)``.
        counts: photons of a ray at its brightest, ``(Z,)``.
        rngs: source of randomness of each slice.
        detector: what is counted.
        blur_px: standard deviations of the blur before and after.
        device: where torch shall project; None for the CPU.

    Returns:
        Scanned slices less their background, ``(X, Y, Z)``.
    """
    shape = values.shape[:2]
    angles, bins = operators.view_angles(VIEWS), bins_for(shape) | 1
    projections = operators.project(operators.blur(values, operators.gaussian(blur_px[0])), angles, bins, device)
    outside = background_rays(max(shape), VIEWS) if detector.counts_transmission else np.float32(0)
    for z, rng in enumerate(rngs):
        background = border[z] * outside
        projections[..., z] = detector.noisy(projections[..., z] + background, counts[z], rng) - background
    return reconstruct(projections, shape, blur_px[1], device)


def reconstruct(
    projections: NDArray[np.float32], shape: tuple[int, int], blur_px: float, device: str | torch.device | None
) -> NDArray[np.float32]:
    """Filtered back-projection of ``(views, bins, Z)``, then the last blur: ``(X, Y, Z)``."""
    views = len(projections)
    filtered = operators.ramp_filter(projections, device)
    filtered *= np.float32(np.pi / (2 * views))
    slices = operators.backproject(filtered, shape, operators.view_angles(views), device)
    return operators.blur(slices, operators.gaussian(blur_px))


@functools.lru_cache(maxsize=4)
def background_rays(side: int, views: int) -> NDArray[np.float32]:
    """Rays through a square slice of ones, ``(views, bins)``."""
    square = np.ones((side, side, 1), np.float32)
    return operators.project(square, operators.view_angles(views), bins_for((side, side)) | 1)[..., 0]
