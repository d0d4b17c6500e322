"""Skeletons of vessel masks: thinned to lines one voxel wide, with a guard against vessels that thinning erases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from skimage.morphology import skeletonize as _thin

from .components import foreground_box

try:
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
    return np.asarray(_thin(mask) > 0)  # type: ignore[no-untyped-call]


def _restore(mask: NDArray[np.bool_], skeleton: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Continue ``skeleton`` into the parts of ``mask`` that it does not reach."""
    voxels = np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape), axis=1)
    neighbours = _neighbours(mask, voxels)
    depth = _depth(neighbours)
    width = depth
    for _ in range(REACH):
        width = np.maximum(width, np.append(width, 0)[neighbours].max(1))
    ridge = depth >= np.append(depth, 0)[neighbours].max(1)
    kept = skeleton[mask]
    while True:
        distance = _distance(neighbours, kept)
        unreached = ridge & (distance > 2 * width + 2)
        if not unreached.any():
            break
        kept = _continue(voxels, neighbours, depth, kept, np.where(unreached, distance, 0.0))
    restored = np.zeros_like(mask)
    restored[mask] = kept
    return restored


def _neighbours(mask: NDArray[np.bool_], voxels: NDArray[np.int_]) -> NDArray[np.int_]:
    """For each of n voxels the numbers of its neighbours, ``(n, 3**axes - 1)``; n stands for one outside the mask."""
    padded = np.pad(mask, 1)
    numbers = np.full(padded.shape, len(voxels), np.int32)
    numbers[padded] = np.arange(len(voxels))
    cube = np.indices((3,) * mask.ndim).reshape(mask.ndim, -1)
    steps = np.asarray(np.ravel_multi_index(tuple(cube), padded.shape))
    steps = np.delete(steps - steps[len(steps) // 2], len(steps) // 2)
    places = np.ravel_multi_index(tuple((voxels + 1).T), padded.shape)
    return np.asarray(numbers.reshape(-1)[places[:, None] + steps])


def _depth(neighbours: NDArray[np.int_]) -> NDArray[np.int_]:
    """Steps from each voxel to the outside, 1 at the surface."""
    depth = np.append(np.ones(len(neighbours), np.int_), 0)
    inner: NDArray[np.int_] = np.arange(len(neighbours))
    level = 1
    while len(inner):
        inner = inner[depth[neighbours[inner]].min(1) == level]
        level += 1
        depth[inner] = level
    return depth[:-1]


def _distance(neighbours: NDArray[np.int_], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Steps within the mask from each voxel to the nearest kept one; infinity where there is none."""
    distance = np.full(len(neighbours) + 1, np.inf)
    distance[-1] = -1  # outside: never entered
    front: NDArray[np.int_] = np.flatnonzero(kept)
    steps = 0
    while len(front):
        distance[front] = steps
        steps += 1
        around = neighbours[front].ravel()
        front = np.unique(around[np.isinf(distance[around])])
    return distance[:-1]


def _continue(
    voxels: NDArray[np.int_],
    neighbours: NDArray[np.int_],
    depth: NDArray[np.int_],
    kept: NDArray[np.bool_],
    missed: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Add, in each connected part of the mask, the path along its middle to the voxel of largest ``missed``."""
    rows, columns = np.nonzero(neighbours < len(voxels))
    ends = neighbours[rows, columns]
    length = np.linalg.norm(voxels[rows] - voxels[ends], axis=1)
    graph = csr_array((length * (1 / depth[rows] ** 2 + 1 / depth[ends] ** 2), (rows, ends)), shape=(len(voxels),) * 2)
    _, parts = connected_components(graph, directed=False)
    kept = kept.copy()
    bare = np.isinf(missed)  # parts without any skeleton start from their deepest voxel
    kept[_first_of_each(parts, np.where(bare, depth, 0.0))] = True
    _, previous, _ = dijkstra(graph, indices=np.flatnonzero(kept), min_only=True, return_predecessors=True)
    for voxel in _first_of_each(parts, np.where(bare, 0.0, missed)):
        while not kept[voxel]:
            kept[voxel] = True
            voxel = previous[voxel]
    return kept


def _first_of_each(parts: NDArray[np.int_], values: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return, for each part that has a positive value, the number of its voxel of greatest value."""
    order = np.argsort(-values, kind="stable")
    order = order[values[order] > 0]
    _, first = np.unique(parts[order], return_index=True)
    return np.asarray(order[first])
