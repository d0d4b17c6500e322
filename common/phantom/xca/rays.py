"""Ray sums: how long the ray of every pixel runs inside tubes, in which of them, and how many lie in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .carm import CArm

try:
    from ...accelerated import tube_rays as _accelerated
except ImportError:  # without numba
    _accelerated = None  # type: ignore[assignment]

SLOTS = 6
"""Separate stretches of one ray inside tubes that are told apart; more are summed, but not counted."""

_EXCESS = 0.1  # cylinders overlap by this share of their radius: no gaps where the vessel turns within 3 mm


@dataclass(frozen=True)
class Tubes:
    """Tubes in the patient frame, cut into short cylinders.

    Attributes:
        starts: ``(N, 3)`` RAS mm.
        ends: ``(N, 3)`` RAS mm.
        radius_mm: ``(N,)``.
        weight: factor of the length inside, ``(N,)``.
        label: value in the label map, 0 for those that it does not show, ``(N,)``.
    """

    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    weight: NDArray[np.float64]
    label: NDArray[np.uint8]

    @staticmethod
    def along(
        points: NDArray[np.float64],
        radius_mm: NDArray[np.float64] | float,
        weight: NDArray[np.float64] | float = 1.0,
        label: NDArray[np.uint8] | int = 0,
    ) -> Tubes:
        """Return the tube along a line; radius, weight and label hold at its points, ``(N,)`` or one for all."""
        count = len(points)
        radius, factor = (np.broadcast_to(np.asarray(v, np.float64), count) for v in (radius_mm, weight))
        labels = np.broadcast_to(np.asarray(label, np.uint8), count)
        mean = (radius[1:] + radius[:-1]) / 2, (factor[1:] + factor[:-1]) / 2
        return Tubes(points[:-1], points[1:], *mean, np.minimum(labels[1:], labels[:-1]))

    @staticmethod
    def joined(parts: Sequence[Tubes]) -> Tubes:
        """Return several sets of tubes as one."""
        columns = zip(*[(p.starts, p.ends, p.radius_mm, p.weight, p.label) for p in parts], strict=True)
        starts, ends, radius, weight, label = (np.concatenate(column) for column in columns)
        return Tubes(starts, ends, radius, weight, label)


@dataclass(frozen=True)
class RaySums:
    """What the rays of a detector meet, ``(H, W)`` each.

    Attributes:
        path_mm: weighted length inside the union of the tubes.
        label: label of the cylinder that the ray runs in longest; 0 outside.
        overlap: separate stretches of the ray inside labelled tubes.
    """

    path_mm: NDArray[np.float32]
    label: NDArray[np.uint8]
    overlap: NDArray[np.uint8]


def ray_sums(tubes: Tubes, carm: CArm) -> RaySums:
    """Return what the ray through every pixel centre meets.

    Where tubes overlap in space, as at a bifurcation, their union counts; where they lie behind each other, their sum.

    Args:
        tubes: the tubes.
        carm: source and detector.
    """
    shape = carm.shape
    path, longest = np.zeros(shape), np.zeros(shape)
    label = np.zeros(shape, np.uint8)
    near, far = np.full((*shape, SLOTS), np.inf), np.full((*shape, SLOTS), -np.inf)
    labelled = np.zeros((*shape, SLOTS), bool)
    cylinders, labels, boxes = _cylinders(tubes, carm)
    add = _add_cylinders if _accelerated is None else _accelerated.add_cylinders
    detector = (float(carm.pixel_mm), float(carm.source_detector_mm))
    add(cylinders, labels, boxes, detector, path, longest, label, near, far, labelled)
    return RaySums(path.astype(np.float32), label, labelled.sum(axis=2, dtype=np.uint8))


def _cylinders(tubes: Tubes, carm: CArm) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.int64]]:
    """Return the table of cylinders, their labels and the boxes of pixels that they can reach; see the kernel."""
    starts, ends = carm.to_camera(tubes.starts), carm.to_camera(tubes.ends)
    excess = _EXCESS * tubes.radius_mm
    table = np.column_stack([starts, ends, tubes.radius_mm, excess, tubes.weight])
    middle = np.array([(carm.shape[0] - 1) / 2, (carm.shape[1] - 1) / 2])
    scale = [carm.source_detector_mm / (p[:, 2:] * carm.pixel_mm) for p in (starts, ends)]
    first, last = (p[:, 1::-1] * s + middle for p, s in zip((starts, ends), scale, strict=True))
    reach = 1.02 * (tubes.radius_mm + excess)[:, None] * np.maximum(*scale) + 1
    low = np.clip(np.floor(np.minimum(first, last) - reach), 0, carm.shape).astype(np.int64)
    high = np.clip(np.ceil(np.maximum(first, last) + reach) + 1, 0, carm.shape).astype(np.int64)
    length = np.linalg.norm(ends - starts, axis=1)
    keep = (high > low).all(axis=1) & (length > 1e-6) & (tubes.radius_mm > 0)
    boxes = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
    return np.ascontiguousarray(table[keep]), np.ascontiguousarray(tubes.label[keep]), boxes[keep]


def _add_cylinders(
    cylinders: NDArray[np.float64],
    labels: NDArray[np.uint8],
    boxes: NDArray[np.int64],
    detector: tuple[float, float],
    path: NDArray[np.float64],
    longest: NDArray[np.float64],
    label: NDArray[np.uint8],
    near: NDArray[np.float64],
    far: NDArray[np.float64],
    labelled: NDArray[np.bool_],
) -> None:
    """Do what ``common.accelerated.tube_rays.add_cylinders`` does, cylinder by cylinder, with equal results."""
    rows, columns, slots = near.shape
    ey = (np.arange(rows) - (rows - 1) / 2) * detector[0] / detector[1]
    ex = (np.arange(columns) - (columns - 1) / 2) * detector[0] / detector[1]
    for row, value, (top, bottom, left, right) in zip(cylinders, labels, boxes, strict=True):
        window = (slice(top, bottom), slice(left, right))
        first, last, norm = _stretch(row, ey[top:bottom, None], ex[None, left:right])
        inside = last > first
        length = np.where(inside, (last - first) * norm, 0)
        if value:
            longer = length > longest[window]
            longest[window][longer], label[window][longer] = length[longer], value
        shown, known = np.logical_and(inside, bool(value)), np.zeros_like(first)
        for k in range(slots):
            begin, end, flag = (a[window][..., k] for a in (near, far, labelled))
            meets = inside & (end >= first) & (begin <= last)
            known[meets] += end[meets] - begin[meets]
            first, last = np.where(meets, np.minimum(first, begin), first), np.where(meets, np.maximum(last, end), last)
            shown |= np.logical_and(meets, flag)
            begin[meets], end[meets], flag[meets] = np.inf, -np.inf, False
        path[window][inside] += ((last - first - known) * norm * row[8])[inside]
        for k in range(slots):
            begin, end, flag = (a[window][..., k] for a in (near, far, labelled))
            free = inside & np.isinf(begin)
            begin[free], end[free], flag[free] = first[free], last[free], shown[free]
            inside = inside & ~free


def _stretch(
    cylinder: NDArray[np.float64], ey: NDArray[np.float64], ex: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return where rays enter and leave a cylinder (depth) and the length of one unit of depth."""
    x, y, z = cylinder[:3]
    axis = cylinder[3:6] - cylinder[:3]
    length = float(np.linalg.norm(axis))
    ax, ay, az = axis / length
    excess = cylinder[7]
    ma = -(x * ax + y * ay + z * az)
    c = x * x + y * y + z * z - ma * ma - cylinder[6] ** 2
    square = ex * ex + ey * ey + 1
    ea = ex * ax + ey * ay + az
    a = square - ea * ea
    b = -(x * ex + y * ey + z) - ma * ea
    root = b * b - a * c
    hit = (root > 0) & (a >= 1e-12)
    root, a = np.sqrt(np.where(hit, root, 0)), np.where(hit, a, 1)
    first, last = np.where(hit, (-b - root) / a, 0), np.where(hit, (-b + root) / a, -1)
    tilted = np.abs(ea) > 1e-9
    slope = np.where(tilted, ea, 1)
    t0, t1 = (-excess - ma) / slope, (length + excess - ma) / slope
    beside = not -excess <= ma <= length + excess
    first = np.where(tilted, np.maximum(first, np.minimum(t0, t1)), first)
    last = np.where(tilted, np.minimum(last, np.maximum(t0, t1)), -np.inf if beside else last)
    return first, last, np.sqrt(square)
