"""Patch lines: short strokes that reconnect the pieces of a vessel, where their ends point at each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .common.components import label_components
from .common.skeleton import skeletonize
from .refinement_rule import MIN_TRACE, RefinementRule

NEIGHBOURS = [offset for offset in product((-1, 0, 1), repeat=2) if any(offset)]
ROUNDING = 1e-9
DIGITS = 9  # of a cost: two that differ by rounding alone are equal

Mask = NDArray[np.bool_]
Pixel = tuple[int, int]


@dataclass(frozen=True)
class PatchLine:
    """A stroke between two pieces of vessel.

    Args:
        start: row and column of the end that it continues.
        end: row and column of the skeleton that it leads to.
        gap: background pixels on it.
        start_angle_deg: between it and the vessel at its start; None where that is too short for a direction.
        end_angle_deg: the same where its other end is the end of a vessel, else None.
        width: its width in pixels.
    """

    start: Pixel
    end: Pixel
    gap: int
    start_angle_deg: float | None
    end_angle_deg: float | None
    width: float


@dataclass(frozen=True)
class Skeleton:
    """The skeleton's pixels in raster order, and what is known of each.

    Args:
        pixels: rows and columns, ``(N, 2)``.
        component: number of the component that it belongs to, ``(N,)``.
        terminal: whether it is the end of a vessel, ``(N,)``.
        direction: unit vector out of the vessel at its end, NaN elsewhere and where it is too short, ``(N, 2)``.
        width: of the vessel in pixels, ``(N,)``.
    """

    pixels: NDArray[np.int64]
    component: NDArray[np.int32]
    terminal: Mask
    direction: NDArray[np.float64]
    width: NDArray[np.float64]


def draw_patch_lines(
    mask: Mask, rule: RefinementRule, probability: NDArray[np.floating] | None = None
) -> tuple[Mask, list[PatchLine]]:
    """Connect the components of a mask where an end of one points at another, the cheapest connections first.

    Args:
        mask: ``(H, W)``.
        rule: the limits, in pixels of this mask.
        probability: of vessel, ``(H, W)``; only read where the rule has a ``min_gap_prob``.

    Returns:
        The pixels that the lines add to the mask, ``(H, W)``, and the lines in the order in which they were drawn.
    """
    labels, count = label_components(mask)
    patches = np.zeros(mask.shape, bool)
    if count < 2 or rule.max_gap < 1:
        return patches, []
    skeleton = _describe(mask, labels, round(rule.trace))
    found = [
        candidate
        for start in np.flatnonzero(skeleton.terminal)
        for candidate in _candidates(int(start), skeleton, labels, rule, probability)
    ]
    group = np.arange(count + 1)  # of each component: the components joined so far
    lines = []
    for _, _, start, end, gap in sorted(found):
        first, second = group[skeleton.component[[start, end]]]
        if first == second:
            continue
        line = _line(skeleton, start, end, gap, rule.max_width)
        box, stroke = _stroke(line, mask.shape)
        touched = labels[box][ndimage.binary_dilation(stroke, np.ones((3, 3)))]
        merged = np.unique(group[touched[touched > 0]])  # a thick stroke may touch what the thin line did not
        group[np.isin(group, merged)] = first
        labels[box][stroke & (labels[box] == 0)] = skeleton.component[start]
        patches[box] |= stroke & ~mask[box]
        lines.append(line)
    return patches, lines


def _describe(mask: Mask, labels: NDArray[np.int32], trace: int) -> Skeleton:
    lines = skeletonize(mask)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]  # outside the image is outside the vessel
    neighbours = ndimage.correlate(lines.astype(np.uint8), np.ones((3, 3), np.uint8), mode="constant") - 1
    pixels = np.argwhere(lines)
    rows, columns = pixels.T
    terminal = neighbours[rows, columns] <= 1
    width = 2 * depth[rows, columns] - 1
    direction = np.full(pixels.shape, np.nan)
    inside = np.pad(lines, 1)
    for index in np.flatnonzero(terminal):
        path = np.array(_walk(inside, pixels[index] + 1, trace)) - 1
        width[index] = np.median(2 * depth[tuple(path.T)] - 1)
        if len(path) >= MIN_TRACE:
            way = path[0] - path[-1]
            direction[index] = way / np.linalg.norm(way)
    return Skeleton(pixels, labels[rows, columns], terminal, direction, width)


def _walk(lines: Mask, start: NDArray[np.int64], trace: int) -> list[Pixel]:
    """Follow a line (its mask has an empty border) from its end to a branch, its other end, or for ``trace`` pixels."""
    path = [(int(start[0]), int(start[1]))]
    while len(path) < trace:
        row, column = path[-1]
        ahead = [(row + i, column + j) for i, j in NEIGHBOURS if lines[row + i, column + j]]
        ahead = [pixel for pixel in ahead if pixel not in path]
        if len(ahead) == 2 and math.dist(*ahead) == 1:  # a step of a staircase, not a branch
            ahead = [pixel for pixel in ahead if math.dist(pixel, path[-1]) == 1]
        if len(ahead) != 1:
            break
        path += ahead
    return path


def _candidates(
    start: int,
    skeleton: Skeleton,
    labels: NDArray[np.int32],
    rule: RefinementRule,
    probability: NDArray[np.floating] | None,
) -> Iterator[tuple[float, float, int, int, int]]:
    """Yield cost, length, start, end and gap of the cheapest line to each component; a dearer one is never drawn."""
    reach = rule.max_gap + 2 * rule.max_width
    length = np.hypot(*(skeleton.pixels - skeleton.pixels[start]).T)
    ends = np.flatnonzero((length <= reach) & (skeleton.component != skeleton.component[start]))
    at_start, at_end = _cosines(skeleton, start, ends)
    least = math.cos(math.radians(rule.max_angle_deg)) - ROUNDING
    ahead = (at_start >= least) & (at_end >= least)
    ends, at_start, at_end = ends[ahead], at_start[ahead], at_end[ahead]
    on_line = _raster(skeleton.pixels[start], skeleton.pixels[ends])
    under = labels[on_line]
    between = under == 0
    foreign = ~between & (under != skeleton.component[start]) & (under != skeleton.component[ends][:, None])
    gap = between.sum(1)
    allowed = ~foreign.any(1) & (gap >= 1) & (gap <= rule.max_gap)
    if rule.min_gap_prob > 0 and probability is not None:
        allowed &= np.where(between, probability[on_line], 0).sum(1) >= rule.min_gap_prob * gap
    cost = (gap + rule.angle_weight * (2 - at_start - at_end)).round(DIGITS)
    joined: set[int] = set()
    for index in np.lexsort((ends, length[ends], cost)):
        end = int(ends[index])
        other = int(skeleton.component[end])
        if allowed[index] and other not in joined:
            joined.add(other)
            yield float(cost[index]), float(length[end]), start, end, int(gap[index])


def _cosines(skeleton: Skeleton, start: int, ends: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosines of the angles between the lines to ``ends`` and the vessels at both ends; 1 where there is none."""
    way = skeleton.pixels[ends] - skeleton.pixels[start]
    way = way / np.linalg.norm(way, axis=1, keepdims=True)
    at_start, at_end = way @ skeleton.direction[start], -(way * skeleton.direction[ends]).sum(1)
    return np.where(np.isnan(at_start), 1, at_start), np.where(np.isnan(at_end), 1, at_end)


def _raster(start: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns, ``(N, L)`` each, of the straight lines to N ends; short ones repeat their last pixel."""
    way = ends - start
    steps = np.abs(way).max(1, initial=1)
    share = np.minimum(np.arange(steps.max(initial=0) + 1) / steps[:, None], 1)  # (N, L)
    rows, columns = (np.rint(start[axis] + share * way[:, axis, None]).astype(np.int64) for axis in (0, 1))
    return rows, columns


def _line(skeleton: Skeleton, start: int, end: int, gap: int, max_width: float) -> PatchLine:
    cosines = _cosines(skeleton, start, np.array([end]))
    angles = [
        None if np.isnan(skeleton.direction[index]).any() else math.degrees(math.acos(np.clip(cosine[0], -1, 1)))
        for index, cosine in zip((start, end), cosines, strict=True)
    ]
    width = float(np.clip(skeleton.width[[start, end]].mean(), 1, max_width))
    first, last = ((int(row), int(column)) for row, column in skeleton.pixels[[start, end]])
    return PatchLine(first, last, gap, angles[0], angles[1], width)


def _stroke(line: PatchLine, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], Mask]:
    """Return a box two pixels wider than the stroke, and the pixels in it whose centres the stroke covers."""
    ends = np.array([line.start, line.end], np.float64)
    margin = math.ceil(line.width / 2) + 2
    low = np.maximum(ends.min(0) - margin, 0).astype(int)
    high = np.minimum(ends.max(0) + margin + 1, shape).astype(int)
    box = (slice(low[0], high[0]), slice(low[1], high[1]))
    pixels = np.moveaxis(np.mgrid[box], 0, -1)  # (rows, columns, 2)
    way = ends[1] - ends[0]
    along = np.clip((pixels - ends[0]) @ way / (way @ way), 0, 1)
    distance = np.linalg.norm(pixels - ends[0] - along[..., None] * way, axis=-1)
    return box, distance <= line.width / 2 + ROUNDING
