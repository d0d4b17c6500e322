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
        self._outside = KDTree(to_mm(mask.index(mask.outside(face_offsets(3))), affine), leafsize=32)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance in mm of each point, RAS mm, ``(N, 3)``."""
        return np.asarray(self._outside.query(points)[0])
