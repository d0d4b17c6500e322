"""What takes every frame of a sequence for itself, where MONAI takes the sequence for one image of many channels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type
from torch import Tensor

from .common.components import remove_small_components

Item = Mapping[str, Any]


class RemoveSmallComponentsd(MapTransform):
    """Delete the small components of each frame.

    MONAI's ``RemoveSmallObjectsd`` takes frames for the slices of a volume: a speck that stays at its place for ten
    frames has ten times its area there.

    Args:
        keys: masks ``(T, H, W)``; what is not 0 is vessel.
        min_area: pixels below which a component of a frame is deleted; pixels that touch at a corner belong together.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If ``min_area`` is negative.
    """

    def __init__(self, keys: KeysCollection, min_area: float, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if not min_area >= 0:
            raise ValueError(f"min_area must be at least 0 pixels, got {min_area}")
        self.min_area = min_area

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the masks without the components, of the same type.

        Raises:
            ValueError: If a mask is not ``(T, H, W)``.
        """
        cleaned = dict(data)
        for key in self.key_iterator(cleaned):
            mask = cleaned[key]
            if mask.ndim != 3:
                raise ValueError(f"{key!r} must be masks (T, H, W), got {tuple(mask.shape)}")
            frames = [remove_small_components(frame, self.min_area) for frame in mask.numpy(force=True) != 0]
            cleaned[key] = convert_to_dst_type(np.stack(frames), mask)[0]
        return cleaned


def frames_from_engine(keys: Sequence[str]) -> Callable[[Sequence[Item]], tuple[list[Tensor], ...]]:
    """Return an ``output_transform`` for metric handlers that takes each frame for an item of one channel.

    With MONAI's ``from_engine`` frames are channels: sequences of different length cannot be joined then, and each
    sequence would weigh the same, however many frames it has.

    Args:
        keys: items of the engine's output, ``(T, H, W)`` each.

    Returns:
        Function of the engine's output; gives a list for each key, of all frames ``(1, H, W)``.
    """

    def split(output: Sequence[Item]) -> tuple[list[Tensor], ...]:
        return tuple([frame[None] for item in output for frame in item[key]] for key in keys)

    return split
