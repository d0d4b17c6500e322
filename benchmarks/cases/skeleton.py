"""Thinning of a label against scikit-image."""

from __future__ import annotations

import functools
import math
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize as skeletonize_volume

from benchmarks.case import Case, Variant
from benchmarks.data import coronary_mask
from common import skeleton

Mask = NDArray[np.bool_]


def cases(size: str) -> list[Case]:
    """A volume as it comes from the scanner, or a smaller one."""
    shape = (512, 512, 275) if size == "full" else (320, 320, 192)
    return [
        Case(
            name="skeleton of a label",
            size="x".join(map(str, shape)),
            prepare=functools.partial(coronary_mask, shape),
            peer=Variant("scikit-image", _with_peer),
            ours=[
                Variant("numba", skeleton.skeletonize, 10, None, "numba", math.prod(shape)),
                Variant("plain", _without_kernels, 3 if size == "full" else 2, traffic_bytes=math.prod(shape)),
            ],
            check=_same_voxels,
        )
    ]


def _with_peer(mask: Mask) -> Mask:
    return np.asarray(skeletonize_volume(mask) > 0)


def _without_kernels(mask: Mask) -> Mask:
    with mock.patch.object(skeleton, "_accelerated", None):
        return skeleton.skeletonize(mask)


def _same_voxels(ours: Mask, peer: Mask) -> str:
    """All voxels of the peer's; the guard may add some where thinning has erased the end of a vessel."""
    found, missed, added = (np.count_nonzero(part) for part in (peer, peer & ~ours, ours & ~peer))
    assert missed == 0, f"{missed} of {found} voxels are missing"
    assert added <= 0.02 * found, f"{added} voxels are added to {found}"
    return f"the same {found} voxels, {added} restored"
