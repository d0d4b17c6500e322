"""Which voxels the contrastive term compares: anchors on a vessel, negatives beside it, pseudo-negatives on others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

OUTSIDE = -1  # label of padding: neither vessel nor background
LABEL_RESIZE = ("nearest", "max")
MIN_VOXELS = 10  # with fewer anchors or negatives an element of the batch is left out
_NO_VESSEL = 1000.0  # above every branch id


class Voxels(NamedTuple):
    """Flat indices into a feature map.

    Attributes:
        anchors: vessel voxels, ``(S,)``; the positive is the same voxel of the other view.
        negatives: background voxels for each anchor, ``(S, k)``.
        pseudo_negatives: voxels of other branches for each anchor, ``(S, q)``; None where there is no other branch.
    """

    anchors: Tensor
    negatives: Tensor
    pseudo_negatives: Tensor | None


def draw_voxels(
    branches: Tensor, num_anchors: int, num_negatives: int, num_pseudo: int, branch_aware: bool = True
) -> Voxels | None:
    """Draw what one feature map of one element of the batch is asked about.

    Args:
        branches: branch labels on the grid of the map: -1 outside, 0 background, 1 the branch of the anchors, larger
            ids other branches.
        num_anchors: anchors S; fewer vessel voxels are drawn with replacement.
        num_negatives: negatives k of each anchor.
        num_pseudo: pseudo-negatives q of each anchor.
        branch_aware: False takes all branches for anchors, and no pseudo-negatives.

    Returns:
        The voxels, or None if there are fewer than 10 to be anchors or negatives. They are drawn on the CPU from
        torch's global generator, so that a GPU gets the same ones.
    """
    flat = branches.reshape(-1).cpu()
    vessel = (flat == 1 if branch_aware else flat > 0).nonzero()[:, 0]
    background = (flat == 0).nonzero()[:, 0]
    if min(len(vessel), len(background)) < MIN_VOXELS:
        return None
    if len(vessel) >= num_anchors:
        anchors = vessel[torch.randperm(len(vessel))[:num_anchors]]
    else:
        anchors = vessel[torch.randint(len(vessel), (num_anchors,))]
    negatives = background[torch.randint(len(background), (num_anchors, num_negatives))]
    others = (flat > 1).nonzero()[:, 0]
    if not branch_aware or not len(others) or not num_pseudo:
        return Voxels(anchors, negatives, None)
    return Voxels(anchors, negatives, others[torch.randint(len(others), (num_anchors, num_pseudo))])


def shrink_branches(branches: Tensor, shape: torch.Size, mode: str = "nearest") -> Tensor:
    """Branch labels on the grid of a feature map.

    Args:
        branches: ``(B, 1, X, Y, Z)``.
        shape: edges of the map, divisors of the label's.
        mode: "nearest" takes the first voxel of each cell, as published, so that thin vessels vanish from coarse maps;
            "max" takes the vessel wherever a cell holds one, the branch of the lowest id.

    Returns:
        Labels ``(B, 1, *shape)``, float.

    Raises:
        ValueError: If the mode is unknown.
    """
    labels = branches.float()
    if mode == "nearest":
        return functional.interpolate(labels, shape, mode="nearest")
    if mode == "max":
        smallest = -functional.adaptive_max_pool3d(-labels.where(labels > 0, _NO_VESSEL), list(shape))
        return smallest.where(smallest < _NO_VESSEL, functional.interpolate(labels, shape, mode="nearest").clamp(max=0))
    raise ValueError(f"label_resize must be one of {LABEL_RESIZE}, got {mode!r}")
