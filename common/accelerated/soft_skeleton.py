"""Fused soft skeleton and its gradient. Plain counterpart: ``common/soft_skeleton.py``.

The forward pass walks through the planes of a volume in waves: as soon as a plane of one level is eroded, the next
level follows one plane behind, so that what a step reads was written a moment ago and is still in the cache. Innermost
loops run over whole rows without a branch, because only then does the compiler vectorise them.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(product: Array, plane: Array, before: Array, middle: Array, after: Array) -> None:
    for y in range(len(plane)):
        out, row, front, center, back = product[y], plane[y], before[y], middle[y], after[y]
        for z in range(row.size):
            opened = max(max(front[z], center[z]), back[z])
            out[z] *= np.float32(1) - max(row[z] - opened, np.float32(0))


@njit(cache=True, nogil=True, error_model="numpy")
def _lower(target: Array, other: Array) -> None:
    for i in range(target.size):
        target[i] = min(target[i], other[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _raise(target: Array, other: Array) -> None:
    for i in range(target.size):
        target[i] = max(target[i], other[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _level_gradient(volume: Array, eroded: Array, product: Array, upstream: Array, outer: Array, inner: Array) -> None:
    """Add the gradients of one level: to ``outer`` (of ``volume``), by way of ``inner`` (of ``eroded``)."""
    planes, rows, columns = volume.shape
    raised = np.empty((3, rows, columns), np.float32)
    widened = np.empty((3, rows, columns), np.float32)
    shares = np.empty((3, rows, columns), np.float32)  # gradient of widened
    for step in range(planes + 2):
        if step < planes:
            _widen(eroded[step], raised[step % 3], widened[step % 3])
            shares[step % 3] = 0
        x = step - 1
        if 0 <= x < planes:
            _delta_gradient(x, volume[x], product[x], upstream[x], outer[x], widened, shares, planes)
        x = step - 2
        if x >= 0:
            _dilation_gradient(eroded[x], raised[x % 3], widened[x % 3], shares[x % 3], inner[x])
            _erosion_gradient(x, volume, eroded[x], inner[x], outer)


@njit(cache=True, nogil=True, error_model="numpy")
def _delta_gradient(
    x: int, plane: Array, product: Array, upstream: Array, outer: Array, widened: Array, shares: Array, planes: int
) -> None:
    """Gradient of delta = max(plane - opened, 0), passed on to the plane and to the widened planes around it."""
    columns = plane.shape[1]
    opened = np.empty(columns, np.float32)
    share = np.empty(columns, np.float32)
    before, after = max(x - 1, 0) % 3, min(x + 1, planes - 1) % 3
    for y in range(len(plane)):
        front, center, back = widened[before, y], widened[x % 3, y], widened[after, y]
        row, others, above, out = plane[y], product[y], upstream[y], outer[y]
        for z in range(columns):
            highest = max(max(front[z], center[z]), back[z])
            delta = row[z] - highest
            rest = np.float32(1) - delta
            # Without this level's factor; if that is 0, all other deltas are 0, since their sum is at most 1.
            factor = others[z] / rest if rest > 0 else np.float32(1)
            gradient = above[z] * factor if delta > 0 else np.float32(0)
            opened[z] = highest
            share[z] = -gradient
            out[z] += gradient
        _claim(share, opened, center, shares[x % 3, y])
        _claim(share, opened, front, shares[before, y])
        _claim(share, opened, back, shares[after, y])


@njit(cache=True, nogil=True, error_model="numpy")
def _dilation_gradient(plane: Array, raised: Array, widened: Array, shares: Array, inner: Array) -> None:
    """Pass the gradient of a widened plane on to the plane that was widened."""
    rows = len(plane)
    passed = np.zeros_like(plane)  # gradient of raised
    for y in range(rows):
        share, value = shares[y], widened[y]
        _claim(share, value, raised[y], passed[y])
        if y > 0:
            _claim(share, value, raised[y - 1], passed[y - 1])
        if y < rows - 1:
            _claim(share, value, raised[y + 1], passed[y + 1])
    for y in range(rows):
        _claim_row(passed[y], raised[y], plane[y], inner[y])


@njit(cache=True, nogil=True, error_model="numpy")
def _erosion_gradient(x: int, volume: Array, eroded: Array, inner: Array, outer: Array) -> None:
    """Pass the gradient of an eroded plane on to the three planes it is the minimum of."""
    planes, rows, _ = volume.shape
    for y in range(rows):
        share, value = inner[y], eroded[y]
        _claim_row(share, value, volume[x, y], outer[x, y])
        if y > 0:
            _claim(share, value, volume[x, y - 1], outer[x, y - 1])
        if y < rows - 1:
            _claim(share, value, volume[x, y + 1], outer[x, y + 1])
        if x > 0:
            _claim(share, value, volume[x - 1, y], outer[x - 1, y])
        if x < planes - 1:
            _claim(share, value, volume[x + 1, y], outer[x + 1, y])


@njit(cache=True, nogil=True, error_model="numpy")
def _claim_row(share: Array, value: Array, source: Array, gradient: Array) -> None:
    """:func:`_claim` for a row itself, then for its two neighbours in the row."""
    _claim(share, value, source, gradient)
    _claim(share[1:], value[1:], source[:-1], gradient[:-1])
    _claim(share[:-1], value[:-1], source[1:], gradient[1:])


@njit(cache=True, nogil=True, error_model="numpy")
def _claim(share: Array, value: Array, source: Array, gradient: Array) -> None:
    """Move ``share`` to ``gradient`` wherever ``source`` is what ``value`` was taken from."""
    for i in range(share.size):
        taken = share[i] if source[i] == value[i] else np.float32(0)
        gradient[i] += taken
        share[i] -= taken
