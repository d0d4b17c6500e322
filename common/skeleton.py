"""Skeletons of vessel masks: thinned to lines one voxel wide, with a guard against vessels that thinning erases."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from skimage.morphology import skeletonize as _thin_volume

from . import reach as _plain_reach
from .components import foreground_box

try:
    from .accelerated import reach as _reach
    from .accelerated import thinning as _accelerated
except ImportError:  # without numba
    _accelerated = None  # type: ignore[assignment]

REACH = 3  # voxels: how far along a vessel its width is looked for, and how much longer its middle may be than the way


def skeletonize(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thin a mask to lines one voxel wide, and restore what thinning has erased.

    scikit-image's thinning in 3-D erases tubes of even width, whole or in part. Where a ridge of the mask is farther
    from the skeleton than the vessel is wide, the skeleton is continued to it along the middle of the vessel.

    Args:
        mask: ``(H, W)`` or ``(X, Y, Z)``.

    Returns:
        Skeleton of the same shape, a subset of the mask. Every connected part of the mask has one.

    Source:
        Lee, Kashyap, Chu, "Building skeleton models via 3-D medial surface/axis thinning algorithms", CVGIP 56 (1994)
        462-478, as in scikit-image, to the voxel; its defect is scikit-image's issue 3757. 2-D masks are thinned by
        scikit-image's default. The guard is ours.
    """
    mask = np.asarray(mask, dtype=bool)
    skeleton = np.zeros(mask.shape, bool)
    box = foreground_box(mask)
    if box is not None:
        inner = mask[box]
        indices = np.unravel_index(np.flatnonzero(inner), inner.shape)
        steps, lengths = _steps(inner.shape)
        places = np.ravel_multi_index(indices, tuple(size + 1 for size in inner.shape))
        neighbours = (_plain_reach if _accelerated is None else _reach).neighbours_of(places, steps)
        kept = _restore(_thin(inner, neighbours), neighbours, lengths)[1:]
        skeleton[box][tuple(index[kept] for index in indices)] = True
    return skeleton


def _thin(mask: NDArray[np.bool_], neighbours: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which voxels of ``mask``, numbered from 1, are left by thinning."""
    if _accelerated is not None and mask.ndim == 3:
        return np.asarray(_accelerated.thin(neighbours))
    padded = np.pad(mask, 1)  # scikit-image peels a box one voxel thick along X from four sides only, as if it were 2-D
    thinned = _thin_volume(padded)[(slice(1, -1),) * mask.ndim] > 0  # type: ignore[no-untyped-call]
    return np.append(False, thinned[mask])


def _restore(kept: NDArray[np.bool_], neighbours: NDArray[np.int32], lengths: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Continue the skeleton, the voxels ``kept``, into the parts of the mask that it does not reach."""
    search = _plain_reach if _accelerated is None else _reach
    depth = search.depths(neighbours)
    distance = search.distances(kept, neighbours)
    seeds = _seeds(1 + np.flatnonzero(distance[1:] == 0), depth, neighbours)
    kept[seeds] = True
    search.spread(distance, seeds, neighbours)

    missed = np.flatnonzero(distance > 2 * depth + 3)
    missed = missed[depth[missed] == search.largest_around(depth, missed, neighbours)]  # ridges
    width = depth
    for _ in range(REACH if len(missed) else 0):
        width = np.append(np.int32(0), search.largest_around(width, np.arange(1, len(width)), neighbours))
    while len(missed := missed[distance[missed] > 2 * width[missed] + 3]):
        path = _path(missed[np.argmax(distance[missed])], depth, distance, neighbours, lengths)
        kept[path] = True
        search.spread(distance, path, neighbours)
    return kept


def _steps(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what leads from a voxel to its neighbours in a flattened array, and how far each of them is.

    The array is one voxel larger than ``shape`` on each axis: from the end of a row nothing then leads into the next.
    """
    offsets = np.array([offset for offset in product((-1, 0, 1), repeat=len(shape)) if any(offset)])
    strides = [math.prod(size + 1 for size in shape[axis + 1 :]) for axis in range(len(shape))]
    return np.asarray(offsets @ np.array(strides, np.int64)), np.linalg.norm(offsets, axis=1)


def _seeds(bare: NDArray[np.int64], depth: NDArray[np.int32], neighbours: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the deepest voxel of each component, all of which are ``bare``: thinning has erased them as a whole."""
    if len(bare) == 0:
        return bare
    rows, taken = np.nonzero(neighbours[bare])
    columns = np.searchsorted(bare, neighbours[bare][rows, taken])
    graph = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(bare),) * 2)
    order = np.argsort(-depth[bare], kind="stable")
    _, first = np.unique(connected_components(graph, directed=False)[1][order], return_index=True)
    return bare[order[first]]


def _path(
    end: int,
    depth: NDArray[np.int32],
    distance: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    lengths: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return the way along the middle of the vessel from the voxel ``end`` to the skeleton, without the latter."""
    region = front = np.array([end])
    for _ in range(distance[end] + REACH):  # the middle may be a little longer than the shortest way
        front = np.setdiff1d(neighbours[front], np.append(0, region))
        region = np.union1d(region, front)
    rows, taken = np.nonzero(np.isin(neighbours[region], region))
    ends = neighbours[region][rows, taken]
    costs = lengths[taken] * (depth[region[rows]] ** -2.0 + depth[ends] ** -2.0)
    graph = csr_array((costs, (rows, np.searchsorted(region, ends))), shape=(len(region),) * 2)
    start = int(np.searchsorted(region, end))
    cost, previous = dijkstra(graph, indices=start, return_predecessors=True)
    skeleton = np.flatnonzero(distance[region] == 1)
    path = [int(skeleton[np.argmin(cost[skeleton])])]
    while path[-1] != start:
        path.append(int(previous[path[-1]]))
    return np.asarray(region[path[1:]])
