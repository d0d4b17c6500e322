"""Where a centerline tree begins, forks and ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .branch import Branch


def root_points(branches: Sequence[Branch]) -> NDArray[np.float64]:
    """Return the first point of every branch without parent (an ostium), ``(K, 3)``."""
    return _points([branch.points[0] for branch in branches if branch.parent < 0])


def end_points(branches: Sequence[Branch]) -> NDArray[np.float64]:
    """Return the last point of every branch from whose end nothing goes on, ``(K, 3)``."""
    return _points([branches[leaf].points[-1] for leaf in leaves(branches)])


def bifurcation_points(branches: Sequence[Branch]) -> NDArray[np.float64]:
    """Return the points where at least three lines meet, ``(K, 3)``.

    The same whether a vessel goes on through the fork as one branch or is cut there into two: a single branch that
    leaves the end of another merely continues it, and two that leave the same point are one bifurcation.
    """
    forks = []
    for parent, points in enumerate(_leaving(branches)):
        last = len(branches[parent].points) - 1
        for point in sorted(set(points)):
            ends = points.count(point) + (1 if point in (0, last) else 2)
            if ends >= 3:
                forks.append(branches[parent].points[point])
    return _points(forks)


def leaves(branches: Sequence[Branch]) -> list[int]:
    """Return the indices of the branches from whose last point no other branch leaves."""
    return [index for index, points in enumerate(_leaving(branches)) if len(branches[index].points) - 1 not in points]


def segment_cuts(branches: Sequence[Branch]) -> list[list[int]]:
    """Return for every branch the inner points where others leave it, sorted: cut there, only segments remain."""
    return [
        sorted({point for point in points if 0 < point < len(branch.points) - 1})
        for branch, points in zip(branches, _leaving(branches), strict=True)
    ]


def path_to(branches: Sequence[Branch], leaf: int) -> list[tuple[int, int]]:
    """Return the way from a root to the end of a branch.

    Args:
        branches: the tree, parents first.
        leaf: index of the branch that the path ends with.

    Returns:
        For each branch on the way, root first, its index and that of its last point on the way.
    """
    path = [(leaf, len(branches[leaf].points) - 1)]
    while branches[path[0][0]].parent >= 0:
        branch = branches[path[0][0]]
        path.insert(0, (branch.parent, branch.parent_point))
    return path


def root_to_leaf(branches: Sequence[Branch]) -> list[Branch]:
    """Return the whole vessel to every end of a tree, as branches without parents, with the label of the last part."""
    vessels = []
    for leaf in leaves(branches):
        parts = [(branches[index], last + 1) for index, last in path_to(branches, leaf)]
        # a branch begins with the point of its parent that it leaves from, so that point is taken once
        points = [branch.points[0 if place == 0 else 1 : last] for place, (branch, last) in enumerate(parts)]
        radius = [branch.radius_mm[0 if place == 0 else 1 : last] for place, (branch, last) in enumerate(parts)]
        vessels.append(Branch(np.concatenate(points), np.concatenate(radius), branches[leaf].label))
    return vessels


def check_vessels(branches: Sequence[Branch], name: str) -> None:
    """Raise a ``ValueError`` unless there is at least one branch, and as :func:`check_tree` does."""
    if not branches:
        raise ValueError(f"{name}: a centerline file needs at least one branch, got none")
    check_tree(branches, name)


def check_tree(branches: Sequence[Branch], name: str) -> None:
    """Raise a ``ValueError`` unless every branch is finite, and its parent is an earlier branch with that point.

    Args:
        branches: what claims to be a tree.
        name: what the message calls it, an argument or a file.
    """
    for index, branch in enumerate(branches):
        place = f"{name}: branch {index}"
        count = len(branch.points)
        if branch.points.shape != (count, 3) or branch.radius_mm.shape != (count,) or count < 2:
            raise ValueError(
                f"{place} must have at least two points (N, 3) and as many radii (N,), got {branch.points.shape} "
                f"and {branch.radius_mm.shape}"
            )
        if not (np.isfinite(branch.points).all() and np.isfinite(branch.radius_mm).all()):
            raise ValueError(f"{place} has points or radii that are NaN or infinite; leave those points out")
        if not -1 <= branch.parent < index:
            raise ValueError(f"{place} has the parent {branch.parent}: parents come first, and -1 means none")
        if branch.parent >= 0 and not 0 <= branch.parent_point < len(branches[branch.parent].points):
            raise ValueError(
                f"{place} leaves its parent at point {branch.parent_point}, but that has "
                f"{len(branches[branch.parent].points)} points"
            )


def _leaving(branches: Sequence[Branch]) -> list[list[int]]:
    """For every branch, the points that its children leave from."""
    leaving: list[list[int]] = [[] for _ in branches]
    for branch in branches:
        if branch.parent >= 0:
            leaving[branch.parent].append(branch.parent_point)
    return leaving


def _points(points: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array(points, np.float64).reshape(-1, 3)
