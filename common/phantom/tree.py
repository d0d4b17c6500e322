"""Random coronary trees on a heart: both coronary arteries with their branches, radii, variants, and the veins.

The published numbers that the draws aim at are listed at their constants; ``tests/common/test_phantom_tree.py``
compares 200 trees with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..centerline.branch import Branch
from .courses import Points, arc_length, grow, resample
from .grooves import lad_course, lcx_course, pda_course, pla_course, rca_course
from .heart import Heart
from .radii import Sprout, branch_radii
from .surface import SurfaceGrid
from .veins import draw_veins

DOMINANCE = {"right": 0.85, "left": 0.11, "co": 0.04}
"""Which artery feeds the posterior wall, and how often. Source: the 1600 sides of ImageCAS-X, as the next two."""
RAMUS_SHARE = 0.25
ABSENT_LEFT_MAIN_SHARE = 0.014


@dataclass(frozen=True)
class CoronaryTree:
    """The coronary arteries and veins of one heart, in the patient frame (RAS, mm).

    Attributes:
        branches: arteries, parents before their children.
        veins: coronary veins; label 0, no parents.
        dominance: "right", "left" or "co".
        ramus: whether there is an intermediate branch.
        left_main: whether there is a left main stem; without it LAD and LCx have ostia of their own.
    """

    branches: tuple[Branch, ...]
    veins: tuple[Branch, ...]
    dominance: str
    ramus: bool
    left_main: bool


def draw_tree(heart: Heart, rng: np.random.Generator) -> CoronaryTree:
    """Draw the coronary tree of a heart.

    Args:
        heart: the anatomy that the vessels run on.
        rng: source of all randomness.

    Returns:
        Arteries with at least LAD, LCx and RCA, and veins beside them.
    """
    dominance = str(rng.choice(list(DOMINANCE), p=list(DOMINANCE.values())))
    ramus = bool(rng.random() < RAMUS_SHARE)
    left_main = bool(rng.random() >= ABSENT_LEFT_MAIN_SHARE)
    builder = _Builder(heart, rng)
    builder.left(dominance, ramus, left_main)
    builder.right(dominance)
    radii = branch_radii(builder.sprouts, rng)
    courses = [sprout.points for sprout in builder.sprouts]
    veins = draw_veins(builder.surface, heart.scale, np.concatenate(courses), np.concatenate(radii), rng)
    branches = tuple(
        Branch(heart.to_patient(sprout.points), radius, sprout.label, sprout.parent, sprout.parent_point)
        for sprout, radius in zip(builder.sprouts, radii, strict=True)
    )
    return CoronaryTree(
        branches,
        tuple(Branch(heart.to_patient(points), radius_mm, 0) for points, radius_mm in veins),
        dominance,
        any(b.label == 8 for b in branches),
        left_main,
    )


class _Builder:
    """Draws the courses of one tree, heart frame, vessel after vessel."""

    def __init__(self, heart: Heart, rng: np.random.Generator) -> None:
        self.heart = heart
        self.rng = rng
        self.surface = SurfaceGrid(heart.epicardium, heart.scale)
        self.sprouts: list[Sprout] = []

    def left(self, dominance: str, ramus: bool, left_main: bool) -> None:
        """Draw the left coronary artery."""
        lad, lcx = self._left_trunks(dominance, ramus, left_main)
        rng = self.rng
        marks = [rng.uniform(18, 34), rng.uniform(44, 66), rng.uniform(74, 92)]
        diagonals = ((4, 0.97, 52, 0.72), (5, 0.8, 42, 0.7), (14, 0.35, 26, 0.6))
        for mark, (label, chance, length, share) in zip(marks, diagonals, strict=True):
            if rng.random() < chance:
                self.sprout(lad, mark, label, self._goal(0.85, 0.55), length, share)
        first = rng.uniform(16, 32)
        second_mark = first + rng.uniform(18, 32)
        for mark, label, chance, length, share in ((first, 6, 0.95, 55, 0.82), (second_mark, 7, 0.62, 42, 0.74)):
            if rng.random() < chance:
                self.sprout(lcx, mark, label, self._goal(0.95, 0.2), length, share)
        end = self.sprouts[lcx].points[-1]
        last = len(self.sprouts[lcx].points) - 1
        if dominance == "left":
            self.add(pda_course(self.surface, self.heart.scale, end, rng), 12, lcx, last, 1.0)
            before_end = rng.uniform(14, 24)
            self.sprout(lcx, arc_length(self.sprouts[lcx].points)[-1] - before_end, 13, self._goal(0.95, 0.1), 42, 0.75)
        elif dominance == "co":
            self.sprout(lcx, arc_length(self.sprouts[lcx].points)[-1] - 4, 13, self._goal(0.95, 0.1), 42, 0.8)

    def _left_trunks(self, dominance: str, ramus: bool, left_main: bool) -> tuple[int, int]:
        """Draw stem, LAD, LCx and intermediate branch; return the indices of LAD and LCx."""
        rng = self.rng
        ostium = self.ostium("left_sinus", np.array([0.70, 0.60, 0.38]) + rng.normal(0, 0.06, 3))
        fork = np.array([20.0, 32.0, -8.0]) * self.heart.scale
        if left_main:
            length = float(np.clip(rng.lognormal(np.log(8.5), 0.4), 3.5, 17))
            heading = (fork - ostium) / np.linalg.norm(fork - ostium)
            bend = np.cross(heading, rng.normal(size=3)) * 0.06 * length
            stem = resample(np.stack([ostium, ostium + heading * length / 2 + bend, ostium + heading * length]))
            trunk = self.add(stem, 1, diameter_mm=float(np.clip(rng.normal(4.12, 0.5), 2.9, 5.4)))
            origins: list[tuple[Points, int, int]] = [(stem[-1], trunk, len(stem) - 1)] * 2
        else:
            second = self.ostium("left_sinus", np.array([0.75, 0.30, 0.55]))
            origins = [(ostium, -1, -1), (second, -1, -1)]
        lcx_share = float(np.clip(rng.normal(0.88, 0.07), 0.65, 1.0))
        (start, parent, at), (other, other_parent, other_at) = origins
        lad = self.add(lad_course(self.surface, self.heart.scale, start, rng), 2, parent, at, 1.0, diameter_mm=3.3)
        lcx_share = min(1.25, lcx_share * 1.3) if dominance == "left" else lcx_share
        lcx = self.add(
            lcx_course(self.surface, self.heart.scale, other, dominance, rng),
            3,
            other_parent,
            other_at,
            lcx_share,
            diameter_mm=2.95,
        )
        if ramus:
            goal = self._goal(0.9, 0.32)
            points = self.side(start, np.array([0.85, 0.15, 0.5]), goal, rng.normal(50, 12), clear_mm=15)
            self.keep(points, 8, parent if left_main else lad, at if left_main else 0, rng.normal(0.6, 0.08))
        return lad, lcx

    def right(self, dominance: str) -> None:
        """Draw the right coronary artery."""
        rng = self.rng
        ostium = self.ostium("right_sinus", np.array([-0.87, 0.40, 0.35]) + rng.normal(0, 0.06, 3))
        course = rca_course(self.surface, self.heart.scale, ostium, dominance, rng)
        diameter = rng.normal(2.8, 0.35) if dominance == "left" else rng.normal(3.8, 0.5)
        rca = self.add(course, 9, diameter_mm=float(np.clip(diameter, 2.0, 5.0)))
        length = arc_length(course)[-1]
        end, last = course[-1], len(course) - 1
        if dominance in ("right", "co"):
            self.add(pda_course(self.surface, self.heart.scale, end, rng), 10, rca, last, 1.0)
        if dominance == "right":
            self.add(
                pla_course(self.surface, self.heart.scale, end, rng),
                11,
                rca,
                last,
                float(np.clip(rng.normal(0.86, 0.08), 0.6, 1.0)),
            )
        rv = self._goal(0.95, -0.1)
        for mark, chance, size, share in ((rng.uniform(24, 36), 0.45, 26, 0.42), (rng.uniform(48, 66), 0.75, 36, 0.5)):
            if rng.random() < chance and mark < length - 8:
                self.sprout(rca, mark, 14, rv, size, share)

    def ostium(self, sinus: str, direction: Points) -> Points:
        """Return the point 0.8 mm before ``direction`` from the centre of an aortic sinus leaves the aortic blood."""
        center = np.asarray(self.heart.ellipsoids[sinus].center, np.float64)
        ray = center + np.arange(0, 22, 0.1)[:, None] * direction / np.linalg.norm(direction)
        outside = self.heart.aorta(ray.astype(np.float32)) > 0
        return np.asarray(ray[max(int(np.argmax(outside)) - 8, 0)])

    def add(
        self,
        points: Points,
        label: int,
        parent: int = -1,
        parent_point: int = -1,
        share: float = 1.0,
        diameter_mm: float = 0.0,
    ) -> int:
        """Add a vessel and return its index; ``share`` is its diameter relative to its sister's."""
        self.sprouts.append(Sprout(points, label, parent, parent_point, share, diameter_mm))
        return len(self.sprouts) - 1

    def keep(self, points: Points, label: int, parent: int, parent_point: int, share: float) -> None:
        """Add a side branch unless it came out too short to be seen."""
        if arc_length(points)[-1] >= 9:
            self.add(points, label, parent, parent_point, float(np.clip(share, 0.38, 1.0)))

    def side(self, start: Points, heading: Points, goal: _Goal, length: float, clear_mm: float = 7) -> Points:
        """Grow a side branch from ``start``; vessels within ``clear_mm`` of it are no obstacles."""
        others = np.concatenate([s.points[4:] for s in self.sprouts])
        others = others[np.linalg.norm(others - start, axis=1) > clear_mm]
        length = float(np.clip(length, 12, 90)) * self.heart.scale
        points = grow(start, heading, goal, length, self.surface, 2.2, self.rng, others)
        arc = arc_length(points)
        curls = (arc > 10) & (np.linalg.norm(points - start, axis=1) < 0.6 * arc)
        return points[: int(np.argmax(curls))] if curls.any() else points

    def sprout(self, parent: int, mark: float, label: int, goal: _Goal, length: float, share: float) -> None:
        """Grow a side branch from a parent, ``mark`` mm after its start, at 40 to 75 degrees."""
        points = self.sprouts[parent].points
        at = int(np.clip(np.searchsorted(arc_length(points), mark), 2, len(points) - 8))
        along = points[at + 2] - points[at - 2]
        along /= np.linalg.norm(along)
        wanted = goal(points[at])
        across = wanted - (wanted @ along) * along
        across = across / max(float(np.linalg.norm(across)), 1e-9)
        angle = np.radians(self.rng.uniform(40, 75))
        heading = np.cos(angle) * along + np.sin(angle) * across
        grown = self.side(points[at], heading, goal, self.rng.normal(length, 0.24 * length))
        self.keep(grown, label, parent, at, self.rng.normal(share, 0.09))

    def _goal(self, apical: float, lateral: float) -> _Goal:
        """Return the direction towards the apex, turned from the anterior to the lateral wall."""
        return _Goal(apical, lateral + float(self.rng.normal(0, 0.1)), 14 * self.heart.scale)


@dataclass(frozen=True)
class _Goal:
    """Direction towards the apex with a component around the left ventricle."""

    apical: float
    lateral: float
    axis_l_mm: float

    def __call__(self, point: Points) -> Points:
        l, s = point[0] - self.axis_l_mm, point[1]  # noqa: E741  the axis is called l
        radius = max(float(np.hypot(l, s)), 1e-6)
        return np.array([self.lateral * s / radius, -self.lateral * l / radius, self.apical])
