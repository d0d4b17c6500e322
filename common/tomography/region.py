"""Slices of which a part is scanned, and the rest rendered as if it were."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import operators
from .detector import Detector
from .exact import VIEWS, reconstruct
from .fast import blur_as_scan, coarse_rays, coarse_shape, coarsening, scan_noise
from .projection import bins_for
from .scene import Scene

_FADE_PX = 16  # over this width what is scanned passes into what is not


def scan_region(scene: Scene, region: tuple[slice, slice]) -> NDArray[np.float32]:
    """Scan a box of slices that lie on a background of 0.

    The slice is split into one part that fades out towards the faces of the box, and is scanned, and the rest, which is
    blurred as a scan would: the sum has no seam. Rays through the box are counted as if they had crossed the whole
    slice, so that the noise has the same law on both sides of the faces; its grain ends there.

    Args:
        scene: the slices and the scanner.
        region: the box along X and Y, with start and stop.

    Returns:
        Rendered slices less their background, ``(X, Y, Z)``.
    """
    values, detector = scene.values, scene.detector
    share = _share(values.shape[:2], region)[..., None]
    rendered = blur_as_scan(values * (1 - share), scene.blur_px)
    part = operators.blur(np.ascontiguousarray((values * share)[region]), operators.gaussian(scene.blur_px[0]))
    bins = bins_for(part.shape) | 1
    rays = operators.project(part, operators.view_angles(VIEWS), bins, scene.device)
    whole = coarse_rays(scene, VIEWS)
    crossed = _resampled(whole, values.shape[:2], region, bins)
    for z, noise in enumerate(scan_noise(scene)):
        noise[region] = 0
        rendered[..., z] += noise
        rays[..., z] += _ray_noise(crossed[..., z], whole[..., z], scene.counts[z], scene.rngs[z], detector)
    rendered[region] += reconstruct(rays, part.shape[:2], scene.blur_px[1], scene.device)
    return rendered


def _share(shape: tuple[int, int], region: tuple[slice, slice]) -> NDArray[np.float32]:
    """How much of each pixel is scanned: 0 outside, rising from the faces of the box to 1, ``(X, Y)``.

    No fading at a face that is the slice's own.
    """
    shares = []
    for pixels, box in zip(shape, region, strict=True):
        place = np.arange(pixels)
        below = np.inf if box.start == 0 else place - box.start + 0.5
        above = np.inf if box.stop == pixels else box.stop - 0.5 - place
        inwards = np.clip(np.minimum(np.minimum(below, above) / _FADE_PX, 1), 0, 1)
        shares.append(np.broadcast_to(0.5 - 0.5 * np.cos(np.pi * inwards), place.shape))
    return np.asarray(np.outer(*shares), np.float32)


def _resampled(
    whole: NDArray[np.float32], shape: tuple[int, int], region: tuple[slice, slice], bins: int
) -> NDArray[np.float32]:
    """Rays of the whole slice at low resolution, read where the rays through the box lie: ``(views, bins, Z)``."""
    factor, angles = coarsening(shape), np.deg2rad(operators.view_angles(len(whole)))
    away = []  # of the axis of the box from that of the slice at low resolution, in pixels
    for box, blocks in zip(region, coarse_shape(shape), strict=True):
        away.append(box.start + (box.stop - box.start) // 2 - ((blocks // 2 + 0.5) * factor - 0.5))
    shift = np.cos(angles) * away[1] - np.sin(angles) * away[0]
    place = (np.arange(bins) - bins // 2 + shift[:, None]) / factor + whole.shape[1] // 2
    below = np.clip(np.floor(place).astype(int), 0, whole.shape[1] - 2)
    part = np.clip(place - below, 0, 1).astype(np.float32)[..., None]
    view = np.arange(len(whole))[:, None]
    return np.asarray((1 - part) * whole[view, below] + part * whole[view, below + 1])


def _ray_noise(
    crossed: NDArray[np.float32],
    whole: NDArray[np.float32],
    photons: float,
    rng: np.random.Generator,
    detector: Detector,
) -> NDArray[np.float32]:
    """Noise of the rays through the box, ``(views, bins)``; the range of all rays through the slice sets the scale."""
    rays = np.concatenate([crossed.ravel(), [whole.min(), whole.max()]])[None]
    noise = detector.noisy(rays, photons, rng) - rays
    return np.asarray(noise[0, :-2].reshape(crossed.shape))
