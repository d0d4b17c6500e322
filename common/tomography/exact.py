"""Slices scanned in full: projection, counting, reconstruction."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray

from . import operators
from .projection import bins_for
from .scene import Scene

VIEWS = 180


def scan_exactly(scene: Scene) -> NDArray[np.float32]:
    """Scan slices that lie on a background of 0.

    Args:
        scene: the slices and the scanner.

    Returns:
        Scanned slices less their background, ``(X, Y, Z)``.
    """
    shape, detector = scene.values.shape[:2], scene.detector
    angles, bins = operators.view_angles(VIEWS), bins_for(shape) | 1
    blurred = operators.blur(scene.values, operators.gaussian(scene.blur_px[0]))
    projections = operators.project(blurred, angles, bins, scene.device)
    outside = background_rays(max(shape), VIEWS) if detector.counts_transmission else np.float32(0)
    for z, rng in enumerate(scene.rngs):
        background = scene.border[z] * outside
        projections[..., z] = detector.noisy(projections[..., z] + background, scene.counts[z], rng) - background
    return reconstruct(projections, shape, scene.blur_px[1], scene.device)


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
