"""How deep a point lies in a mask: the distance transform in mm, at any point and for any affine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ..voxels import Voxels, face_offsets


def to_mm(index: NDArray[np.generic], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map voxel indices ``(N, 3)`` to RAS mm."""
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)


class Depth:
    """Distance from points in a mask to the centre of the nearest voxel outside of it.

    At the voxel centres this is the Euclidean distance transform; here it is evaluated where it is wanted, which is
    faster than the transform of a volume and needs no interpolation across its ridge. On the axis of a tube there is no
    half voxel to subtract: a voxel belongs to the mask if its centre lies in the lumen, so that every outside centre is
    at least the radius away, and among the many around a tube the nearest is so by little.

    Args:
        mask: voxels of the mask.
        affine: voxel index to RAS mm, ``(4, 4)``.
    """

    def __init__(self, mask: Voxels, affine: NDArray[np.float64]) -> None:
        self._mask = mask
        self._to_index = np.linalg.inv(affine)
        self._outside = KDTree(to_mm(mask.index(mask.outside(face_offsets(3))), affine), leafsize=32)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance in mm of each point, RAS mm, ``(N, 3)``."""
        return np.asarray(self._outside.query(points)[0])

    def along(self, line: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the radius in mm along a line, ``(N, 3)`` RAS mm.

        Where the line leaves the mask, in a bridged gap, it is interpolated between both sides.
        """
        depth = self(line)
        inside = self._mask.contains(np.rint(to_mm(line, self._to_index)).astype(np.int64))
        if inside.all() or not inside.any():
            return depth
        at = np.arange(len(line))
        return np.interp(at, at[inside], depth[inside])
