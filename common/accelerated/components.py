"""Connected components of a sparse mask by union-find over its foreground voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiling import kernel


@kernel
def label(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Label the 26-connected components of ``mask``, ``(X, Y, Z)``, in the order of their first voxel."""
    size_x, size_y, size_z = mask.shape
    labels = np.zeros(mask.shape, np.int32)
    parents = np.zeros(1024, np.int32)
    count = 0
    for x in range(size_x):
        for y in range(size_y):
            for z in range(size_z):
                if not mask[x, y, z]:
                    continue
                root = 0
                for dx in range(-1, 1):  # the 13 neighbours that come before
                    for dy in range(-1, 2):
                        for dz in range(-1, 2):
                            if (dx, dy, dz) >= (0, 0, 0):
                                continue
                            i, j, k = x + dx, y + dy, z + dz
                            if i < 0 or j < 0 or k < 0 or j >= size_y or k >= size_z or labels[i, j, k] == 0:
                                continue
                            other = labels[i, j, k]
                            while parents[other] != other:
                                parents[other] = parents[parents[other]]
                                other = parents[other]
                            if root == 0 or root == other:
                                root = other
                            elif root < other:
                                parents[other] = root
                            else:
                                parents[root] = other
                                root = other
                if root == 0:
                    count += 1
                    if count == len(parents):
                        parents = np.concatenate((parents, np.zeros(len(parents), np.int32)))
                    parents[count] = count
                    root = count
                labels[x, y, z] = root
    final = np.zeros(count + 1, np.int32)
    kept = 0
    for number in range(1, count + 1):  # a root is the smallest of its set, so it comes before its members
        root = number
        while parents[root] != root:
            root = parents[root]
        if root == number:
            kept += 1
            final[number] = kept
        else:
            final[number] = final[root]
    for x in range(size_x):
        for y in range(size_y):
            for z in range(size_z):
                if labels[x, y, z]:
                    labels[x, y, z] = final[labels[x, y, z]]
    return labels, kept
