"""Skeletons of vessel masks: thinned to lines one voxel wide, with a guard against vessels that thinning erases."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from skimage.morphology import skeletonize as _thin

from . import reach as _plain_reach
from .components import foreground_box

try:
    from .accelerated import reach as _reach
    from .accelerated import thinning as _accelerated
except ImportError:  # without numba
    _accelerated = None  # type: ignore[assignment]

REACH = 3  # voxels over which the depth of the vessel is spread before a ridge is compared with it


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
        inner = np.ascontiguousarray(mask[box])
        skeleton[box] = _restore(inner, _thin_box(inner))
    return skeleton


def _thin_box(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if _accelerated is not None and mask.ndim == 3:
        return np.asarray(_accelerated.thin(np.pad(mask, 1).astype(np.uint8))[1:-1, 1:-1, 1:-1] > 0)
    padded = np.pad(mask, 1)  # scikit-image peels a box one voxel thick along X from four sides only, as if it were 2-D
    return np.asarray(_thin(padded)[(slice(1, -1),) * mask.ndim] > 0)  # type: ignore[no-untyped-call]


def _restore(mask: NDArray[np.bool_], skeleton: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Continue ``skeleton`` into the parts of ``mask`` that it does not reach."""
    restored = np.pad(skeleton, 1)
    steps, lengths = _steps(restored.shape)
    voxels = np.append(0, np.flatnonzero(np.pad(mask, 1)))  # numbered from 1, as `reach` wants them
    numbers = np.zeros(restored.size, np.int32)
    numbers[voxels[1:]] = np.arange(1, len(voxels))
    grid = voxels, numbers, steps
    search = _plain_reach if _accelerated is None else _reach

    kept = restored.reshape(-1)[voxels]
    depth = search.depths(*grid)
    distance = search.distances(kept, *grid)
    seeds = _seeds(1 + np.flatnonzero(distance[1:] == 0), depth, *grid)
    kept[seeds] = True
    search.spread(distance, seeds, *grid)

    missed = np.flatnonzero(distance > 2 * depth + 3)
    missed = missed[depth[missed] == search.largest_around(depth, missed, *grid)]  # ridges
    width = depth
    for _ in range(REACH if len(missed) else 0):
        width = np.append(np.int32(0), search.largest_around(width, np.arange(1, len(voxels)), *grid))
    while len(missed := missed[distance[missed] > 2 * width[missed] + 3]):
        path = _path(missed[np.argmax(distance[missed])], depth, distance, lengths, *grid)
        kept[path] = True
        search.spread(distance, path, *grid)
    restored.reshape(-1)[voxels] = kept
    return restored[(slice(1, -1),) * mask.ndim]


def _steps(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what leads from a voxel to its neighbours in a flattened array, and how far each of them is."""
    offsets = np.array([offset for offset in product((-1, 0, 1), repeat=len(shape)) if any(offset)])
    strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    return np.asarray(offsets @ np.array(strides, np.int64)), np.linalg.norm(offsets, axis=1)


def _seeds(
    bare: NDArray[np.int64],
    depth: NDArray[np.int32],
    voxels: NDArray[np.int64],
    numbers: NDArray[np.int32],
    steps: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the deepest voxel of each component, all of which are ``bare``: thinning has erased them as a whole."""
    if len(bare) == 0:
        return bare
    neighbours = numbers[voxels[bare][:, None] + steps]
    rows, taken = np.nonzero(neighbours)
    columns = np.searchsorted(bare, neighbours[rows, taken])
    graph = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(bare),) * 2)
    order = np.argsort(-depth[bare], kind="stable")
    _, first = np.unique(connected_components(graph, directed=False)[1][order], return_index=True)
    return bare[order[first]]


def _path(
    end: int,
    depth: NDArray[np.int32],
    distance: NDArray[np.int32],
    lengths: NDArray[np.float64],
    voxels: NDArray[np.int64],
    numbers: NDArray[np.int32],
    steps: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the way along the middle of the vessel from the voxel ``end`` to the skeleton, without the latter."""
    region = front = np.array([end])
    for _ in range(distance[end] + REACH):  # the middle may be a little longer than the shortest way
        front = np.setdiff1d(numbers[voxels[front][:, None] + steps], np.append(0, region))
        region = np.union1d(region, front)
    neighbours = numbers[voxels[region][:, None] + steps]
    rows, taken = np.nonzero(np.isin(neighbours, region))
    ends = neighbours[rows, taken]
    costs = lengths[taken] * (depth[region[rows]] ** -2.0 + depth[ends] ** -2.0)
    graph = csr_array((costs, (rows, np.searchsorted(region, ends))), shape=(len(region),) * 2)
    start = int(np.searchsorted(region, end))
    cost, previous = dijkstra(graph, indices=start, return_predecessors=True)
    skeleton = np.flatnonzero(distance[region] == 1)
    path = [int(skeleton[np.argmin(cost[skeleton])])]
    while path[-1] != start:
        path.append(int(previous[path[-1]]))
    return np.asarray(region[path[1:]])
