"""The injected artery: lumen with stenoses, systolic folds, distal ends and thin side vessels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ...centerline.branch import Branch
from ...plaque import Plaque
from ..anatomy import Anatomy
from ..courses import arc_length, grow
from ..heart import Heart
from ..surface import SurfaceGrid
from ..tubes import vessel_frames
from ..vessels import ostium_distance

LABELLED_RADIUS_MM = 0.45
"""Healthy radius from which on a vessel belongs to the vessel mask; thinner ends and twigs are shown, not labelled."""

_OTHER = 14  # branch id of side vessels without a name
_MOUTH_MM = 2.5  # the contrast stream from the catheter widens to the lumen over this length


@dataclass(frozen=True)
class Vessel:
    """One vessel of the injected artery at end diastole, RAS mm.

    Attributes:
        points: centerline of the lumen, ``(N, 3)``.
        radius_mm: radius of the lumen, ``(N,)``.
        way_mm: distance from the ostium along the tree, ``(N,)``.
        label: branch id of ImageCAS-X, 0 where the vessel is too thin to be labelled, ``(N,)``.
        parent: index of the parent vessel, -1 at the ostium.
        fold: direction and share of the displacement by systolic folding, ``(N, 3)``.
    """

    points: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    way_mm: NDArray[np.float64]
    label: NDArray[np.uint8]
    parent: int
    fold: NDArray[np.float64]


def draw_artery(rng: np.random.Generator) -> str:
    """Draw which artery is injected, "left" or "right"; the left one is filmed from more sides."""
    return "left" if rng.random() < 0.6 else "right"


def injected_artery(
    anatomy: Anatomy,
    plaques: Sequence[Plaque],
    artery: str,
    twigs_per_cm: float,
    fold_mm: float,
    rng: np.random.Generator,
) -> list[Vessel]:
    """Return the vessels that one injection fills.

    Args:
        anatomy: the person.
        plaques: plaques on the arteries; they narrow the lumen.
        artery: "left" or "right".
        twigs_per_cm: further side vessels for each cm of artery, too thin for CT; most are too thin to be labelled.
        fold_mm: amplitude of folds, which are largest in systole.
        rng: source of twigs and folds.
    """
    branches = anatomy.tree.branches
    starts = ostium_distance(branches)
    roots = [_root(branches, k) for k in range(len(branches))]
    chosen = [k for k, root in enumerate(roots) if (branches[root].label == 9) == (artery == "right")]
    surface = SurfaceGrid(anatomy.heart.epicardium, anatomy.heart.scale)
    vessels: list[Vessel] = []
    for index in chosen:
        branch = branches[index]
        points, radius = _narrowed(branch, starts[index], [p for p in plaques if p.branch == index])
        labels = np.full(len(points), branch.label, np.uint8)
        last = len(points) - 3
        if not any(b.parent == index and b.parent_point >= last for b in branches):
            points, radius, labels = _with_end(anatomy.heart, surface, branch, points, radius, rng)
        parent = chosen.index(branch.parent) if branch.parent >= 0 else -1
        folds = _folds(anatomy.heart, points, radius, fold_mm, rng)
        if parent >= 0:
            folds += vessels[parent].fold[branch.parent_point]
        way = starts[index] + arc_length(points)
        vessels.append(Vessel(points, radius, way, labels, parent, folds))
    for parent in range(len(chosen)):
        length_cm = (vessels[parent].way_mm[-1] - vessels[parent].way_mm[0]) / 10
        for _ in range(int(rng.poisson(twigs_per_cm * length_cm))):
            vessels.append(_twig(anatomy.heart, surface, vessels[parent], parent, fold_mm, rng))
    return vessels


def _root(branches: Sequence[Branch], index: int) -> int:
    """Return the index of the branch with the ostium that feeds a branch."""
    while branches[index].parent >= 0:
        index = branches[index].parent
    return index


def _narrowed(
    branch: Branch, start_mm: float, plaques: Sequence[Plaque]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centerline and radius of the lumen that plaques leave: the disc of equal area, off the plaque's side."""
    points, radius = branch.points.copy(), branch.radius_mm.copy()
    _, first, second = vessel_frames(branch.points)
    for plaque in plaques:
        away = np.abs(branch.arc_mm + start_mm - plaque.arc_mm) / (plaque.length_mm / 2)
        depth = plaque.diameter_stenosis_percent / 100 * np.clip(1.3 * (1 - away**2), 0, 1)
        angle = np.radians(plaque.angle_deg + plaque.sector_deg / 2)
        aside = -(np.cos(angle) * first + np.sin(angle) * second) * (1 - plaque.sector_deg / 360)
        points += aside * (radius * depth)[:, None]
        radius *= 1 - depth
    if branch.parent < 0:
        radius *= 0.5 + 0.5 * np.sin(np.pi / 2 * np.clip(branch.arc_mm / _MOUTH_MM, 0, 1))
    return points, radius


def _with_end(
    heart: Heart,
    surface: SurfaceGrid,
    branch: Branch,
    points: NDArray[np.float64],
    radius: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
    """Return the vessel with a tapering end, which CT does not show, and the label of every point."""
    length = float(rng.uniform(9, 16) * branch.radius_mm[-1] + 4)
    end = _grown(heart, surface, points[-1], points[-1] - points[-6], length, rng)
    taper = np.linspace(radius[-1], 0.18, len(end))
    healthy = np.concatenate([branch.radius_mm, taper[1:]])
    labels = np.where(healthy >= LABELLED_RADIUS_MM, branch.label, 0).astype(np.uint8)
    return np.concatenate([points, end[1:]]), np.concatenate([radius, taper[1:]]), labels


def _twig(
    heart: Heart, surface: SurfaceGrid, parent: Vessel, number: int, fold_mm: float, rng: np.random.Generator
) -> Vessel:
    """Return a thin side vessel of ``parent``; a third of them dive into the wall as septal branches do."""
    at = int(rng.integers(len(parent.points) // 8, len(parent.points) - 3))
    along = parent.points[at + 2] - parent.points[at - 2]
    across = np.cross(along, rng.normal(size=3))
    heading = along / np.linalg.norm(along) + across / np.linalg.norm(across) * rng.uniform(0.8, 2.0)
    thickest = float(min(0.7 * parent.radius_mm[at], rng.uniform(0.2, 0.75)))
    length = float(rng.uniform(25, 65)) * thickest + 8
    if rng.random() < 0.33:
        sway = np.cumsum(gaussian_filter1d(rng.normal(size=(round(length), 3)), 2, axis=0), axis=0) * 0.5
        inwards = heart.axes @ np.array([14 * heart.scale, 0, 20]) + heart.origin_mm - parent.points[at]
        heading = heading / np.linalg.norm(heading) + inwards / np.linalg.norm(inwards)
        steps = np.arange(round(length))[:, None] * heading / np.linalg.norm(heading)
        points = parent.points[at] + steps + sway - sway[0]
    else:
        points = _grown(heart, surface, parent.points[at], heading, length, rng)
    radius = thickest - (thickest - 0.15) * np.linspace(0, 1, len(points)) ** 2
    labels = np.where(radius >= LABELLED_RADIUS_MM, _OTHER, 0).astype(np.uint8)
    way = parent.way_mm[at] + arc_length(points)
    folds = _folds(heart, points, radius, fold_mm, rng) + parent.fold[at]
    return Vessel(points, radius, way, labels, number, folds)


def _grown(
    heart: Heart,
    surface: SurfaceGrid,
    start: NDArray[np.float64],
    heading: NDArray[np.float64],
    length_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return a course over the heart that keeps its heading, RAS mm."""
    heading = heart.axes.T @ heading
    origin = heart.to_heart(start[None])[0]
    height = float(np.clip(surface(origin[None].astype(np.float32))[0], -1.0, 3.0))
    points = grow(origin, heading, lambda _: heading, max(length_mm, 5), surface, height, rng, np.zeros((0, 3)))
    return heart.to_patient(points)


def _folds(
    heart: Heart, points: NDArray[np.float64], radius: NDArray[np.float64], fold_mm: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return winding displacements across the vessel, zero at its origin, smaller where it is wide, ``(N, 3)`` mm."""
    arc = arc_length(points)
    tangent = np.gradient(points, axis=0)
    outwards = points - (heart.axes @ np.array([0, 0, 30.0]) + heart.origin_mm)
    across = np.cross(tangent, outwards)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    wave_mm = rng.uniform(10, 20) * (1 + 0.3 * np.sin(arc / rng.uniform(12, 30) + rng.uniform(0, 6)))
    phase = np.cumsum(np.gradient(arc) * 2 * np.pi / wave_mm)
    share = np.clip((arc - 8) / 40, 0, 1) * np.clip(0.9 / np.maximum(radius, 0.1), 0.3, 1) ** 2
    return np.asarray(fold_mm * (share * np.sin(phase))[:, None] * across)
