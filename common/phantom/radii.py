"""Radii along a coronary tree: taper between bifurcations, and published rules at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from .courses import STEP_MM, Points, arc_length

BIFURCATION_EXPONENT = 2.39
"""D^x = d1^x + d2^x. Source: PMC11380967, 2.39 (2.24 to 2.54), not Murray's 3."""

TAPER_PER_MM = {1: 0.0, 2: 0.0026, 3: 0.0022, 9: 0.0012}
"""Relative loss of diameter between bifurcations; other branches 0.004."""

SMALLEST_DIAMETER_MM = 1.0
"""Branches end where they would become thinner."""


@dataclass(frozen=True)
class Sprout:
    """A vessel's course before it has radii.

    Attributes:
        points: ``(N, 3)`` mm with equal steps.
        label: branch id of ImageCAS-X.
        parent: index of the parent, -1 at the aorta.
        parent_point: index of the parent's point that it leaves from.
        share: diameter relative to the larger sister at the bifurcation.
        diameter_mm: diameter at an ostium; not used where there is a parent.
    """

    points: Points
    label: int
    parent: int
    parent_point: int
    share: float
    diameter_mm: float


def branch_radii(sprouts: Sequence[Sprout], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the radius at every point of every vessel, in mm.

    At a bifurcation the mother's diameter D and the daughters' d1 >= d2 = share * d1 obey D^x = d1^x + d2^x with x
    drawn around 2.39; for the usual shares this is Finet's D = 0.678 (d1 + d2) as well.

    Args:
        sprouts: vessels, parents before children.
        rng: source of randomness.

    Returns:
        One array ``(N,)`` for each vessel.
    """
    result: list[NDArray[np.float64]] = []
    for index, sprout in enumerate(sprouts):
        s = arc_length(sprout.points)
        at_ostium = sprout.parent < 0
        start = sprout.diameter_mm if at_ostium else _start(sprouts, index, result[sprout.parent], rng)
        diameter = start * np.exp(-TAPER_PER_MM.get(sprout.label, 0.004) * rng.uniform(0.75, 1.25) * s)
        if sprout.label == 9:
            diameter *= 1 + 0.04 * np.exp(-(((s - 18) / 10) ** 2))  # the RCA widens first
        last = len(sprout.points) - 1
        children = [c for c in sprouts if c.parent == index and c.parent_point < last - 4]
        for child in children:
            diameter[child.parent_point :] *= _larger(child.share, rng)
        diameter = gaussian_filter1d(diameter, 1.5 / STEP_MM, mode="nearest")
        ripple = gaussian_filter1d(rng.normal(size=len(s) + 80), 8)[40:-40] * 5.3
        diameter *= 1 + 0.025 * ripple[: len(s)]
        result.append(np.maximum(diameter, SMALLEST_DIAMETER_MM) / 2)
    return result


def _start(sprouts: Sequence[Sprout], index: int, parent: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Return the first diameter of a child."""
    child = sprouts[index]
    mother = sprouts[child.parent]
    before = parent[max(0, child.parent_point - round(3 / STEP_MM))] * 2
    if child.parent_point < len(mother.points) - 5:  # a side branch: the mother goes on as the larger daughter
        return float(before * child.share * _larger(child.share, rng))
    shares = [c.share for c in sprouts if c.parent == child.parent and c.parent_point == child.parent_point]
    exponent = BIFURCATION_EXPONENT
    return float(before * child.share / sum(v**exponent for v in shares) ** (1 / exponent))


def _larger(share: float, rng: np.random.Generator) -> float:
    """Return the larger daughter's diameter relative to the mother's."""
    exponent = rng.normal(BIFURCATION_EXPONENT, 0.08)
    return float((1 + share**exponent) ** (-1 / exponent))
