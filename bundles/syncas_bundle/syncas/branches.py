"""Branch labels: which parts of a vessel mask are anchors of the contrastive term, and which its pseudo-negatives."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from .common.grids import spacing_mm

CRUMB_SHARE = 0.05  # of all vessel voxels; a smaller component is a piece that broke off a tree
MODES = ("tree", "parity")
_MOST_BRANCHES = 120  # fits int8, whose -1 marks padding


def label_branches(mask: NDArray[np.bool_], spacing: NDArray[np.float64], mode: str = "tree") -> NDArray[np.uint8]:
    """Number the parts of a vessel mask by size, the largest 1.

    Args:
        mask: coronary arteries, ``(X, Y, Z)``.
        spacing: mm per voxel.
        mode: "tree" takes 26-connected parts and joins those below 5 % of all voxels to the nearest larger part, so
            that the left and the right tree remain; made for masks at their own resolution. "parity" takes 6-connected
            parts as published, where thick slices break thin vessels into crumbs.

    Returns:
        0 for background, 1, 2, ... for the parts; all beyond 120 share that number.

    Raises:
        ValueError: If the mode is unknown.
    """
    if mode not in MODES:
        raise ValueError(f"branch_mode must be one of {MODES}, got {mode!r}")
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)) if mode == "tree" else None)
    if count == 0:
        return np.zeros(mask.shape, np.uint8)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    owner = np.arange(count + 1)
    if mode == "tree":
        owner = _owners(parts, sizes, spacing)
        sizes = np.bincount(owner, weights=sizes, minlength=count + 1)
    rank = np.zeros(count + 1, np.uint8)
    by_size = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    rank[by_size] = np.minimum(np.arange(1, len(by_size) + 1), _MOST_BRANCHES)
    return rank[owner][parts]


class LabelBranchesd(MapTransform):
    """Number the parts of vessel masks, see :func:`label_branches`.

    Args:
        keys: masks ``(1, X, Y, Z)``, nonzero is vessel.
        mode: "tree" or "parity".
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, mode: str = "tree", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mode = mode

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the masks by branch labels, with their metadata."""
        labelled = dict(data)
        for key in self.key_iterator(labelled):
            label = labelled[key]
            mask = label[0].numpy(force=True) > 0
            branches = label_branches(mask, spacing_mm(label.affine.numpy(force=True)), self.mode)
            labelled[key] = convert_to_dst_type(branches[None], label, dtype=torch.uint8)[0]
        return labelled


def _owners(parts: NDArray[np.int32], sizes: NDArray[np.int64], spacing: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each part the part that it belongs to: itself, or for a crumb the nearest large part."""
    owner = np.arange(len(sizes))
    large = sizes >= CRUMB_SHARE * sizes.sum()
    crumbs = np.flatnonzero(~large & (sizes > 0))
    if not len(crumbs) or not large.any():
        return owner
    points = np.argwhere(parts)
    ids = parts[tuple(points.T)]
    in_large = large[ids]
    distance, nearest = cKDTree(points[in_large] * spacing).query(points[~in_large] * spacing)
    order = np.argsort(distance, kind="stable")[::-1]  # so that the shortest distance of each crumb is written last
    owner[ids[~in_large][order]] = ids[in_large][nearest[order]]
    return owner
