"""Projection, back-projection and blur of many slices at once, with the slices along the last axis.

The work on one position is the same for all slices, so the inner loops run over them, and only the outer ones compute
positions and weights. No sum is reordered: a slice's result does not depend on which slices it is processed with.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compiling import kernel

_BAND = 8  # rows of the image that stay in the processor's cache while all angles read them
_TILE = 16  # edge of the square of pixels that stays there while all angles add to it


@kernel
def project(
    framed: NDArray[np.float32], cosines: NDArray[np.float64], sines: NDArray[np.float64], bins: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sum the samples of a rotated grid along its columns, and along its rows: the projection 90 degrees on.

    Args:
        framed: slices with a frame of zeros, one pixel wide, ``(X + 2, Y + 2, Z)``.
        cosines: of the angles, which lie within 45 degrees of 0, ``(angles,)``.
        sines: of the same angles.
        bins: samples along each edge of the grid; odd.

    Returns:
        Both sums, ``(angles, bins, Z)`` each.
    """
    width, height, depth = framed.shape
    half = bins // 2
    centre_x, centre_y = (width - 2) // 2 + 1, (height - 2) // 2 + 1
    along = np.zeros((len(cosines), bins, depth), np.float32)
    across = np.zeros((len(cosines), bins, depth), np.float32)
    for band in range(0, width - 1, _BAND):
        band_end = min(band + _BAND, width - 1)
        for angle in range(len(cosines)):
            cos, sin = cosines[angle], sines[angle]
            for column in range(-half, half + 1):
                start_x, start_y = centre_x - sin * column, centre_y + cos * column
                first, last = _crossing(start_x, cos, band, band_end)  # bands share no sample, and miss none
                if abs(sin) > 1e-9:
                    low, high = _crossing(start_y, sin, 0, height - 1)
                    first, last = max(first, low), min(last, high)
                elif start_y < 0 or start_y >= height - 1:
                    continue
                ray = along[angle, column + half]
                for row in range(max(first, -half), min(last, half + 1)):
                    x, y = start_x + cos * row, start_y + sin * row
                    i, j = min(max(int(x), 0), width - 2), min(max(int(y), 0), height - 2)  # against rounding
                    part_x, part_y = np.float32(x - i), np.float32(y - j)
                    both = part_x * part_y
                    only_x, only_y = part_x - both, part_y - both
                    neither = np.float32(1) - part_x - only_y
                    crossing_ray = across[angle, row + half]
                    for z in range(depth):
                        sample = (
                            neither * framed[i, j, z]
                            + only_y * framed[i, j + 1, z]
                            + only_x * framed[i + 1, j, z]
                            + both * framed[i + 1, j + 1, z]
                        )
                        ray[z] += sample
                        crossing_ray[z] += sample
    return along, across


@kernel
def backproject(
    framed: NDArray[np.float32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    width: int,
    height: int,
) -> NDArray[np.float32]:
    """Sum over all angles, at every pixel, the projection where the pixel's ray meets it.

    Args:
        framed: projections with two zero bins in front and one behind, ``(angles, bins + 3, Z)``; angles are a multiple
            of 4.
        cosines: of the angles, ``(angles,)``.
        sines: of the same angles.
        width: pixels along X.
        height: pixels along Y.

    Returns:
        Slices, ``(X, Y, Z)``.
    """
    bins, depth = framed.shape[1] - 3, framed.shape[2]
    slices, one = np.zeros((width, height, depth), np.float32), np.float32(1)
    for tile_x in range(0, width, _TILE):
        for tile_y in range(0, height, _TILE):
            for angle in range(0, len(cosines), 4):  # four at a time: a quarter of the sums to fetch and store
                for i in range(tile_x, min(tile_x + _TILE, width)):
                    for j in range(tile_y, min(tile_y + _TILE, height)):
                        x, y = i - width // 2, j - height // 2
                        bin_a, part_a = _bin(cosines[angle] * y - sines[angle] * x, bins)
                        bin_b, part_b = _bin(cosines[angle + 1] * y - sines[angle + 1] * x, bins)
                        bin_c, part_c = _bin(cosines[angle + 2] * y - sines[angle + 2] * x, bins)
                        bin_d, part_d = _bin(cosines[angle + 3] * y - sines[angle + 3] * x, bins)
                        rest_a, rest_b, rest_c, rest_d = one - part_a, one - part_b, one - part_c, one - part_d
                        for z in range(depth):
                            slices[i, j, z] += (
                                (rest_a * framed[angle, bin_a, z] + part_a * framed[angle, bin_a + 1, z])
                                + (rest_b * framed[angle + 1, bin_b, z] + part_b * framed[angle + 1, bin_b + 1, z])
                                + (rest_c * framed[angle + 2, bin_c, z] + part_c * framed[angle + 2, bin_c + 1, z])
                                + (rest_d * framed[angle + 3, bin_d, z] + part_d * framed[angle + 3, bin_d + 1, z])
                            )
    return slices


@kernel
def blur(slices: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convolve along X and along Y, repeating the border: ``(X, Y, Z)`` and an odd number of weights."""
    width, height, depth = slices.shape
    reach = len(weights) // 2
    blurred = np.zeros_like(slices)
    line = np.empty((height, depth), np.float32)
    for i in range(width):
        line[:] = 0
        for step in range(-reach, reach + 1):
            source, weight = slices[min(max(i + step, 0), width - 1)], weights[step + reach]
            for j in range(height):
                for z in range(depth):
                    line[j, z] += weight * source[j, z]
        for j in range(height):
            for step in range(-reach, reach + 1):
                near, weight = line[min(max(j + step, 0), height - 1)], weights[step + reach]
                for z in range(depth):
                    blurred[i, j, z] += weight * near[z]
    return blurred


@kernel
def _crossing(start: float, step: float, low: int, high: int) -> tuple[int, int]:
    """First and one past the last of the whole numbers n for which ``low <= start + n * step < high``."""
    if step > 0:
        return math.ceil((low - start) / step), math.ceil((high - start) / step)
    return math.floor((high - start) / step) + 1, math.floor((low - start) / step) + 1


@kernel
def _bin(position: float, bins: int) -> tuple[int, np.float32]:
    """The framed bin below a position, and how far on the position is; between two zero bins where there is none."""
    position += bins // 2
    if position < 0 or position > bins - 1:
        return 0, np.float32(0)
    below = int(position)
    return below + 2, np.float32(position - below)
