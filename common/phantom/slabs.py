"""Thick slices: scans whose slices average several thin ones, and the truth about vessels in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..centerline.branch import Branch
from ..plaque import Plaque
from .canvas import ScanGrid
from .heart import Heart
from .tubes import TubeVoxels
from .vessels import lumen_voxels

_THIN_MM = 0.6
_LINE_STEP_MM = 0.1


@dataclass(frozen=True)
class Slabs:
    """A scan of contiguous thick slices, and the thin slices that each of them averages.

    Attributes:
        grid: voxels of the scan.
        count: thin slices in a slice, an odd number.
    """

    grid: ScanGrid
    count: int

    @staticmethod
    def of(grid: ScanGrid) -> Slabs:
        """Return the slabs of a scan, with thin slices of about 0.6 mm."""
        thickness_mm = grid.spacing[slice_axis(grid)]
        return Slabs(grid, 2 * max(round((thickness_mm / _THIN_MM - 1) / 2), 0) + 1)

    @property
    def axis(self) -> int:
        """The stored axis that counts slices."""
        return slice_axis(self.grid)

    @property
    def slices(self) -> int:
        """Number of slices."""
        return self.grid.shape[self.axis]

    @property
    def thickness_mm(self) -> float:
        """Thickness of a slice."""
        return float(self.grid.spacing[self.axis])

    @property
    def thin(self) -> ScanGrid:
        """Voxels of the thin slices."""
        shape, affine = list(self.grid.shape), self.grid.affine.copy()
        shape[self.axis] *= self.count
        affine[:3, self.axis] /= self.count
        affine[:3, 3] -= affine[:3, self.axis] * (self.count - 1) / 2
        return ScanGrid((shape[0], shape[1], shape[2]), affine)

    def mean(self, thin: NDArray[np.floating]) -> NDArray[np.float32]:
        """Average the thin slices of every slice."""
        return np.asarray(self._split(thin).mean(axis=self.axis + 1), np.float32)

    def middle(self, thin: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the thin slice in the middle of every slice."""
        return np.ascontiguousarray(np.take(self._split(thin), self.count // 2, axis=self.axis + 1))

    def voxel_of(self, flat: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map voxels of the raveled thin slices to those of the scan."""
        index = list(np.unravel_index(flat, self.thin.shape))
        index[self.axis] = index[self.axis] // self.count
        return np.asarray(np.ravel_multi_index(tuple(index), self.grid.shape), np.int64)

    def _split(self, thin: NDArray[np.generic]) -> NDArray[np.generic]:
        """View the thin slices of a slice as an axis of their own, behind that of the slices."""
        shape = list(self.grid.shape)
        shape.insert(self.axis + 1, self.count)
        return thin.reshape(shape)


def slice_axis(grid: ScanGrid) -> int:
    """Return the stored axis along which slices of a chest follow each other: that of head and feet."""
    return int(np.argmax(np.abs(grid.affine[2, :3])))


def slab_labels(
    branches: Sequence[Branch], plaques: Sequence[Plaque], slabs: Slabs, heart: Heart | None = None
) -> NDArray[np.uint8]:
    """Return the branch id of every lumen voxel of thick slices.

    A voxel is lumen where the lumen fills at least half of it. A vessel that runs within the slices and is thinner than
    they are rarely does that; in the slice that its axis lies in, half of its radius is enough, which gives it nearly
    its full width. Voxels that a centerline passes are lumen in any case, so that no vessel is interrupted. (The rule
    of ``LABEL_REACH``, a share of the largest voxel edge, would make every vessel 4 mm wide in slices of 3 mm.) Where
    branches meet, the one that fills most of a voxel has it, and of equals the parent.

    Args:
        branches: vessels in RAS mm.
        plaques: plaques on them, which are not lumen.
        slabs: slices of the scan.
        heart: leave out the blood of its aorta.
    """
    result = np.zeros(slabs.grid.shape, np.uint8)
    if not branches:
        return result
    voxels = lumen_voxels(branches, plaques, slabs.thin)
    voxels = voxels.subset(_outside_aorta(voxels.position, heart))
    labels = np.array([b.label for b in branches], np.uint8)
    for index in range(len(branches) - 1, -1, -1):  # parents last: they keep what they share with others
        result.reshape(-1)[_line_voxels(branches[index], slabs.grid, heart)] = labels[index]
    flat, entry = np.unique(slabs.voxel_of(voxels.flat), return_inverse=True)
    filled = np.bincount(entry * len(branches) + voxels.branch, minlength=len(flat) * len(branches))
    share = filled.reshape(-1, len(branches)) / slabs.count
    needed = _needed_share(voxels, branches, slabs, flat, entry)
    lumen = share.sum(axis=1) >= needed
    result.reshape(-1)[flat[lumen]] = labels[share[lumen].argmax(axis=1)]
    return result


def _needed_share(
    voxels: TubeVoxels,
    branches: Sequence[Branch],
    slabs: Slabs,
    flat: NDArray[np.int64],
    entry: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the share of each voxel ``flat`` that makes it lumen; ``entry`` tells which one a thin voxel is in."""
    first = np.cumsum([0, *(len(b.points) for b in branches)])[voxels.branch]
    axis_points = np.concatenate([b.points for b in branches])[first + voxels.point]
    axis_slice = np.rint(slabs.grid.to_index(axis_points)[:, slabs.axis])
    own_slice = np.unravel_index(flat, slabs.grid.shape)[slabs.axis][entry]
    radius_mm = np.full(len(flat), 0.0)
    np.maximum.at(radius_mm, entry, np.where(axis_slice == own_slice, voxels.radius_mm, 0))
    enough = np.minimum(0.5 * radius_mm / slabs.thickness_mm, 0.5)
    return np.where(radius_mm > 0, enough, 0.5)


def _line_voxels(branch: Branch, grid: ScanGrid, heart: Heart | None) -> NDArray[np.int64]:
    """Return the voxels that a centerline passes."""
    at = np.arange(0, branch.length_mm + _LINE_STEP_MM, _LINE_STEP_MM)
    points = np.stack([np.interp(at, branch.arc_mm, branch.points[:, k]) for k in range(3)], axis=1)
    points = points[_outside_aorta(points, heart)]
    index = np.rint(grid.to_index(points)).astype(int)
    index = index[((index >= 0) & (index < np.array(grid.shape))).all(axis=1)]
    return np.asarray(np.ravel_multi_index(tuple(index.T), grid.shape), np.int64)


def _outside_aorta(points: NDArray[np.float64], heart: Heart | None) -> NDArray[np.bool_]:
    """Tell which points (RAS mm) are not in the blood of the aorta; all without a heart."""
    if heart is None:
        return np.ones(len(points), bool)
    return np.asarray(heart.aorta(heart.to_heart(points).astype(np.float32)) >= 0)
