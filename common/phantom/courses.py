"""Courses of vessels on the epicardial surface: drawn through way-points, or grown from a parent vessel."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

Points = NDArray[np.float64]
Surface = Callable[[NDArray[np.float32]], NDArray[np.float32]]

STEP_MM = 0.5
"""Distance between neighbouring points of a course."""

_PROBES = 0.5 * np.concatenate([np.eye(3), -np.eye(3)])  # offsets for differences, mm


def arc_length(points: Points) -> NDArray[np.float64]:
    """Return the distance along the polyline from its first point, ``(N,)`` mm."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def resample(points: Points, step_mm: float = STEP_MM) -> Points:
    """Return a smooth curve through ``points`` with equal steps of about ``step_mm``."""
    s = arc_length(points)
    keep = np.concatenate([[True], np.diff(s) > 1e-6])
    fine = CubicSpline(s[keep], points[keep])(np.linspace(0, s[-1], max(4, round(4 * s[-1] / step_mm))))
    s = arc_length(fine)
    at = np.linspace(0, s[-1], max(2, round(s[-1] / step_mm) + 1))
    return np.stack([np.interp(at, s, fine[:, k]) for k in range(3)], axis=1)


def normals(surface: Surface, points: Points) -> Points:
    """Return outward unit normals of the level sets of ``surface`` at ``points``, ``(N, 3)``."""
    probes = (points + _PROBES[:, None]).reshape(-1, 3)
    d = surface(probes.astype(np.float32)).reshape(2, 3, len(points)).astype(np.float64)
    gradient = (d[0] - d[1]).T
    return np.asarray(gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9))


def lay_on(surface: Surface, points: Points, height_mm: float | NDArray[np.float64], rounds: int = 4) -> Points:
    """Move points along the normals until they lie ``height_mm`` above ``surface``."""
    for _ in range(rounds):
        gap = surface(points.astype(np.float32)).astype(np.float64) - height_mm
        points = points - np.clip(gap, -4, 4)[:, None] * normals(surface, points)
    return points


def draw_course(
    waypoints: Points,
    surface: Surface,
    height_mm: float,
    rng: np.random.Generator,
    free_mm: float = 0.0,
    tortuosity: float = 1.0,
) -> Points:
    """Draw a winding course near way-points, ``height_mm`` above a surface.

    Args:
        waypoints: ``(N, 3)`` mm; the first one is kept exactly.
        surface: signed distance to the surface.
        height_mm: distance between the course and the surface.
        rng: source of randomness.
        free_mm: length of the first part that passes from the first way-point onto the surface.
        tortuosity: size of the winding relative to the usual.

    Returns:
        Points with equal steps, ``(M, 3)`` mm.
    """
    points = resample(waypoints, 1.0)
    for _ in range(3):
        points = _released(points, lay_on(surface, points, height_mm, 2), free_mm)
        points[1:-1] = gaussian_filter1d(points, 2.0, axis=0, mode="nearest")[1:-1]
        points = resample(points, 1.0)
    sideways = np.cross(normals(surface, points), np.gradient(points, axis=0))
    sideways /= np.maximum(np.linalg.norm(sideways, axis=1, keepdims=True), 1e-9)
    envelope = np.clip(arc_length(points) / 10, 0, 1)[:, None]
    winding = _noise(len(points), 4.5, rng) * 1.15 + _noise(len(points), 10.0, rng) * 1.5
    points = points + tortuosity * envelope * winding[:, None] * sideways
    lift = height_mm + 0.5 * _noise(len(points), 6.0, rng)
    points = _released(points, lay_on(surface, points, lift, 2), free_mm)
    points[1:-1] = gaussian_filter1d(points, 1.2, axis=0, mode="nearest")[1:-1]
    return resample(points)


def grow(
    start: Points,
    heading: Points,
    goal: Callable[[Points], Points],
    length_mm: float,
    surface: Surface,
    height_mm: float,
    rng: np.random.Generator,
    obstacles: Points,
) -> Points:
    """Grow a side branch over the surface, turning towards a goal and away from other vessels.

    Args:
        start: first point, ``(3,)`` mm, usually on a parent's centerline.
        heading: first direction, ``(3,)``.
        goal: gives the wanted direction at a point.
        length_mm: length after which to stop.
        surface: signed distance to the surface.
        height_mm: distance between the course and the surface.
        rng: source of randomness.
        obstacles: points of other vessels, ``(N, 3)`` mm; growth ends before it meets one.

    Returns:
        Points with equal steps, ``(M, 3)`` mm; shorter than ``length_mm`` where a vessel was in the way.
    """
    tree = cKDTree(obstacles) if len(obstacles) else None
    points = [np.asarray(start, np.float64)]
    direction = _unit(heading)
    count = round(length_mm)
    turn = _noise(count, 4.0, rng) * 0.1
    for k in range(count):
        here = points[-1]
        normal = normals(surface, here[None])[0]
        wanted = _unit(goal(here)) * 0.085
        if tree is not None and k > 6:
            distance, nearest = tree.query(here)
            if distance < 2.6:
                break
            if distance < 11:
                wanted = wanted + (here - obstacles[nearest]) / distance * (0.16 * (1 - distance / 11))
        direction = direction + wanted + turn[k] * _cross(normal, direction)
        direction = _unit(direction - (direction @ normal) * normal * min(1.0, k / 4))
        there = here + direction
        gap = float(surface(there[None].astype(np.float32))[0]) - height_mm
        points.append(there - np.clip(gap, -0.6, 0.6) * normal)
    if len(points) < 4:
        return np.asarray(points)
    smooth = np.asarray(points)
    smooth[1:-1] = gaussian_filter1d(smooth, 1.8, axis=0, mode="nearest")[1:-1]
    return resample(smooth)


def _released(before: Points, after: Points, free_mm: float) -> Points:
    """Blend from ``before`` at the first point to ``after`` from ``free_mm`` on."""
    if free_mm <= 0:
        weight = np.ones((len(before), 1))
        weight[0] = 0
    else:
        weight = np.clip(arc_length(before) / free_mm, 0, 1)[:, None] ** 2
    return before + weight * (after - before)


def _noise(count: int, sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth noise of unit variance, ``(count,)``."""
    margin = int(4 * sigma)
    smooth = gaussian_filter1d(rng.normal(size=count + 2 * margin), sigma)[margin : margin + count]
    return np.asarray(smooth * np.sqrt(2 * sigma * np.sqrt(np.pi)))


def _unit(vector: Points) -> Points:
    """Return ``vector`` at length one."""
    return np.asarray(vector / max(math.sqrt(float(vector @ vector)), 1e-9))


def _cross(a: Points, b: Points) -> Points:
    """Return the cross product of two vectors; NumPy's takes ten times as long for so few numbers."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
