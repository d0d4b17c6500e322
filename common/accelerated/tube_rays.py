"""Ray sums through the union of many short cylinders. Plain counterpart: ``common/phantom/xca/rays.py``."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compiling import kernel


@kernel
def add_cylinders(
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
    """Add cylinders to the images of :func:`common.phantom.xca.rays.ray_sums`, in place.

    Args:
        cylinders: rows of start and end in the camera frame, radius, excess at both ends, and weight, ``(N, 9)``.
        labels: value in the label map, 0 for a cylinder that it does not show, ``(N,)``.
        boxes: first and last row, first and last column that a cylinder can reach, the last exclusive, ``(N, 4)``.
        detector: pixel edge and distance from the source, mm.
        path: weighted length, ``(H, W)``.
        longest: longest way of a ray through one labelled cylinder, ``(H, W)``.
        label: label of that cylinder, ``(H, W)``.
        near: first depth of the stretches of a ray inside, infinite where a slot is free, ``(H, W, slots)``.
        far: last depth, same shape.
        labelled: whether a stretch touches a labelled cylinder, same shape.
    """
    pixel, distance = detector
    rows, columns, slots = near.shape
    for n in range(len(cylinders)):
        x, y, z = cylinders[n, 0], cylinders[n, 1], cylinders[n, 2]
        ax, ay, az = cylinders[n, 3] - x, cylinders[n, 4] - y, cylinders[n, 5] - z
        length = math.sqrt(ax * ax + ay * ay + az * az)
        ax, ay, az = ax / length, ay / length, az / length
        excess, weight = cylinders[n, 7], cylinders[n, 8]
        ma = -(x * ax + y * ay + z * az)
        c = x * x + y * y + z * z - ma * ma - cylinders[n, 6] * cylinders[n, 6]
        for i in range(boxes[n, 0], boxes[n, 1]):
            ey = (i - (rows - 1) / 2) * pixel / distance
            for j in range(boxes[n, 2], boxes[n, 3]):
                ex = (j - (columns - 1) / 2) * pixel / distance
                square = ex * ex + ey * ey + 1
                ea = ex * ax + ey * ay + az
                a = square - ea * ea
                b = -(x * ex + y * ey + z) - ma * ea
                root = b * b - a * c
                if root <= 0 or a < 1e-12:
                    continue
                root = math.sqrt(root)
                first, last = (-b - root) / a, (-b + root) / a
                if abs(ea) > 1e-9:
                    t0, t1 = (-excess - ma) / ea, (length + excess - ma) / ea
                    first, last = max(first, min(t0, t1)), min(last, max(t0, t1))
                elif ma < -excess or ma > length + excess:
                    continue
                if last <= first:
                    continue
                norm = math.sqrt(square)
                shown = labels[n] > 0
                if shown and (last - first) * norm > longest[i, j]:
                    longest[i, j] = (last - first) * norm
                    label[i, j] = labels[n]
                known = 0.0
                for k in range(slots):
                    if far[i, j, k] >= first and near[i, j, k] <= last:
                        known += far[i, j, k] - near[i, j, k]
                        first, last = min(first, near[i, j, k]), max(last, far[i, j, k])
                        shown = shown or labelled[i, j, k]
                        near[i, j, k], far[i, j, k], labelled[i, j, k] = math.inf, -math.inf, False
                path[i, j] += (last - first - known) * norm * weight
                for k in range(slots):
                    if near[i, j, k] == math.inf:
                        near[i, j, k], far[i, j, k], labelled[i, j, k] = first, last, shown
                        break
