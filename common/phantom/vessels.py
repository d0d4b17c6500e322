"""Contrast-filled vessels with their walls and plaques, rendered on the voxels near them, and the truth about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..centerline.branch import Branch
from ..plaque import Plaque
from .canvas import ScanGrid
from .tubes import TubeVoxels, tube_voxels, vessel_coordinates

WALL_MM = 0.5
"""Thickness of the wall around a healthy lumen."""

OSTIUM_MM = 2.2
"""Length from an ostium that lies in the aorta and its wall."""

LABEL_REACH = 0.71
"""A voxel closer to the centerline than this share of the largest voxel edge is lumen in any case.

A line through the volume passes every plane of voxels within 0.71 (half a diagonal) of a voxel centre, so no branch and
no stenosis is interrupted in a label, at any spacing. Lumina wider than 1.42 voxels do not feel this rule.
"""


@dataclass(frozen=True)
class VesselImage:
    """How vessels change the voxels near them: value = value * (1 - cover) + cover * hu.

    Attributes:
        flat: voxels in the raveled volume, ``(N,)``, each once.
        cover: share of what is replaced, in [0, 1].
        hu: mean value of wall, lumen and plaque in the covered share.
        calcium: share of the voxel that calcified plaque fills, in [0, 1].
        plaque: index of the calcified plaque that fills most of it, -1 where there is none.
    """

    flat: NDArray[np.int64]
    cover: NDArray[np.float64]
    hu: NDArray[np.float64]
    calcium: NDArray[np.float64]
    plaque: NDArray[np.int64]


def ostium_distance(branches: Sequence[Branch]) -> list[float]:
    """Return the distance along the tree from the ostium to the first point of every branch, mm."""
    result: list[float] = []
    for branch in branches:
        start = 0.0 if branch.parent < 0 else result[branch.parent]
        result.append(start if branch.parent < 0 else start + branches[branch.parent].arc_mm[branch.parent_point])
    return [float(v) for v in result]


def render_vessels(
    branches: Sequence[Branch],
    plaques: Sequence[Plaque],
    grid: ScanGrid,
    hu: Sequence[NDArray[np.float64]],
    wall_hu: float,
    rng: np.random.Generator,
    motion_mm: Sequence[NDArray[np.float64]] | None = None,
) -> VesselImage:
    """Render vessels with the share of every voxel that lumen, wall and plaque fill.

    Args:
        branches: vessels in RAS mm.
        plaques: plaques; their arc lengths count from the ostium.
        grid: voxels.
        hu: lumen value at every point of every branch.
        wall_hu: value of the vessel wall.
        rng: source of the texture of plaques.
        motion_mm: path of every branch during the exposure as a vector ``(3,)``; None for vessels at rest.
    """
    edge = float(grid.spacing.mean())
    starts = ostium_distance(branches)
    parts = []
    for index, branch in enumerate(branches):
        shift = np.zeros(3) if motion_mm is None else motion_mm[index]
        reach = WALL_MM + edge + float(np.linalg.norm(shift)) / 2
        voxels = tube_voxels([branch], grid, reach)
        own = [k for k, p in enumerate(plaques) if p.branch == index]
        phases = np.linspace(-0.5, 0.5, 5) if np.linalg.norm(shift) > 0.05 else np.zeros(1)
        shares = np.zeros((3 + len(own), len(voxels.flat)))
        for phase in phases:
            moved = (
                voxels
                if phase == 0
                else vessel_coordinates(branch, index, voxels.flat, voxels.position - phase * shift)
            )
            shares += _shares(moved, branch, [plaques[k] for k in own], starts[index], grid, wall_hu, rng) / len(phases)
        lumen, other, other_hu = shares[:3]
        value = lumen * hu[index][voxels.point] + other_hu
        cover = lumen + other
        calcium, plaque = _calcium(shares[3:], own, plaques)
        parts.append((voxels.flat, lumen, cover, value / np.maximum(cover, 1e-6), calcium, plaque))
    flat, lumen, cover, value, calcium, plaque = (np.concatenate([p[k] for p in parts]) for k in range(6))
    order = np.lexsort((-cover, -lumen, flat))  # where branches meet, the one that fills the voxel most decides
    keep = order[np.r_[True, np.diff(flat[order]) > 0]] if len(order) else order
    return VesselImage(flat[keep], cover[keep], value[keep], calcium[keep], plaque[keep])


def _calcium(
    shares: NDArray[np.float64], own: Sequence[int], plaques: Sequence[Plaque]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the share of calcium in every voxel and the plaque with most of it, from the shares of all plaques."""
    rows = [row for row, k in enumerate(own) if plaques[k].calcified]
    calcium = shares[rows].sum(axis=0)
    if not rows:
        return calcium, np.full(shares.shape[1], -1)
    owner = np.array(own)[rows][np.argmax(shares[rows], axis=0)]
    return calcium, np.where(calcium > 0, owner, -1)


def _shares(
    voxels: TubeVoxels,
    branch: Branch,
    plaques: Sequence[Plaque],
    start_mm: float,
    grid: ScanGrid,
    wall_hu: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return what fills every voxel, as rows: lumen, wall with plaque, the latter times its value, each plaque."""
    edge = float(grid.spacing.mean())
    lumen = np.clip(0.5 - (voxels.axis_mm - voxels.radius_mm) / edge, 0, 1)
    outer = np.clip(0.5 - (voxels.axis_mm - voxels.radius_mm - WALL_MM) / edge, 0, 1)
    filled = np.zeros_like(lumen)
    filled_hu = np.zeros_like(lumen)
    single = np.zeros((len(plaques), len(lumen)))
    for row, plaque in zip(single, plaques, strict=True):
        near = np.abs(voxels.arc_mm + start_mm - plaque.arc_mm) <= plaque.length_mm / 2 + edge
        at = np.flatnonzero(near & (lumen > 0))
        if len(at):
            share = _plaque_share(voxels.subset(at), branch, plaque, start_mm, grid)
            share = np.minimum(share, lumen[at])
            lumen[at] -= share
            filled[at] += share
            row[at] = share
            filled_hu[at] += share * (plaque.hu + rng.normal(0, plaque.texture_sd_hu, len(at)))
    wall = np.maximum(outer - lumen - filled, 0)
    if branch.parent < 0:
        wall[voxels.arc_mm < OSTIUM_MM] = 0  # the vessel begins inside the aorta and passes through its wall
    return np.concatenate([np.stack([lumen, wall + filled, wall * wall_hu + filled_hu]), single])


def _plaque_share(
    voxels: TubeVoxels, branch: Branch, plaque: Plaque, start_mm: float, grid: ScanGrid
) -> NDArray[np.float64]:
    """Return the share of every voxel that lies in a plaque, from 3 x 3 x 3 samples of the voxel."""
    steps = np.array([-1, 0, 1]) / 3
    corners = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    position = (voxels.position[:, None] + corners @ grid.affine[:3, :3].T).reshape(-1, 3)
    fine = vessel_coordinates(branch, plaque.branch, np.repeat(voxels.flat, 27), position)
    inside = plaque.contains(fine.arc_mm + start_mm, fine.angle_deg, fine.axis_mm / fine.radius_mm)
    return np.asarray(inside.reshape(-1, 27).mean(axis=1))


def lumen_truth(
    branches: Sequence[Branch], plaques: Sequence[Plaque], grid: ScanGrid
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]:
    """Return the voxels of the true lumen, their branch ids and positions.

    A voxel is lumen when its centre lies within the lumen radius and outside every plaque, or on the centerline (see
    ``LABEL_REACH``). Where branches meet, the parent keeps the voxel.

    Returns:
        Voxels in the raveled volume, each once; label ids of ImageCAS-X; RAS positions in mm.
    """
    voxels = lumen_voxels(branches, plaques, grid)
    labels = np.array([b.label for b in branches], np.uint8)
    return voxels.flat, labels[voxels.branch], voxels.position


def lumen_voxels(branches: Sequence[Branch], plaques: Sequence[Plaque], grid: ScanGrid) -> TubeVoxels:
    """Return the voxels of :func:`lumen_truth`, each once and in order, in the coordinates of their branch."""
    reach = LABEL_REACH * float(grid.spacing.max())
    voxels = tube_voxels(branches, grid, reach)
    starts = np.array(ostium_distance(branches))
    arc = voxels.arc_mm + starts[voxels.branch]
    blocked = np.zeros(len(voxels.flat), bool)
    for plaque in plaques:
        own = voxels.branch == plaque.branch
        blocked[own] |= plaque.contains(arc[own], voxels.angle_deg[own], voxels.axis_mm[own] / voxels.radius_mm[own])
    inside = ((voxels.axis_mm <= voxels.radius_mm) & ~blocked) | (voxels.axis_mm <= reach)
    voxels = voxels.subset(inside)
    _, first = np.unique(voxels.flat, return_index=True)  # the first entry is that of the parent
    return voxels.subset(first)
