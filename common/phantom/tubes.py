"""Voxels near vessels: exact distances to centerlines, kept as lists because vessels fill little of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..centerline.branch import Branch
from .canvas import ScanGrid

_CHUNK = 24  # points of a centerline that share one box of candidate voxels


@dataclass(frozen=True)
class TubeVoxels:
    """Positions near vessels in vessel coordinates, one entry for each position and nearby branch.

    Attributes:
        position: RAS mm, ``(N, 3)``.
        flat: index of the voxel in the raveled volume, ``(N,)``.
        branch: index of the branch, ``(N,)``.
        point: index of the branch's nearest centerline point, ``(N,)``.
        arc_mm: distance along the branch, ``(N,)``.
        axis_mm: distance to the centerline, ``(N,)``.
        angle_deg: angle around the centerline, ``(N,)``.
        radius_mm: lumen radius there, ``(N,)``.
    """

    position: NDArray[np.float64]
    flat: NDArray[np.int64]
    branch: NDArray[np.int64]
    point: NDArray[np.int64]
    arc_mm: NDArray[np.float64]
    axis_mm: NDArray[np.float64]
    angle_deg: NDArray[np.float64]
    radius_mm: NDArray[np.float64]

    def subset(self, keep: NDArray[np.generic]) -> TubeVoxels:
        """Return the entries that a mask or an index list selects."""
        return TubeVoxels(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


def tube_voxels(branches: Sequence[Branch], grid: ScanGrid, margin_mm: float) -> TubeVoxels:
    """Find all voxels whose centre lies within ``margin_mm`` of a vessel's lumen.

    Args:
        branches: vessels in RAS mm.
        grid: voxels.
        margin_mm: reach outside the lumen.

    Returns:
        Entries sorted by branch, then voxel; a voxel near two branches has two entries.
    """
    parts = [
        _near(branch, index, _candidates(branch, grid, margin_mm), grid, margin_mm)
        for index, branch in enumerate(branches)
    ]
    return TubeVoxels(*(np.concatenate([getattr(p, n) for p in parts]) for n in TubeVoxels.__dataclass_fields__))


def vessel_coordinates(
    branch: Branch, index: int, flat: NDArray[np.int64], position: NDArray[np.float64]
) -> TubeVoxels:
    """Express positions in the coordinates of one branch.

    Args:
        branch: the vessel.
        index: its index, copied to the result.
        flat: voxels that the positions belong to, ``(N,)``.
        position: RAS mm, ``(N, 3)``.
    """
    _, nearest = cKDTree(branch.points).query(position)
    tangent, first, second = vessel_frames(branch.points)
    offset = position - branch.points[nearest]
    along = np.einsum("ij,ij->i", offset, tangent[nearest])
    before = (nearest == 0) & (along < 0)
    after = (nearest == len(branch.points) - 1) & (along > 0)
    along = np.where(before | after, 0, along)  # round caps
    offset = offset - along[:, None] * tangent[nearest]
    x = np.einsum("ij,ij->i", offset, first[nearest])
    y = np.einsum("ij,ij->i", offset, second[nearest])
    return TubeVoxels(
        position,
        flat,
        np.full(len(flat), index),
        nearest,
        branch.arc_mm[nearest] + along,
        np.linalg.norm(offset, axis=1),
        np.degrees(np.arctan2(y, x)) % 360,
        np.interp(branch.arc_mm[nearest] + along, branch.arc_mm, branch.radius_mm),
    )


def _candidates(branch: Branch, grid: ScanGrid, margin_mm: float) -> NDArray[np.int64]:
    """Return flat indices of voxels in small boxes along the branch, each once."""
    reach = (float(branch.radius_mm.max()) + margin_mm) / grid.spacing
    index = grid.to_index(branch.points)
    first = np.clip(np.floor(index.min(axis=0) - reach), 0, grid.shape).astype(int)
    last = np.clip(np.ceil(index.max(axis=0) + reach) + 1, first, grid.shape).astype(int)
    near = np.zeros(last - first, bool)  # a box around the branch, in which the small boxes are marked
    for start in range(0, len(index), _CHUNK):
        part = index[start : start + _CHUNK + 1]
        low = np.maximum(np.floor(part.min(axis=0) - reach).astype(int) - first, 0)
        high = np.maximum(np.ceil(part.max(axis=0) + reach).astype(int) + 1 - first, 0)
        near[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    found = np.nonzero(near)
    return np.asarray(np.ravel_multi_index(tuple(found[k] + first[k] for k in range(3)), grid.shape), np.int64)


def _near(branch: Branch, index: int, flat: NDArray[np.int64], grid: ScanGrid, margin_mm: float) -> TubeVoxels:
    """Return the candidates that are really near the branch, in its coordinates."""
    position = grid.to_patient(np.stack(np.unravel_index(flat, grid.shape), axis=1).astype(np.float64))
    voxels = vessel_coordinates(branch, index, flat, position)
    return voxels.subset(voxels.axis_mm <= voxels.radius_mm + margin_mm)


def vessel_frames(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return tangents and two normals that turn as little as possible along the curve, ``(N, 3)`` each."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    first = np.empty_like(tangent)
    axis = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    for k, t in enumerate(tangent):
        axis = axis - (axis @ t) * t
        axis = axis / np.linalg.norm(axis)
        first[k] = axis
    return tangent, first, np.cross(tangent, first)
