"""Length of vessel trees and local diameter of vessels, measured in their masks and skeletons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import KDTree

from .voxels import Voxels, all_offsets, face_offsets, find


def voxel_lengths_mm(skeleton: Voxels, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Share out the length of a skeleton among its voxels.

    The length is that of the shortest lines between neighbouring voxel centres that hold each component together
    (its minimum spanning tree), so that the little triangles at branchings do not count twice; a ring lacks one such
    line. Each line belongs in equal halves to its two voxels.

    Args:
        skeleton: voxels of a skeleton.
        spacing: mm per voxel along each axis.

    Returns:
        Length in mm of each voxel, ``(n,)``; 0 for a voxel without neighbours.
    """
    if len(skeleton) == 0:
        return np.zeros(0)
    found = skeleton.pairs()
    lengths = np.concatenate([np.full(p.shape[1], np.linalg.norm(np.multiply(o, spacing))) for o, p in found])
    rows, columns = np.concatenate([pairs for _, pairs in found], axis=1)
    tree = minimum_spanning_tree(coo_array((lengths, (rows, columns)), shape=(len(skeleton),) * 2)).tocoo()
    ends, halves = np.concatenate([tree.row, tree.col]), np.tile(tree.data / 2, 2)
    return np.asarray(np.bincount(ends, weights=halves, minlength=len(skeleton)), dtype=np.float64)


def diameters_mm(mask: Voxels, skeleton: Voxels, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Measure how wide the vessel is around each voxel of a mask.

    The diameter at a skeleton voxel is twice the largest distance from background that is found there and at its
    neighbours (the middle of a vessel of even width lies beside its skeleton); every voxel of the mask has the
    diameter of the skeleton voxel nearest to it. On round tubes of 0.7-4 mm in voxels of 0.35 x 0.35 x 0.5 mm the mean
    is within 0.11 mm of the truth; a single voxel counts as two.

    Args:
        mask: voxels of a mask.
        skeleton: voxels of its skeleton, at least one.
        spacing: mm per voxel along each axis.

    Returns:
        Diameter in mm of each voxel of the mask, ``(n,)``.
    """
    points = mask.points_mm(mask.places, spacing)
    background = KDTree(mask.points_mm(mask.outside(face_offsets(mask.ndim)), spacing), leafsize=32)
    depth_mm = np.append(background.query(points)[0], 0)  # the last is that of the background, number -1
    widest_mm = np.zeros(len(skeleton))
    for offset in [(0,) * mask.ndim, *all_offsets(mask.ndim)]:
        widest_mm = np.maximum(widest_mm, depth_mm[find(mask.places, skeleton.places + skeleton.step(offset))])
    _, nearest = KDTree(skeleton.points_mm(skeleton.places, spacing)).query(points)
    return np.asarray(2 * widest_mm[nearest])
