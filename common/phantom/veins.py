"""Coronary veins: they run beside the arteries, fill later and weaker, and are the classic false positives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from .courses import Points, Surface, draw_course

_GAP_MM = 1.0  # between the lumina of a vein and an artery


def draw_veins(
    surface: Surface, scale: float, arteries: Points, artery_mm: NDArray[np.float64], rng: np.random.Generator
) -> list[tuple[Points, NDArray[np.float64]]]:
    """Draw the great cardiac vein with the coronary sinus, the middle cardiac vein and a marginal vein.

    Args:
        surface: signed distance to the surface that the vessels run on, heart frame.
        scale: size of the heart relative to the average.
        arteries: centerline points of all arteries, ``(N, 3)``.
        artery_mm: lumen radius at these points, ``(N,)``.
        rng: source of randomness.

    Returns:
        Points ``(M, 3)`` in the heart frame and radii ``(M,)`` in mm of each vein.
    """
    angles = np.radians(np.linspace(52, -116, 8))
    ring = np.stack([14 + 36 * np.cos(angles), 35 * np.sin(angles), np.full(8, -12.0)], axis=1)
    mouth = np.array([[-12.0, -25, -19]])
    great = np.concatenate([[[15, 22, 58], [18, 28, 38], [21, 32, 20], [24, 33, 5]], ring, mouth])
    middle = np.array([[4, -14, 66], [1, -24, 48], [-2, -29, 28], [-4, -31, 10], [-6, -29, -6], [-8, -27, -13]])
    lateral = np.array([[44, 6, 50], [47, -4, 30], [46, -10, 10], [42, -18, -10]])
    size = rng.uniform(0.85, 1.25)
    plans = [(great, (0.8, 1.6, 2.0, 4.4)), (middle, (0.7, 1.1, 1.5, 2.1)), (lateral, (0.6, 0.8, 1.0, 1.3))]
    result = []
    for waypoints, stations_mm in plans:
        course = draw_course(waypoints * scale, surface, 3.2, rng, tortuosity=0.7)
        at = np.linspace(0, 1, len(course))
        radius_mm = size * np.interp(at, np.linspace(0, 1, len(stations_mm)), stations_mm)
        result.append((_evade(course, radius_mm, arteries, artery_mm), radius_mm))
    return result


def _evade(course: Points, radius_mm: NDArray[np.float64], arteries: Points, artery_mm: NDArray[np.float64]) -> Points:
    """Move a vein aside wherever it would touch an artery."""
    tree = cKDTree(arteries)
    for _ in range(12):
        distance, nearest = tree.query(course)
        missing = np.maximum(radius_mm + artery_mm[nearest] + _GAP_MM - distance, 0)
        away = (course - arteries[nearest]) / np.maximum(distance, 1e-3)[:, None]
        course = course + gaussian_filter1d(0.7 * missing[:, None] * away, 3.0, axis=0)
    return course
