"""One resampler for training and inference: cubic in the plane of the slices, slabs or linear across them.

Slices of calcium-scoring CT are eight times as thick as their pixels are wide. A spline over all three axes then rings
across slices, and a thin-slice volume that is merely sampled keeps the noise and the sharpness of thin slices, which no
thick-slice scan has. Here every axis is resampled on its own, by one small matrix.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys, ensure_tuple_rep
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .common.components import foreground_box
from .common.grids import spacing_mm
from .common.resampling import resample_axis

TOLERANCE = 1e-3  # relative; a spacing this close to the target is not resampled: 0.2 voxels over a whole slab of 224
HALF = 0.5 - 1e-4  # a label that covers half a voxel takes it; the rest forgives rounding
MODES = ("image", "label")
SAMPLED = {"linear": "bilinear", "nearest": "nearest"}  # MONAI's words for what needs two old voxels at most
SLICE_PROFILES = ("box", "nearest")
LABEL_MODES = ("majority", "max")


class ResampleSlicesd(MapTransform, InvertibleTransform):
    """Resample volumes of slices to the spacing of the network; the field of view stays the same.

    The new size is ``round(size * spacing / target)``, at least 1, and the outer edges of the first and last voxels
    stay where they are, so the spacing is the target up to that rounding. Images: cubic B-spline in plane (it may
    overshoot by a tenth of a sharp step: clip the intensities before), and across slices the mean over the new slice
    where the old ones are thinner (what a scanner would have shown, partial volume and noise included), else linear.
    Labels keep their integers. ``Invertd`` brings a prediction back: linear on all axes, or nearest neighbour.

    MONAI's ``Spacingd`` has one interpolation for all axes, none that averages slabs, and works on a grid of
    coordinates as large as three volumes.

    Args:
        keys: volumes, ``(C, X, Y, Z)`` with slices along Z, with their affine.
        spacing: target in mm, X Y Z.
        mode: "image" or "label", for all keys or for each.
        slice_profile: how thinner slices make a new one: "box" (mean over its thickness) or "nearest" (the one at its
            middle; what nnU-Net's training does).
        label_mode: voxels of a label that slabs of thinner slices make: "majority" (a label covers at least half)
            or "max" (a label is in any of the slices); the one that covers most if there are several.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If the spacing is not positive or a mode is unknown.

    Source:
        nnU-Net's resampling with separate z, https://github.com/MIC-DKFZ/nnUNet, for sizes and the in-plane spline.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing: Sequence[float],
        mode: str | Sequence[str] = "image",
        slice_profile: str = "box",
        label_mode: str = "majority",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(spacing) != 3 or not all(edge > 0 for edge in spacing):
            raise ValueError(f"spacing must be three positive edges in mm (X Y Z), got {list(spacing)}")
        self.spacing = tuple(map(float, spacing))
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        if slice_profile not in SLICE_PROFILES:
            raise ValueError(f"slice_profile must be one of {SLICE_PROFILES}, got {slice_profile!r}")
        if label_mode not in LABEL_MODES:
            raise ValueError(f"label_mode must be one of {LABEL_MODES}, got {label_mode!r}")
        if not set(self.mode) <= set(MODES):
            raise ValueError(f"mode must be one of {MODES} for each key, got {list(self.mode)}")
        self.slice_profile = slice_profile
        self.label_mode = label_mode

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the volumes; images become float32, labels keep their type.

        Raises:
            ValueError: If an item is not a ``MetaTensor`` ``(C, X, Y, Z)``.
        """
        resampled = dict(data)
        for key, mode in self.key_iterator(resampled, self.mode):
            volume = resampled[key]
            if not isinstance(volume, MetaTensor) or volume.ndim != 4:
                raise ValueError(f"{key!r} must be a MetaTensor (C, X, Y, Z) with its affine, got {_describe(volume)}")
            resampled[key] = self._resample(volume, mode)
        return resampled

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring volumes back to the grid that they had, linearly, or by nearest neighbour for labels."""
        restored = dict(data)
        for key in self.key_iterator(restored):
            volume: MetaTensor = restored[key]
            operation = self.pop_transform(volume)
            shape = [int(size) for size in operation[TraceKeys.ORIG_SIZE]]
            kind = "nearest" if operation[TraceKeys.EXTRA_INFO]["mode"] == "nearest" else "linear"
            values = volume.as_tensor() if kind == "nearest" else volume.as_tensor().float()
            back = MetaTensor(_apply(values, [kind] * 3, shape)).copy_meta_from(volume)
            back.affine = volume.affine @ torch.linalg.inv(_affine_between(shape, volume.shape[1:]))
            restored[key] = back
        return restored

    def _resample(self, volume: MetaTensor, mode: str) -> MetaTensor:
        """Resample one volume and record how to undo it."""
        old = tuple(volume.shape[1:])
        new = resampled_shape(old, spacing_mm(volume.affine.numpy(force=True)), self.spacing)
        across = self.slice_profile if new[2] < old[2] else "linear"
        if mode == "image":
            values = _apply(volume.as_tensor().float(), ["cubic", "cubic", across], new)
        else:
            values = torch.stack([_resample_label(c, new, across, self.label_mode) for c in volume.as_tensor()])
        moved = MetaTensor(values).copy_meta_from(volume)
        undo = {"mode": "bilinear" if mode == "image" else "nearest"}  # MONAI's words: Invertd may replace them
        self.push_transform(moved, orig_size=old, affine=_affine_between(old, new), extra_info=undo)
        return moved


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float] | NDArray[np.float64], target: Sequence[float]
) -> tuple[int, ...]:
    """Return the size of a volume at another spacing.

    Args:
        shape: voxels along each axis.
        spacing: mm per voxel of each axis.
        target: mm per voxel wanted.

    Returns:
        ``round(size * spacing / target)``, at least 1; the size itself where the spacings differ by a thousandth.
    """
    return tuple(
        size if abs(old / new - 1) <= TOLERANCE else max(int(np.round(size * old / new)), 1)
        for size, old, new in zip(shape, spacing, target, strict=True)
    )


@lru_cache(maxsize=64)
def axis_weights(old: int, new: int, kind: str) -> Tensor:
    """Weights that resample an axis with the edges of its first and last voxel kept in place.

    Args:
        old: voxels of the axis.
        new: voxels wanted.
        kind: "cubic" (B-spline through the voxels), "linear", or "box" (mean over the new voxel).

    Returns:
        Float32 matrix ``(new, old)``; each row sums to 1. Beyond the ends the last voxel goes on.
    """
    scale = old / new
    if kind == "cubic":
        rows = ndimage.zoom(np.eye(old), (new / old, 1), order=3, mode="nearest", grid_mode=True)
    elif kind == "box":
        edges = np.arange(new + 1)[:, None] * scale - np.arange(old)  # new ones, from the start of each old voxel
        rows = np.diff(np.clip(edges, 0, 1), axis=0) / scale
    else:
        centers = (np.arange(new) + 0.5) * scale - 0.5
        rows = np.maximum(1 - np.abs(np.clip(centers, 0, old - 1)[:, None] - np.arange(old)), 0)
    return torch.from_numpy(rows.astype(np.float32))


def _apply(volume: Tensor, kinds: Sequence[str], shape: Sequence[int]) -> Tensor:
    """Resample ``(C, *spatial)`` to ``(C, *shape)``, each axis by its kind; the axes that shrink most go first."""
    for axis in sorted(range(len(shape)), key=lambda axis: shape[axis] / volume.shape[axis + 1]):
        old, new = volume.shape[axis + 1], shape[axis]
        if new == old:
            continue
        if kinds[axis] in SAMPLED:
            volume = resample_axis(volume, axis + 1, (np.arange(new) + 0.5) * (old / new) - 0.5, SAMPLED[kinds[axis]])
        else:
            volume = _multiply(axis_weights(old, new, kinds[axis]).to(volume.device), volume, axis + 1)
    return volume.contiguous()


def _multiply(weights: Tensor, volume: Tensor, axis: int) -> Tensor:
    """Multiply the axis ``axis`` of ``volume`` by a matrix ``(new, old)`` without copying it."""
    order = sorted(range(volume.ndim), key=lambda other: -volume.stride(other))  # a NIfTI file's last axis is outermost
    ordered = volume.permute(order)
    position = order.index(axis)
    shape = list(ordered.shape)
    outer, inner = int(np.prod(shape[:position])), int(np.prod(shape[position + 1 :]))
    shape[position] = len(weights)
    product = ordered.reshape(outer, -1) @ weights.T if inner == 1 else weights @ ordered.reshape(outer, -1, inner)
    return product.reshape(shape).permute(np.argsort(order).tolist())


def _resample_label(label: Tensor, shape: Sequence[int], across: str, label_mode: str) -> Tensor:
    """Resample integers ``(X, Y, Z)``."""
    if across == "box" and label_mode == "max":
        # first across slices alone: one old slice of which at least half lies in the new one is enough
        label = _vote(label, (*label.shape[:2], shape[2]), across, HALF * shape[2] / label.shape[2])
    return _vote(label, shape, across, HALF)


def _vote(label: Tensor, shape: Sequence[int], across: str, least: float) -> Tensor:
    """Return the integer that covers most of each new voxel, 0 where all together cover less than ``least``."""
    best = torch.zeros(*shape, device=label.device)  # largest share that one integer covers
    total = torch.zeros_like(best)
    winner = torch.zeros(*shape, dtype=label.dtype, device=label.device)
    for value in label[label != 0].unique():
        share, place = _coverage(label == value, shape, across)
        total[place] += share
        is_best = share > best[place]
        winner[place] = torch.where(is_best, value, winner[place])
        best[place] = torch.where(is_best, share, best[place])
    return winner.masked_fill(total < least, 0)


def _coverage(mask: Tensor, shape: Sequence[int], across: str) -> tuple[Tensor, tuple[slice, ...]]:
    """Return the share of new voxels that ``mask`` covers, ``(x, y, z)``, and the box outside which it is 0."""
    box = foreground_box(mask.numpy(force=True)) or (slice(0, 0),) * 3
    share = mask[box].float()
    place = []
    for axis, kind in enumerate(("linear", "linear", across)):
        weights = axis_weights(mask.shape[axis], shape[axis], kind)[:, box[axis]].to(mask.device)
        rows = weights.any(dim=1).nonzero()[:, 0].tolist()
        place.append(slice(rows[0], rows[-1] + 1) if rows else slice(0, 0))
        share = _multiply(weights[place[-1]], share, axis)
    return share, tuple(place)


def _affine_between(old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Return the affine from the voxels of a grid of ``new`` voxels to those of ``old`` over the same field of view."""
    scale = torch.tensor(list(old), dtype=torch.float64) / torch.tensor(list(new), dtype=torch.float64)
    affine = torch.diag(torch.cat([scale, torch.ones(1, dtype=torch.float64)]))
    affine[:3, 3] = (scale - 1) / 2
    return affine


def _describe(item: Any) -> str:
    """Name the type of an item, and its shape where it has one."""
    return f"{type(item).__name__} {tuple(item.shape)}" if isinstance(item, Tensor) else type(item).__name__
