"""Dictionary transforms of centerlines: load, disturb, crop along, draw as a channel.

Between them a centerline is a list of :class:`~.branch.Branch` in RAS mm. It needs no transform of its own when the
image is turned, flipped, resampled or cropped, because those change the image's affine and not the place of a vessel;
only what bends the image must come after :class:`DrawCenterlined`. A ``PersistentDataset`` reads cached branches back
only with ``weights_only=False``.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, MultiSampleTrait, Pad, Randomizable, SpatialCrop
from monai.utils import ImageMetaKey, convert_to_dst_type, ensure_tuple_rep
from numpy.typing import NDArray
from torch import Tensor

from ..checks import check_same_shape
from ..grids import Grid
from .branch import Branch
from .crops import crop_starts, tiles
from .extract import extract_centerline
from .noise import delete_segments, false_branches, jitter, shift
from .raster import draw_centerline, line_voxels, to_voxels
from .readers import read_centerline

_FILE_FRAMES = ("voxel", "asoca_vtp")  # frames whose numbers refer to the grid of the image file


class LoadCenterlined(MapTransform):
    """Load a centerline from its file, or extract it from the label where the case has none.

    Place it right after the loading of the label: there the label has the geometry of its file, which some frames
    refer to, and its full resolution.

    Args:
        keys: items that hold the path of a centerline file; one that is a list of branches already stays.
        label_key: label, ``(1, X, Y, Z)``, nonzero is vessel. A centerline that the case lacks is extracted from it,
            and one that is read must lie in it. None: files only, and without that check.
        frame: of the numbers in the files: ``"lps"``, ``"ras"``, ``"voxel"`` or ``"asoca_vtp"``; None for what the
            format says. A case's own "centerline_frame" (the key and "_frame") goes first.
        allow_missing_keys: leave a centerline that the case lacks away, instead of extracting it.
    """

    def __init__(
        self,
        keys: KeysCollection = "centerline",
        label_key: str | None = "label",
        frame: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key = label_key
        self.frame = frame

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the branches, in RAS mm.

        Raises:
            KeyError: If a case has neither centerline nor label.
            ValueError: If the label has more than one channel or no affine, or a file's frame refers to a grid that
                the label has no longer.
        """
        loaded = dict(data)
        for key in self.keys:
            if isinstance(loaded.get(key), str | os.PathLike):
                frame = loaded.get(f"{key}_frame", self.frame)
                loaded[key] = self._read(Path(loaded[key]), frame, loaded)
            elif key not in loaded and not self.allow_missing_keys:
                if self.label_key is None or self.label_key not in loaded:
                    raise KeyError(f"a case has neither {key!r} nor the label {self.label_key!r} to extract it from")
                grid, mask = _mask(loaded, self.label_key)
                loaded[key] = extract_centerline(mask, grid.affine)
        return loaded

    def _read(self, path: Path, frame: str | None, data: Mapping[Hashable, Any]) -> list[Branch]:
        """Read one file."""
        if self.label_key is None or self.label_key not in data:
            return read_centerline(path, frame)
        grid, mask = _mask(data, self.label_key)
        original = data[self.label_key].meta.get("original_affine")
        if frame in _FILE_FRAMES and original is not None and not np.allclose(original, grid.affine):
            raise ValueError(
                f"frame {frame!r} refers to the grid of the image file, and {self.label_key!r} was reoriented or "
                "resampled since: place LoadCenterlined before those transforms"
            )
        return read_centerline(path, frame, grid, mask)


class RandPerturbCenterlined(Randomizable, MapTransform):
    """Make a centerline as faulty as a predicted one, so that the network does not learn to trust it blindly.

    The prediction of a first network is taken instead, where the case has one. Then all is dropped; or the lines jitter
    smoothly (see :mod:`.noise`), false branches are added, stretches of true ones cut out, and all of it is shifted.
    Behind a cropper, each patch gets noise of its own.

    Args:
        keys: centerlines, lists of branches.
        predicted_key: item with a predicted centerline; it is removed, whether or not it was taken.
        predicted_prob: chance that it is taken.
        dropout_prob: chance of an empty centerline.
        delete_prob: chance of each branch to lose a stretch.
        delete_mm: shortest and longest stretch.
        jitter_voxels: standard deviation of the jitter along each axis.
        false_prob: chance of each branch to get a false one beside it.
        false_mm: shortest and longest false branch.
        shift_voxels: largest shift along each axis.
        voxel_mm: spacing that the voxels above refer to: one for all axes, or R, A and S.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If a probability lies outside [0, 1] or a size is negative.
    """

    def __init__(
        self,
        keys: KeysCollection = "centerline",
        predicted_key: str = "predicted_centerline",
        predicted_prob: float = 0.5,
        dropout_prob: float = 0.3,
        delete_prob: float = 0.3,
        delete_mm: tuple[float, float] = (5.0, 30.0),
        jitter_voxels: float = 1.0,
        false_prob: float = 0.2,
        false_mm: tuple[float, float] = (5.0, 20.0),
        shift_voxels: float = 2.0,
        voxel_mm: float | Sequence[float] = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        chances = {
            "predicted_prob": predicted_prob,
            "dropout_prob": dropout_prob,
            "delete_prob": delete_prob,
            "false_prob": false_prob,
        }
        for name, chance in chances.items():
            if not 0 <= chance <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {chance}")
        self.voxel_mm = np.array(ensure_tuple_rep(voxel_mm, 3), dtype=float)
        if min(*delete_mm, *false_mm, jitter_voxels, shift_voxels) < 0 or self.voxel_mm.min() <= 0:
            raise ValueError(
                "lengths, jitter_voxels and shift_voxels must not be negative and voxel_mm must be above 0, got "
                f"delete_mm {delete_mm}, false_mm {false_mm}, {jitter_voxels}, {shift_voxels} and {voxel_mm}"
            )
        self.predicted_key = predicted_key
        self.predicted_prob, self.dropout_prob = predicted_prob, dropout_prob
        self.delete_prob, self.delete_mm = delete_prob, delete_mm
        self.false_prob, self.false_mm = false_prob, false_mm
        self.jitter_voxels, self.shift_voxels = jitter_voxels, shift_voxels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the centerlines by disturbed copies."""
        disturbed = dict(data)
        predicted = disturbed.pop(self.predicted_key, None)
        for key in self.key_iterator(disturbed):
            if predicted is not None and self.R.uniform() < self.predicted_prob:
                disturbed[key] = predicted
            disturbed[key] = self._disturb(_branches(disturbed, key))
        return disturbed

    def _disturb(self, branches: Sequence[Branch]) -> list[Branch]:
        """Disturb one centerline."""
        if self.R.uniform() < self.dropout_prob:
            return []
        branches = jitter(branches, self.R, self.jitter_voxels * self.voxel_mm)
        false = false_branches(branches, self.R, self.false_prob, self.false_mm)
        kept = delete_segments(branches, self.R, self.delete_prob, self.delete_mm)
        return shift([*kept, *false], self.R.uniform(-1, 1, size=3) * self.shift_voxels * self.voxel_mm)


class _PatchCutter(Randomizable, MapTransform, MultiSampleTrait):
    """What the two croppers share: sizes, and cutting at given starts."""

    def __init__(
        self,
        keys: KeysCollection,
        patch_size: Sequence[int],
        num_samples: int,
        pad_value: float | Sequence[float],
        allow_missing_keys: bool,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        if len(patch_size) != 3 or min(patch_size) < 1:
            raise ValueError(f"patch_size must be three positive numbers, got {tuple(patch_size)}")
        self.patch_size = np.asarray(patch_size, dtype=np.int64)
        self.num_samples = num_samples
        self.pad_values = ensure_tuple_rep(pad_value, len(self.keys))
        self._starts = np.zeros((num_samples, 3), dtype=np.int64)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Cut ``num_samples`` patches.

        Returns:
            One dictionary for each patch; items that are not cropped are copied into each.
        """
        self.randomize(data)
        cropped = list(self.key_iterator(dict(data), self.pad_values))
        check_same_shape(**{str(key): data[key][0] for key, _ in cropped})
        others = set(data) - {key for key, _ in cropped}
        patches = []
        for index, start in enumerate(self._starts):
            patch: dict[Hashable, Any] = {key: deepcopy(data[key]) for key in others}
            for key, value in cropped:
                patch[key] = self._patch(data[key], start, value)
                if isinstance(patch[key], MetaTensor):
                    patch[key].meta[ImageMetaKey.PATCH_INDEX] = index
            patches.append(patch)
        return patches

    def _patch(self, volume: Tensor, start: NDArray[np.int64], value: float) -> Tensor:
        """Cut one patch; its affine follows, and what overhangs the volume is padded where it overhangs."""
        end, size = start + self.patch_size, np.asarray(volume.shape[1:])
        # a copy, because MONAI's crop is a view: it would keep the volume alive and share overlapping patches
        inside = SpatialCrop(roi_start=np.maximum(start, 0), roi_end=np.minimum(end, size))(volume).clone()
        before, after = np.maximum(-start, 0), np.maximum(end - size, 0)
        if not (before.any() or after.any()):
            return inside
        widths = [(0, 0), *zip(before.tolist(), after.tolist(), strict=True)]
        return Pad(to_pad=widths, value=value)(inside)  # type: ignore[arg-type]


class RandCropAlongCenterlined(_PatchCutter):
    """Cut some of the patches that lie along a centerline, and some that lie anywhere.

    Only the chosen patches are cut, from a volume that may be cached. The patches carry the whole centerline.

    Args:
        keys: items to crop, ``(C, X, Y, Z)`` each, all on the same grid.
        centerline_key: item that holds the branches; without a point in the volume all patches lie anywhere.
        patch_size: patch edges in voxels.
        num_samples: patches to cut from one volume.
        mode: rule that places the patches, see :func:`~.crops.crop_starts`; ``"points"`` centres them anywhere
            on the centerline instead.
        jitter: largest displacement of a patch along each axis in voxels, at most a quarter of the patch.
        background_fraction: mean share of patches that lie anywhere, in [0, 1].
        pad_value: what stands outside the volume, one for all keys or one each.
        margin: see :func:`~.crops.crop_starts`.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        centerline_key: str,
        patch_size: Sequence[int],
        num_samples: int = 1,
        mode: str = "coverage",
        jitter: int = 16,
        background_fraction: float = 0.25,
        pad_value: float | Sequence[float] = 0.0,
        margin: int = 16,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, patch_size, num_samples, pad_value, allow_missing_keys)
        if not 0 <= background_fraction <= 1 or jitter < 0:
            raise ValueError(
                "background_fraction must lie in [0, 1] and jitter be at least 0, "
                f"got {background_fraction} and {jitter}"
            )
        self.centerline_key = centerline_key
        self.mode = mode
        self.margin = margin
        self.jitter = np.minimum(jitter, self.patch_size // 4)
        self.background_fraction = background_fraction

    def randomize(self, data: Mapping[Hashable, Any]) -> None:
        """Draw the starts of the patches of one case."""
        shape = np.asarray(data[self.first_key(dict(data))].shape[1:])
        last = np.maximum(shape - self.patch_size, 0)  # the last start whose patch lies inside
        self._starts = self.R.randint(last + 1, size=(self.num_samples, 3))
        places = self._places(data)
        # rounded by chance, so that a share of 0.25 holds in the mean of many draws of two patches
        background = int(self.num_samples * self.background_fraction + self.R.uniform())
        if len(places) and background < self.num_samples:
            chosen = places[self.R.randint(len(places), size=self.num_samples - background)]
            moved = chosen + self.R.randint(-self.jitter, self.jitter + 1, size=chosen.shape)
            self._starts[background:] = moved if self.mode == "reference" else np.clip(moved, 0, last)

    def _places(self, data: Mapping[Hashable, Any]) -> NDArray[np.int64]:
        """Starts to choose from, ``(N, 3)``."""
        image, branches = data[self.first_key(dict(data))], _branches(data, self.centerline_key)
        points: NDArray[Any] = line_voxels(branches, image.shape[1:], _affine(image))
        if self.mode == "points":
            return np.asarray(points - self.patch_size // 2)
        if self.mode == "reference" and branches:  # the published clusters are of the nodes, not of the lines
            points = to_voxels(np.concatenate([branch.points for branch in branches]), _affine(image))
        return crop_starts(points, image.shape[1:], self.patch_size.tolist(), self.mode, self.margin)


class RandGridTiled(_PatchCutter):
    """Cut some of the tiles of a volume that hold label: training without guidance, the baseline.

    Args:
        keys: items to crop, ``(C, X, Y, Z)`` each, all on the same grid.
        label_key: item that holds the vessels, ``(1, X, Y, Z)``; without any, the tiles lie anywhere on the grid.
        patch_size: tile edges in voxels.
        num_samples: tiles to cut from one volume; none twice where there are enough.
        pad_value: what stands outside a volume smaller than a tile, one for all keys or one each.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str,
        patch_size: Sequence[int],
        num_samples: int = 1,
        pad_value: float | Sequence[float] = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, patch_size, num_samples, pad_value, allow_missing_keys)
        self.label_key = label_key

    def randomize(self, data: Mapping[Hashable, Any]) -> None:
        """Draw the starts of the tiles of one case."""
        vessel = data[self.label_key][0].numpy(force=True) != 0
        starts = tiles(vessel.shape, self.patch_size.tolist())
        ends = starts + self.patch_size
        held = [vessel[tuple(map(slice, start, end))].any() for start, end in zip(starts, ends, strict=True)]
        starts = starts[held] if any(held) else starts
        self._starts = starts[self.R.choice(len(starts), self.num_samples, replace=len(starts) < self.num_samples)]


class DrawCenterlined(MapTransform):
    """Draw centerlines as a channel on the grid of an image, such as a patch.

    Args:
        keys: centerlines, lists of branches.
        image_key: image whose grid, type and device the channel gets.
        radius_mm: widen the line to a tube of this radius; 0 keeps it one voxel wide.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self,
        keys: KeysCollection = "centerline",
        image_key: str = "image",
        radius_mm: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.radius_mm = radius_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the branches by 0 and 1, ``(1, X, Y, Z)``; an empty centerline gives zeros."""
        drawn = dict(data)
        image = drawn[self.image_key]
        for key in self.key_iterator(drawn):
            lines = draw_centerline(_branches(drawn, key), image.shape[1:], _affine(image), self.radius_mm)
            drawn[key] = convert_to_dst_type(lines[None], image)[0]
        return drawn


def _branches(data: Mapping[Hashable, Any], key: Hashable) -> Sequence[Branch]:
    """Return a centerline item, which must have been loaded."""
    item = data[key]
    if not isinstance(item, list | tuple) or not all(isinstance(branch, Branch) for branch in item):
        raise ValueError(f"{key!r} must be a list of branches, got {type(item).__name__}: place LoadCenterlined before")
    return item


def _affine(volume: Tensor) -> NDArray[np.float64]:
    """Return the affine of a volume, without which mm mean nothing."""
    if not isinstance(volume, MetaTensor) or volume.ndim != 4:
        raise ValueError(
            "a centerline in mm needs a volume (C, X, Y, Z) with an affine (a MetaTensor), "
            f"got a {type(volume).__name__} of shape {tuple(volume.shape)}"
        )
    return np.asarray(volume.affine.numpy(force=True), dtype=np.float64)


def _mask(data: Mapping[Hashable, Any], key: str) -> tuple[Grid, NDArray[np.bool_]]:
    """Return the grid of a label and where it is nonzero."""
    label = data[key]
    affine = _affine(label)
    if len(label) != 1:
        raise ValueError(f"{key!r} must have one channel, got {tuple(label.shape)}")
    mask = label[0].numpy(force=True) != 0
    return Grid(mask.shape, affine), mask
