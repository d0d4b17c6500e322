"""Dictionary transforms between labels and what is made of them: skeletons for a loss, clean masks after a network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Spacingd
from monai.utils import convert_to_dst_type
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .components import foreground_box, keep_largest_components, remove_small_components
from .dilation import dilate_mm
from .grids import spacing_mm
from .resampling import SeparableResample
from .skeleton import skeletonize


class Skeletonized(MapTransform):
    """Add the skeleton of a label as a new item, thick or thin.

    MONAI has no skeleton of a label; the losses along the vessel (skeleton recall) want it from the loader, where it
    is computed once for each case instead of once for each step.

    Args:
        keys: labels, ``(C, *spatial)``; nonzero is vessel; each channel is thinned on its own.
        skeleton_key: name of the new item; with several keys, give a list as long.
        tube_radius_mm: widen the skeleton to a tube of this radius; 0 keeps it one voxel wide.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If there are not as many names as keys, or the radius is negative.
    """

    def __init__(
        self,
        keys: KeysCollection,
        skeleton_key: KeysCollection = "skeleton",
        tube_radius_mm: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.skeleton_keys = (skeleton_key,) if isinstance(skeleton_key, str) else tuple(skeleton_key)  # type: ignore
        if len(self.skeleton_keys) != len(self.keys):
            raise ValueError(f"skeleton_key needs one name for each of {self.keys}, got {self.skeleton_keys}")
        if tube_radius_mm < 0:
            raise ValueError(f"tube_radius_mm must not be negative, got {tube_radius_mm}")
        self.tube_radius_mm = tube_radius_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add ``skeleton_key``: 0 and 1, with the type and metadata of the label."""
        added = dict(data)
        for key, skeleton_key in self.key_iterator(added, self.skeleton_keys):
            label = added[key]
            mask = label.numpy(force=True) != 0
            skeleton = np.stack([_widened(skeletonize(channel), label, self.tube_radius_mm) for channel in mask])
            added[skeleton_key] = convert_to_dst_type(skeleton, label)[0]
        return added


class ResampleToSpacingd(Spacingd):
    """Resample volumes to a spacing: MONAI's ``Spacingd``, axis by axis, and kept from items that are not its own.

    See :class:`~.resampling.SeparableResample`. ``Spacingd`` takes every item whose name begins with that of a NIfTI
    volume for its metadata, and fails where MONAI Label keeps the text ``image_path`` beside ``image``. Arguments are
    those of ``Spacingd``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        whole = self.spacing_transform.sp_resample
        self.spacing_transform.sp_resample = SeparableResample(
            whole.mode, whole.padding_mode, whole.align_corners, whole.dtype, lazy=whole.lazy
        )

    def __call__(self, data: Mapping[Hashable, Tensor], lazy: bool | None = None) -> dict[Hashable, Tensor]:
        """Return ``data`` with the items of ``keys`` resampled."""
        own = {key: data[key] for key in self.key_iterator(dict(data))}
        return {**data, **super().__call__(own, lazy)}


class DilateMaskd(MapTransform):
    """Widen masks by a radius in mm: the label of a network that is to find vessels rather than to outline them.

    MONAI's morphological dilation works in voxels and on the whole volume.

    Args:
        keys: masks, ``(C, *spatial)``, nonzero is vessel; each channel on its own.
        radius_mm: how far the vessels grow on every side.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If the radius is negative.
    """

    def __init__(self, keys: KeysCollection, radius_mm: float, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if radius_mm < 0:
            raise ValueError(f"radius_mm must not be negative, got {radius_mm}")
        self.radius_mm = radius_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Widen the masks; they become 0 and 1, with their type and metadata."""
        widened = dict(data)
        for key in self.key_iterator(widened):
            mask = widened[key].numpy(force=True) != 0
            spacing = _spacing(widened[key])
            wide = np.stack([dilate_mm(channel, self.radius_mm, spacing.tolist()) for channel in mask])
            widened[key] = convert_to_dst_type(wide, widened[key])[0]
        return widened


class RemoveSmallComponentsd(MapTransform):
    """Remove what is too small to be a vessel, by volume in mm^3, whatever the spacing.

    Use it on the grid of the input, after ``Invertd``. Components touch at faces, edges or corners. MONAI's
    ``RemoveSmallObjectsd`` warns about its own call of scikit-image and labels the whole volume; its
    ``KeepLargestConnectedComponentd`` deletes one of the two coronary trees unless told their number.

    Args:
        keys: masks, ``(C, *spatial)``, nonzero is vessel; each channel on its own.
        min_volume_mm3: smallest volume of a component that stays; 12.5 is 100 voxels at 0.5 mm.
        keep_largest_k: keep only so many of the largest (two for the coronary trees, one for a label that includes the
            aorta); None keeps all. On 160 test scans of ImageCAS-X keeping two cost 1.2 Dice points .
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If the volume is negative or the number not positive.

    Source:
        https://github.com/MathildeBS1/ImageCAS-X, docs_thesis/postprocessing_sweep.md, for volume and number.
    """

    def __init__(
        self,
        keys: KeysCollection,
        min_volume_mm3: float = 12.5,
        keep_largest_k: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if min_volume_mm3 < 0:
            raise ValueError(f"min_volume_mm3 must not be negative, got {min_volume_mm3}")
        if keep_largest_k is not None and keep_largest_k < 1:
            raise ValueError(f"keep_largest_k must be at least 1, or None to keep all, got {keep_largest_k}")
        self.min_volume_mm3 = min_volume_mm3
        self.keep_largest_k = keep_largest_k

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Clean the masks; an empty one stays empty."""
        cleaned = dict(data)
        for key in self.key_iterator(cleaned):
            mask = cleaned[key].numpy(force=True) != 0
            kept = np.stack([self._clean(channel, _spacing(cleaned[key])) for channel in mask])
            cleaned[key] = convert_to_dst_type(kept, cleaned[key])[0]
        return cleaned

    def _clean(self, mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Clean one mask, ``(*spatial)``."""
        # the tiny factor forgives the rounding of an affine: 100 voxels of 0.5 mm are 12.5 mm^3
        mask = remove_small_components(mask, self.min_volume_mm3 / spacing.prod() * (1 - 1e-6))
        return mask if self.keep_largest_k is None else keep_largest_components(mask, self.keep_largest_k)


def _spacing(volume: Tensor) -> NDArray[np.float64]:
    """Return mm per voxel of the spatial axes; 1 where there is no metadata."""
    axes = volume.ndim - 1
    if isinstance(volume, MetaTensor):
        return spacing_mm(volume.affine.numpy(force=True))[:axes]
    return np.ones(axes)


def _widened(skeleton: NDArray[np.bool_], label: Tensor, radius_mm: float) -> NDArray[np.bool_]:
    """Return all voxels within ``radius_mm`` of the skeleton."""
    if radius_mm == 0 or not skeleton.any():
        return skeleton
    spacing = _spacing(label)
    box = foreground_box(skeleton, margin=int(np.ceil(radius_mm / spacing.min())))
    tube = np.zeros_like(skeleton)
    tube[box] = ndimage.distance_transform_edt(~skeleton[box], sampling=spacing) <= radius_mm
    return tube
