"""Volumes at half resolution, for the network that looks for the vessels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

MODES = ("mean", "max")


def halve(volume: Tensor, mode: str = "mean") -> Tensor:
    """Halve a volume on each spatial axis.

    Args:
        volume: ``(C, X, Y, Z)``; the last plane of an odd axis is repeated.
        mode: "mean" of 2 x 2 x 2 voxels, or "max" for masks, in which a vessel must not vanish.

    Returns:
        ``(C, ceil(X / 2), ceil(Y / 2), ceil(Z / 2))`` in the type of the input, without metadata.

    Raises:
        ValueError: If the mode is neither.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
    plain = volume.as_tensor() if isinstance(volume, MetaTensor) else volume
    odd = [side % 2 for side in reversed(plain.shape[1:])]
    padded = F.pad(plain.float()[None], [count for side in odd for count in (0, side)], mode="replicate")
    pooled = F.avg_pool3d(padded, 2) if mode == "mean" else F.max_pool3d(padded, 2)
    return pooled[0].to(plain.dtype)


def halved_affine(affine: Tensor) -> Tensor:
    """Return the affine of a volume whose voxels are pairs of the voxels of ``affine``, ``(4, 4)``."""
    pairs = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=affine.dtype, device=affine.device))
    pairs[:3, 3] = 0.5  # the middle of the first pair
    return affine @ pairs


class HalveResolutiond(MapTransform):
    """Halve volumes on each spatial axis, as stage 1 does when it segments.

    MONAI's ``Zoomd`` interpolates at points and keeps no thin vessel of a mask.

    Args:
        keys: volumes ``(C, X, Y, Z)`` with metadata.
        mode: "mean" for images, "max" for masks; one for all keys or one each.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If a mode is neither, or there are not as many as keys.
    """

    def __init__(self, keys: KeysCollection, mode: str | list[str] = "mean", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.modes = [mode] * len(self.keys) if isinstance(mode, str) else list(mode)
        if len(self.modes) != len(self.keys) or not set(self.modes) <= set(MODES):
            raise ValueError(f"mode must be 'mean' or 'max' for each of {self.keys}, got {mode!r}")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Halve the volumes; their affines follow."""
        halved = dict(data)
        for key, mode in self.key_iterator(halved, self.modes):
            volume = halved[key]
            halved[key] = MetaTensor(halve(volume, mode), meta=deepcopy(volume.meta))
            halved[key].affine = halved_affine(volume.affine)
        return halved
