"""Seeded masks, predictions and logits that look like coronary arteries; the same in every run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def coronary_mask(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.bool_]:
    """Two trees with side branches that run over an ellipsoid in the middle of the volume.

    Args:
        shape: ``(X, Y, Z)``, at least 64 voxels each.
        seed: of the branches' courses.

    Returns:
        Mask, ``(X, Y, Z)``; radii 5 down to 1.4 voxels, so that the share of foreground falls with the volume.
    """
    random = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    for side in (-1.0, 1.0):
        stem = _course(random, azimuth=side * 0.4, turn=side * 2.4, polar=(0.5, 2.4))
        _paint(mask, stem, 5.0, 2.2)
        for start in (0.15, 0.3, 0.45, 0.6, 0.75):
            _paint(mask, _side_branch(random, stem, start), 3.6 - 2.0 * start, 1.4)
    return mask


def imperfect_prediction(mask: NDArray[np.bool_], seed: int = 0) -> NDArray[np.bool_]:
    """A prediction with the usual errors: half of it shifted, half too thick, broken, with 8 false blobs.

    Args:
        mask: truth, ``(X, Y, Z)``.
        seed: of the places.

    Returns:
        Mask of the same shape.
    """
    random = np.random.default_rng(seed)
    middle = mask.shape[0] // 2
    thick = ndimage.binary_dilation(mask[:middle])
    prediction = np.concatenate([thick, np.roll(mask[middle:], 1, axis=2)])
    points = np.argwhere(mask)
    for center in points[random.integers(len(points), size=6)]:
        _fill_ball(prediction, center, 6.0, value=False)
    for center in random.integers(8, np.array(mask.shape) - 8, size=(8, 3)):
        _fill_ball(prediction, center, 3.5, value=True)
    return prediction


def noisy_logits(mask: NDArray[np.bool_], seed: int = 0) -> NDArray[np.float32]:
    """Logits of a network in training: the blurred mask plus noise, practically without equal values.

    Args:
        mask: truth, ``(X, Y, Z)``.
        seed: of the noise.

    Returns:
        Logits of the same shape, most of them in -5 to 4.
    """
    blurred = ndimage.gaussian_filter(mask.astype(np.float32), 1.0)
    noise = np.random.default_rng(seed).standard_normal(mask.shape, dtype=np.float32)
    return np.asarray(8 * blurred - 4 + noise, np.float32)


def _course(
    random: np.random.Generator, azimuth: float, turn: float, polar: tuple[float, float]
) -> NDArray[np.float64]:
    """A wavy line on the unit sphere as angles ``(N, 2)``: azimuth and polar angle in radians."""
    along = np.linspace(0, 1, 1000)
    waves = 0.06 * np.sin(2 * np.pi * (3 * along + random.random()))
    return np.stack([azimuth + turn * along + waves, polar[0] + (polar[1] - polar[0]) * along - waves], axis=1)


def _side_branch(random: np.random.Generator, stem: NDArray[np.float64], start: float) -> NDArray[np.float64]:
    azimuth, polar = stem[int(start * (len(stem) - 1))]
    course = _course(random, 0.0, random.uniform(-0.9, 0.9), (0.0, random.uniform(0.4, 0.9)))
    return np.asarray(course - course[0] + (azimuth, polar))


def _paint(mask: NDArray[np.bool_], angles: NDArray[np.float64], first_radius: float, last_radius: float) -> None:
    azimuth, polar = angles.T
    sphere = np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=1)
    centers = np.array(mask.shape) * (0.5 + 0.3 * sphere)
    for center, radius in zip(centers, np.linspace(first_radius, last_radius, len(centers)), strict=True):
        _fill_ball(mask, center, radius, value=True)


def _fill_ball(mask: NDArray[np.bool_], center: NDArray[Any], radius: float, *, value: bool) -> None:
    low = np.maximum(np.floor(center - radius).astype(int), 0)
    high = np.minimum(np.ceil(center + radius).astype(int) + 1, mask.shape)
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    grid = np.ogrid[box]
    distance2 = sum((axis - middle) ** 2 for axis, middle in zip(grid, center, strict=True))
    mask[box][distance2 <= radius**2] = value
