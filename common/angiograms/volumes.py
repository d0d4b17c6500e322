"""Masks of an angiogram as a volume, for programs that know no frames."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import MetaKeys


class FramesToVolumed(MapTransform):
    """Turn masks ``(T, H, W)`` into volumes ``(1, W, H, T)`` of bytes, with the affine of the angiogram's file.

    MONAI Label, which leaves out our savers, writes what is ``pred`` in the end as if it were a volume: frames first
    would become columns. It belongs at the end of inference, after the savers.

    Args:
        keys: masks on the pixels of the loaded angiogram.
        image_key: the angiogram, with the metadata that :class:`.loading.LoadAngiogramd` gave it.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, image_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with the masks turned.

        Raises:
            ValueError: If an item is not ``(T, H, W)``.
        """
        turned = dict(data)
        affine = turned[self.image_key].meta[MetaKeys.ORIGINAL_AFFINE]
        for key in self.key_iterator(turned):
            frames = torch.as_tensor(turned[key])
            if frames.ndim != 3:
                raise ValueError(f"{key!r} must be (T, H, W), as Invertd leaves it, got {tuple(frames.shape)}")
            volume = frames.as_subclass(torch.Tensor).permute(2, 1, 0)[None].to(torch.uint8)  # (1, W, H, T)
            turned[key] = MetaTensor(volume, affine=affine)
        return turned
