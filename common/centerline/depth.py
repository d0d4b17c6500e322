"""How deep a point lies in a mask: the distance transform in mm, at any point and for any affine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ..voxels import Voxels, face_offsets


def to_mm(index: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map voxel indices ``(N, 3)`` to RAS mm."""
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)


class Depth:
    """Distance from points in a mask to the centre of the nearest voxel outside of it.

    At the voxel centres this is the Euclidean distance transform; here it is evaluated where it is wanted, which is
    faster than the transform of a volume and needs no interpolation across its ridge. On the axis of a tube there is no
    half voxel to subtract: a voxel belongs to the mask if its centre lies in the lumen, so that every outside centre is
    at least the radius away, and of the many around a tube the nearest is so by little (0.05 mm at 0.5 mm spacing).
    What remains of the centerline's distance from the axis takes about as much away.

    Args:
        mask: ``(X, Y, Z)``.
        voxels: those of ``mask``.
        affine: voxel index to RAS mm, ``(4, 4)``.
    """

    def __init__(self, mask: NDArray[np.bool_], voxels: Voxels, affine: NDArray[np.float64]) -> None:
        self._mask = mask
        self._to_index = np.asarray(np.linalg.inv(affine), np.float64)
        self._outside = KDTree(to_mm(voxels.index(voxels.outside(face_offsets(3))), affine), leafsize=32)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance in mm of points in the mask, RAS mm, ``(N, 3)``."""
        return np.asarray(self._outside.query(points)[0])

    def along(self, line: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the radius in mm along a line, RAS mm, ``(N, 3)``.

        Where the line leaves the mask, in a bridged gap, it is interpolated between both sides.
        """
        index = np.rint(to_mm(line, self._to_index)).astype(np.int64)
        within = np.all((index >= 0) & (index < self._mask.shape), axis=1)
        within &= self._mask[tuple(np.where(within[:, None], index, 0).T)]
        at = np.arange(len(line))
        return np.interp(at, at[within], self(line[within])) if within.any() else self(line)
