"""Masks of thick slices interpolated between their slices, so that thinning sees tubes and not stairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ..grids import spacing_mm
from ..voxels import Voxels, face_offsets, find
from .depth import to_mm

COARSEST = 2.0
"""An axis is refined where its voxels are longer than this many times the shortest edge."""


def refine_coarse_axes(
    mask: NDArray[np.bool_], affine: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Interpolate a mask along its coarse axes.

    The thinning of voxels 0.35 x 0.35 x 3 mm large takes each slice of an oblique vessel for a plate and gives it
    branches of its own. Between two slices, the signed distance to the mask's border is interpolated linearly, as in
    shape-based interpolation, but with distances in 3-D: then a vessel also ends between two slices.

    Args:
        mask: ``(X, Y, Z)``.
        affine: voxel index to RAS mm, ``(4, 4)``.

    Returns:
        Mask whose axes are coarser than the finest one by no more than ``COARSEST``, and its affine. Its first voxel
        is the given one's; nothing is changed where no axis is coarse.

    Source:
        Raya, Udupa, "Shape-based interpolation of multidimensional objects", IEEE TMI 9 (1990) 32-42.
    """
    edges = spacing_mm(affine)
    for axis in np.flatnonzero(edges > COARSEST * edges.min()):
        factor = int(np.ceil(edges[axis] / (COARSEST * edges.min())))
        mask = _refined(mask, affine, int(axis), factor)
        affine = affine.copy()
        affine[:3, axis] /= factor
    return mask, affine


def _refined(mask: NDArray[np.bool_], affine: NDArray[np.float64], axis: int, factor: int) -> NDArray[np.bool_]:
    """Put ``factor - 1`` slices between each two of ``axis``."""
    voxels = Voxels(mask)
    step = voxels.step([int(other == axis) for other in range(3)])
    places = np.unique(np.concatenate([voxels.places, voxels.places - step, voxels.places + step]))
    signed = _signed_distance(voxels, places, affine)
    above = find(places, places + step)
    index = voxels.index(places)
    shape = list(mask.shape)
    shape[axis] = (shape[axis] - 1) * factor + 1
    refined = np.zeros(shape, bool)
    for part in range(factor):
        share = part / factor
        value = signed if part == 0 else np.where(above >= 0, (1 - share) * signed + share * signed[above], -1)
        at = index[value > 0]
        at[:, axis] = at[:, axis] * factor + part
        at = at[(at[:, axis] >= 0) & (at[:, axis] < shape[axis])]
        refined[tuple(at.T)] = True
    return refined


def _signed_distance(voxels: Voxels, places: NDArray[np.int_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance in mm of each place to the nearest voxel on the other side of the border, < 0 outside."""
    points = to_mm(voxels.index(places), affine)
    inside = voxels.inside[places]
    signed = np.empty(len(places))
    outer, inner = voxels.outside(face_offsets(3)), voxels.surface()
    for side, sign, border in ((inside, 1, outer), (~inside, -1, inner)):
        signed[side] = sign * KDTree(to_mm(voxels.index(border), affine), leafsize=32).query(points[side])[0]
    return signed
