"""Courses of the main arteries in the grooves between the chambers.

Way-points are in the heart frame of an average heart, mm; every function returns points with equal steps, ``(N, 3)``.
"""

from __future__ import annotations

import numpy as np

from .courses import Points, Surface, arc_length, draw_course


def lad_course(surface: Surface, scale: float, start: Points, rng: np.random.Generator) -> Points:
    """Draw the left anterior descending artery: down the anterior groove and around the apex."""
    groove = np.array(
        [
            *([19, 34, -2], [16, 34, 10], [11, 33, 26], [8, 29, 45], [7, 22, 62]),
            *([8, 12, 76], [10, 0, 82], [11, -12, 78], [12, -20, 68], [12, -25, 56]),
        ],
        float,
    )
    groove[:, 0] += rng.normal(0, 1.5)
    path = np.concatenate([start[None], groove * scale])
    course = draw_course(path, surface, 2.6, rng, free_mm=18, tortuosity=1.25)
    return cut(course, float(np.clip(rng.normal(132, 15), 92, 165)) * scale)


def lcx_course(surface: Surface, scale: float, start: Points, dominance: str, rng: np.random.Generator) -> Points:
    """Draw the circumflex artery: along the mitral ring, to the crux where the left artery is dominant."""
    angles = np.radians(np.linspace(66, -108, 8))
    ring = np.stack([14 + 34.5 * np.cos(angles), 33.5 * np.sin(angles), np.full(8, -7.0)], axis=1)
    path = np.concatenate([start[None], ring * scale])
    course = draw_course(path, surface, 2.6, rng, free_mm=14, tortuosity=0.85)
    wanted = {"right": rng.normal(80, 17), "co": rng.normal(105, 10), "left": 999.0}[dominance]
    return cut(course, float(np.clip(wanted, 40, 999)) * scale)


def rca_course(surface: Surface, scale: float, start: Points, dominance: str, rng: np.random.Generator) -> Points:
    """Draw the right coronary artery: along the tricuspid ring, to the crux unless the left artery is dominant."""
    last = {"right": rng.normal(271, 8), "co": rng.normal(271, 8), "left": rng.normal(228, 12)}[dominance]
    angles = np.radians(np.linspace(112, last, 8))
    ring = np.stack([-16 + 29 * np.cos(angles), 3 + 31.5 * np.sin(angles), np.full(8, -7.0)], axis=1)
    path = np.concatenate([start[None], ring * scale])
    return draw_course(path, surface, 3.2, rng, free_mm=12)


def pda_course(surface: Surface, scale: float, start: Points, rng: np.random.Generator) -> Points:
    """Draw a posterior descending artery: from the crux down the posterior groove."""
    groove = np.array([[0.5, -30, 8], [3, -30, 24], [6, -26, 42], [9, -18, 60]]) * scale
    course = draw_course(np.concatenate([start[None], groove]), surface, 2.3, rng)
    return cut(course, float(np.clip(rng.normal(56, 11), 28, 75)) * scale)


def pla_course(surface: Surface, scale: float, start: Points, rng: np.random.Generator) -> Points:
    """Draw a posterolateral artery: past the crux, then over the inferior wall of the left ventricle."""
    groove = np.array([[6, -32, -6], [16, -33, 0], [24, -31, 14], [28, -27, 32], [28, -24, 46]]) * scale
    course = draw_course(np.concatenate([start[None], groove]), surface, 2.3, rng)
    return cut(course, float(np.clip(rng.normal(48, 12), 22, 75)) * scale)


def cut(points: Points, length_mm: float) -> Points:
    """Return the first ``length_mm`` of a course, at least 8 points."""
    return points[: max(8, int(np.searchsorted(arc_length(points), length_mm)))]
