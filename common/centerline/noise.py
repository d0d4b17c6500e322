"""What goes wrong in a predicted centerline, done to a reference one: for training a network as it will be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from .branch import Branch

_NODE_MM = 5.0  # between the points that jitter; a displaced point every 0.5 mm would be a zigzag
_WALK_STEP_MM = 1.0
_WALK_TURN = 0.35  # sideways part of each step of a random walk: bends of coronary size, radius about a centimetre
_OTHER = 14  # label of a branch whose name is not known


def jitter(branches: Sequence[Branch], random: RandomState, sd_mm: NDArray[np.float64]) -> list[Branch]:
    """Displace the lines by smooth noise: a normal displacement every 5 mm, a cubic spline between.

    A branch starts with the displacement of its parent at that place, so the tree stays joined.

    Args:
        branches: in RAS mm, parents first.
        random: source of the noise.
        sd_mm: standard deviation along each axis, ``(3,)``.

    Returns:
        The same branches, elsewhere.
    """
    moves: list[NDArray[np.float64]] = []
    for branch in branches:
        arc, joined = branch.arc_mm, branch.parent >= 0
        knots = max(int(np.ceil(arc[-1] / _NODE_MM)), 1) + 1
        nodes = random.normal(size=(knots, 3)) * sd_mm
        if joined:
            nodes[0] = moves[branch.parent][branch.parent_point]
        if arc[-1] > 0:
            moves.append(CubicSpline(np.linspace(0, arc[-1], knots), nodes, bc_type="natural")(arc))
        else:
            moves.append(np.repeat(nodes[:1], len(arc), axis=0))
    return [replace(branch, points=branch.points + move) for branch, move in zip(branches, moves, strict=True)]


def delete_segments(
    branches: Sequence[Branch], random: RandomState, prob: float, length_mm: tuple[float, float]
) -> list[Branch]:
    """Cut a stretch out of some branches, as where a stenosis or a blurred slice hid the vessel.

    Args:
        branches: in RAS mm.
        random: source of the cuts.
        prob: chance of each branch to lose a stretch.
        length_mm: shortest and longest stretch, uniform between; a branch that is shorter can vanish.

    Returns:
        What is left, pieces of two points and more. No branch has a parent any more: it may be the part that is gone.
    """
    pieces: list[tuple[Branch, NDArray[np.bool_]]] = []
    for branch in branches:
        arc = branch.arc_mm
        kept = np.ones(len(arc), dtype=bool)
        if random.uniform() < prob:
            middle = random.uniform(0, arc[-1])
            kept = np.abs(arc - middle) > random.uniform(*length_mm) / 2
        pieces.append((branch, kept))
    return [
        Branch(branch.points[run], branch.radius_mm[run], branch.label)
        for branch, kept in pieces
        for run in np.split(np.arange(len(kept)), np.flatnonzero(np.diff(kept)) + 1)
        if len(run) >= 2 and kept[run[0]]
    ]


def false_branches(
    branches: Sequence[Branch], random: RandomState, prob: float, length_mm: tuple[float, float]
) -> list[Branch]:
    """Random walks beside some branches, as veins, calcium and noise leave them in a prediction.

    Half of them spring from the vessel (a spur), half begin 2 to 10 mm away from it (a vein).

    Args:
        branches: in RAS mm.
        random: source of the walks.
        prob: chance of each branch to get one.
        length_mm: shortest and longest walk, uniform between.

    Returns:
        The false branches alone, without parents.
    """
    walks = []
    for branch in branches:
        if random.uniform() >= prob:
            continue
        origin = random.randint(len(branch.points))
        start = branch.points[origin]
        if random.uniform() < 0.5:
            start = start + random.uniform(2, 10) * _direction(random)
        length = random.uniform(*length_mm)
        steps = max(round(length / _WALK_STEP_MM), 1)
        heading, headings = _direction(random), []
        for _ in range(steps):
            heading = heading + _WALK_TURN * random.normal(size=3)
            heading /= np.linalg.norm(heading)
            headings.append(heading)
        points = start + np.cumsum([np.zeros(3), *headings], axis=0) * length / steps
        walks.append(Branch(points, np.full(len(points), branch.radius_mm[origin]), _OTHER))
    return walks


def shift(branches: Sequence[Branch], offset_mm: NDArray[np.float64]) -> list[Branch]:
    """Move all branches by one offset, ``(3,)`` mm."""
    return [replace(branch, points=branch.points + offset_mm) for branch in branches]


def _direction(random: RandomState) -> NDArray[np.float64]:
    """A random unit vector, ``(3,)``."""
    vector = random.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))
