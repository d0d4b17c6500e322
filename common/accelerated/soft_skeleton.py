"""Fused soft skeleton and its gradient. Plain counterpart: ``common/soft_skeleton.py``.

The forward pass walks through the planes of a volume in waves: as soon as a plane of one level is eroded, the next
level follows one plane behind, so that what a step reads was written a moment ago and is still in the cache. Innermost
loops run over whole rows without a branch, because only then does the compiler vectorise them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiling import kernel

Array = NDArray[np.float32]


@kernel
def soft_skeleton(volumes: Array, levels: int) -> Array:
    """Soft skeleton of each volume.

    Args:
        volumes: probabilities in [0, 1], ``(N, X, Y, Z)``.
        levels: number of openings, one more than the iterations.

    Returns:
        Skeleton in [0, 1], same shape.
    """
    skeletons = np.ones_like(volumes)
    eroded = np.empty((levels + 1, 4) + volumes.shape[2:], np.float32)  # noqa: RUF005 (numba), a ring of 4 planes each
    for n in range(len(volumes)):
        _sweep(volumes[n], eroded, skeletons[n])
    flat = skeletons.reshape(-1)
    for i in range(flat.size):
        flat[i] = np.float32(1) - flat[i]
    return skeletons


@kernel
def soft_skeleton_gradient(volumes: Array, upstream: Array, levels: int) -> Array:
    """Gradient of a scalar with respect to the volumes, given the one with respect to their skeletons.

    Args:
        volumes: as given to :func:`soft_skeleton`, ``(N, X, Y, Z)``.
        upstream: gradient with respect to the skeletons, same shape.
        levels: as given to :func:`soft_skeleton`.

    Returns:
        Gradient, same shape. Of several equal neighbours one receives all of it.
    """
    gradients = np.empty_like(volumes)
    eroded = np.empty((levels + 1,) + volumes.shape[1:], np.float32)  # noqa: RUF005 (numba)
    product = np.empty(volumes.shape[1:], np.float32)
    passed = np.empty((2,) + volumes.shape[1:], np.float32)  # noqa: RUF005 (numba), of even and of odd levels
    for n in range(len(volumes)):
        product[:] = 1
        _sweep(volumes[n], eroded, product)
        passed[levels % 2] = 0
        for level in range(levels - 1, -1, -1):
            passed[level % 2] = 0
            _level_gradient(
                eroded[level], eroded[level + 1], product, upstream[n], passed[level % 2], passed[(level + 1) % 2]
            )
        gradients[n] = passed[0]
    return gradients


@kernel
def _sweep(volume: Array, eroded: Array, product: Array) -> None:
    """Erode level by level into ``eroded`` (levels + 1, ring, Y, Z) and multiply ``product`` by each 1 - delta."""
    planes, rows, columns = volume.shape
    levels, ring = len(eroded) - 1, eroded.shape[1]
    widened = np.empty((levels, 3, rows, columns), np.float32)
    raised = np.empty((rows, columns), np.float32)
    for wave in range(planes + levels + 1):
        if wave < planes:
            eroded[0, wave % ring] = volume[wave]
        for level in range(levels):
            x = wave - level - 1
            if 0 <= x < planes:
                source, target = eroded[level], eroded[level + 1, x % ring]
                _erode(source[max(x - 1, 0) % ring], source[x % ring], source[min(x + 1, planes - 1) % ring], target)
                _widen(target, raised, widened[level, x % 3])
            x -= 1
            if 0 <= x < planes:
                planes_around = widened[level]
                _multiply(
                    product[x],
                    eroded[level, x % ring],
                    planes_around[max(x - 1, 0) % 3],
                    planes_around[x % 3],
                    planes_around[min(x + 1, planes - 1) % 3],
                )


@kernel
def _erode(before: Array, plane: Array, after: Array, target: Array) -> None:
    """Minimum of each voxel of ``plane`` and its 6 neighbours."""
    rows = len(plane)
    for y in range(rows):
        row, out = plane[y], target[y]
        above, below = plane[max(y - 1, 0)], plane[min(y + 1, rows - 1)]
        front, back = before[y], after[y]
        for z in range(row.size):
            out[z] = min(min(min(row[z], above[z]), min(below[z], front[z])), back[z])
        _lower(out[:-1], row[1:])
        _lower(out[1:], row[:-1])


@kernel
def _widen(plane: Array, raised: Array, target: Array) -> None:
    """Maximum over 3 columns into ``raised``, and over 3 rows of that into ``target``."""
    rows = len(plane)
    for y in range(rows):
        raised[y] = plane[y]
        _raise(raised[y, :-1], plane[y, 1:])
        _raise(raised[y, 1:], plane[y, :-1])
    for y in range(rows):
        above, row, below, out = raised[max(y - 1, 0)], raised[y], raised[min(y + 1, rows - 1)], target[y]
        for z in range(row.size):
            out[z] = max(max(above[z], row[z]), below[z])


@kernel
def _multiply(product: Array, plane: Array, before: Array, middle: Array, after: Array) -> None:
    for y in range(len(plane)):
        out, row, front, center, back = product[y], plane[y], before[y], middle[y], after[y]
        for z in range(row.size):
            opened = max(max(front[z], center[z]), back[z])
            out[z] *= np.float32(1) - max(row[z] - opened, np.float32(0))


@kernel
def _lower(target: Array, other: Array) -> None:
    for i in range(target.size):
        target[i] = min(target[i], other[i])


@kernel
def _raise(target: Array, other: Array) -> None:
    for i in range(target.size):
        target[i] = max(target[i], other[i])


@kernel
def _level_gradient(volume: Array, eroded: Array, product: Array, upstream: Array, outer: Array, inner: Array) -> None:
    """Add the gradients of one level: to ``outer`` (of ``volume``), by way of ``inner`` (of ``eroded``)."""
    planes, rows, columns = volume.shape
    raised = np.empty((3, rows, columns), np.float32)
    widened = np.empty((3, rows, columns), np.float32)
    shares = np.empty((3, rows, columns), np.float32)  # gradient of widened
    opened = np.empty((rows, columns), np.float32)
    scratch = np.empty((rows, columns), np.float32)
    for step in range(planes + 2):
        if step < planes:
            _widen(eroded[step], raised[step % 3], widened[step % 3])
            shares[step % 3] = 0
        x = step - 1
        if 0 <= x < planes:
            before, middle, after = max(x - 1, 0) % 3, x % 3, min(x + 1, planes - 1) % 3
            _open(widened[before], widened[middle], widened[after], opened)
            _delta_gradient(volume[x], opened, product[x], upstream[x], outer[x], scratch)
            _claim(scratch, opened, widened[middle], shares[middle])
            _claim(scratch, opened, widened[before], shares[before])
            _claim(scratch, opened, widened[after], shares[after])
        x = step - 2
        if x >= 0:
            scratch[:] = 0  # gradient of raised
            _claim_rows(shares[x % 3], widened[x % 3], raised[x % 3], scratch)
            _claim_columns(scratch, raised[x % 3], eroded[x], inner[x])
            _claim_columns(inner[x], eroded[x], volume[x], outer[x])
            _claim_rows(inner[x], eroded[x], volume[x], outer[x])
            _claim(inner[x], eroded[x], volume[max(x - 1, 0)], outer[max(x - 1, 0)])
            _claim(inner[x], eroded[x], volume[min(x + 1, planes - 1)], outer[min(x + 1, planes - 1)])


@kernel
def _open(before: Array, middle: Array, after: Array, target: Array) -> None:
    front, center, back, out = before.reshape(-1), middle.reshape(-1), after.reshape(-1), target.reshape(-1)
    for i in range(out.size):
        out[i] = max(max(front[i], center[i]), back[i])


@kernel
def _delta_gradient(plane: Array, opened: Array, product: Array, upstream: Array, outer: Array, share: Array) -> None:
    """Gradient of delta = max(plane - opened, 0): added for the plane, its negative written to ``share`` for opened."""
    value, highest, others, above = plane.reshape(-1), opened.reshape(-1), product.reshape(-1), upstream.reshape(-1)
    down, out = share.reshape(-1), outer.reshape(-1)
    for i in range(down.size):
        delta = value[i] - highest[i]
        rest = np.float32(1) - delta
        # Without this level's factor; if that is 0, all other deltas are 0, since their sum is at most 1.
        factor = others[i] / rest if rest > 0 else np.float32(1)
        down[i] = -above[i] * factor if delta > 0 else np.float32(0)
    for i in range(down.size):
        out[i] -= down[i]


@kernel
def _claim_rows(share: Array, value: Array, source: Array, gradient: Array) -> None:
    """:func:`_claim` for the rows of a plane themselves, then for their neighbours."""
    _claim(share, value, source, gradient)
    _claim(share[1:], value[1:], source[:-1], gradient[:-1])
    _claim(share[:-1], value[:-1], source[1:], gradient[1:])


@kernel
def _claim_columns(share: Array, value: Array, source: Array, gradient: Array) -> None:
    """:func:`_claim` for the columns of a plane themselves, then for their neighbours."""
    _claim(share, value, source, gradient)
    rows, columns = share.shape
    flat_share, flat_value = share.reshape(-1), value.reshape(-1)
    flat_source, flat_gradient = source.reshape(-1), gradient.reshape(-1)
    # In the flat plane the end of a row has the start of the next for a neighbour: it must not find anything to claim.
    edge = np.empty(rows, np.float32)
    for side, column in ((-1, 0), (1, columns - 1)):
        for y in range(rows):
            edge[y], share[y, column] = share[y, column], 0
        if side < 0:
            _claim(flat_share[1:], flat_value[1:], flat_source[:-1], flat_gradient[:-1])
        else:
            _claim(flat_share[:-1], flat_value[:-1], flat_source[1:], flat_gradient[1:])
        for y in range(rows):
            share[y, column] += edge[y]


@kernel
def _claim(share: Array, value: Array, source: Array, gradient: Array) -> None:
    """Move ``share`` to ``gradient`` wherever ``source`` is what ``value`` was taken from."""
    left, taken, found, out = share.reshape(-1), value.reshape(-1), source.reshape(-1), gradient.reshape(-1)
    for i in range(left.size):
        moved = left[i] if found[i] == taken[i] else np.float32(0)
        out[i] += moved
        left[i] -= moved
