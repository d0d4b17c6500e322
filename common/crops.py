"""Random patches along the vessels, for training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, MultiSampleTrait, Randomizable, SpatialCrop, SpatialPad
from monai.utils import ImageMetaKey, ensure_tuple_rep
from numpy.typing import NDArray
from torch import Tensor

from .checks import check_same_shape


class RandCropAlongVesseld(Randomizable, MapTransform, MultiSampleTrait):
    """Cut patches of which a fixed share is sure to hold vessel; the others lie anywhere.

    MONAI's ``RandCropByPosNegLabeld`` draws the kind of each patch by chance, lists the background voxels of the whole
    volume on each call (0.3 s for 360 x 360 x 275) and puts the chosen voxel in the middle of the patch. Here the share
    holds in every call, up to a part of a patch, only the vessel voxels are listed, and the vessel lies anywhere in the
    middle half of a patch.

    A volume that is smaller than a patch is padded, never stretched. A label without vessel gives patches at random
    places: such a case is legitimate, and a wrongly empty one is refused by ``CheckLabeld``.

    Args:
        keys: items to crop, ``(C, *spatial)`` each, all of one spatial shape.
        label_key: item that holds the vessel mask, ``(1, *spatial)``; above 0 is vessel.
        patch_size: patch edges in voxels, one for each spatial axis.
        num_samples: patches to cut from one volume.
        vessel_fraction: share of the patches that hold vessel, in [0, 1]; where it is no whole number of patches, the
            rest is a chance.
        pad_value: what stands outside a volume smaller than a patch, one for all keys or one each.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If ``num_samples``, ``patch_size`` or ``vessel_fraction`` is out of range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str,
        patch_size: Sequence[int],
        num_samples: int = 1,
        vessel_fraction: float = 0.5,
        pad_value: float | Sequence[float] = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        if min(patch_size) < 1:
            raise ValueError(f"patch_size must be positive on every axis, got {tuple(patch_size)}")
        if not 0 <= vessel_fraction <= 1:
            raise ValueError(f"vessel_fraction must lie in [0, 1], got {vessel_fraction}")
        self.label_key = label_key
        self.patch_size = np.asarray(patch_size, dtype=int)
        self.num_samples = num_samples
        self.vessel_samples = num_samples * vessel_fraction
        self.pads = [SpatialPad(patch_size, value=value) for value in ensure_tuple_rep(pad_value, len(self.keys))]
        self._starts: NDArray[np.int_] = np.zeros((num_samples, len(patch_size)), dtype=int)

    def randomize(self, label: Tensor) -> None:
        """Draw the patch corners from ``label``, ``(1, *spatial)``: first those on vessel, then the others."""
        shape = np.asarray(label.shape[1:])
        last = np.maximum(shape - self.patch_size, 0)  # the last corner whose patch lies inside
        vessel = np.flatnonzero(np.ascontiguousarray(label[0].numpy(force=True) > 0))
        starts = self.R.randint(last + 1, size=(self.num_samples, len(shape)))
        count, chance = int(self.vessel_samples), self.vessel_samples % 1
        if chance:  # no draw where the share is whole
            count += int(self.R.rand() < chance)
        if len(vessel):
            chosen = vessel[self.R.randint(len(vessel), size=count)]
            points = np.stack(np.unravel_index(chosen, tuple(shape)), axis=1)
            quarter = self.patch_size // 4  # keeps the point in the middle half, unless the border forbids it
            jitter = self.R.randint(-quarter, quarter + 1, size=points.shape)
            starts[:count] = np.clip(points - self.patch_size // 2 + jitter, 0, last)
        self._starts = starts

    def __call__(self, data: Mapping[Hashable, Tensor]) -> list[dict[Hashable, Tensor]]:
        """Cut ``num_samples`` patches.

        Args:
            data: a case with the label and the items to crop.

        Returns:
            One dictionary for each patch; items that are not cropped are copied into each.

        Raises:
            ValueError: If the label has not one channel, not as many axes as ``patch_size``, or not the items' shape.
        """
        label = data[self.label_key]
        if label.ndim != len(self.patch_size) + 1 or len(label) != 1:
            raise ValueError(
                f"{self.label_key!r} must have one channel and {len(self.patch_size)} spatial axes, as many as "
                f"patch_size {tuple(self.patch_size.tolist())}, got the shape {tuple(label.shape)}"
            )
        cropped = list(self.key_iterator(dict(data), self.pads))
        check_same_shape(**{str(key): data[key][0] for key in (self.label_key, *(key for key, _ in cropped))})
        self.randomize(label)

        others = set(data) - {key for key, _ in cropped}
        patches: list[dict[Hashable, Tensor]] = []
        for index, start in enumerate(self._starts):
            crop = SpatialCrop(roi_start=start, roi_end=start + self.patch_size)
            patch: dict[Hashable, Tensor] = {key: deepcopy(data[key]) for key in others}
            for key, pad in cropped:
                # a copy, because MONAI's crop is a view: it would keep the volume alive and share overlapping patches
                patch[key] = pad(crop(data[key]).clone())
                if isinstance(patch[key], MetaTensor):
                    patch[key].meta[ImageMetaKey.PATCH_INDEX] = index  # type: ignore[attr-defined]
            patches.append(patch)
        return patches
