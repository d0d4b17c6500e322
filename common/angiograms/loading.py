"""Loading angiograms and the masks of their frames, refusing what a network must not see, and scaling the values."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey, MetaKeys
from torch import Tensor

from ..diagnostics.notes import note_values, warn
from ..loading import file_of
from .darkest import darkest_frame
from .masks import vessel_masks
from .reading import Angiogram, read_angiogram

DARKEST = "darkest"
FRAME_KEY = "frame"  # an entry of a data list may ask for one frame of its image
SCALINGS = ("percentile", "frame_percentile", "bits", "frame_max", "sequence_max", "none")
PERCENTILES = (0.5, 99.5)


class LoadAngiogramd(MapTransform):
    """Load angiograms, ``(T, H, W)`` with frames first, contrast-filled vessels dark; a still has one frame.

    With the frames as channels, MONAI's 2-D transforms treat every frame alike. ``meta`` holds ``filename_or_obj``
    and what :class:`.reading.Angiogram` does, in plain types, its ``numbers`` as ``frames``. A transform that picks
    frames must pick those of ``meta["frames"]`` too: lists of different length cannot be batched.

    MONAI's ``LoadImaged`` takes a folder of frames for a DICOM series, swaps rows and columns, and keeps neither
    frame time nor angles.

    Args:
        keys: items to load; each a path, as :func:`.reading.read_angiogram` takes them.
        frames: ``None`` for all frames, a number from 0 for one, ``"darkest"`` for the one in which vessels stand out
            most (see :func:`.darkest.darkest_frame`). The number in an entry's ``data["frame"]`` goes before it.
        allow_uneven_time: take sequences whose frame time varies by more than 20 %.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self,
        keys: KeysCollection,
        frames: int | str | None = None,
        allow_uneven_time: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if not (frames is None or frames == DARKEST or (isinstance(frames, int) and frames >= 0)):
            raise ValueError(f'frames must be None, a number from 0, or "{DARKEST}", got {frames!r}')
        self.frames = frames
        self.allow_uneven_time = allow_uneven_time

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths by ``MetaTensor`` of type float32.

        Raises:
            FileNotFoundError: If a path leads nowhere.
            ValueError: If a file cannot be read, is no grey image, or lacks the frame asked for.
        """
        loaded = dict(data)
        frame = loaded.get(FRAME_KEY)
        frame = self.frames if frame is None else int(frame)
        for key in self.key_iterator(loaded):
            path = loaded[key]
            if isinstance(frame, int):
                angiogram = read_angiogram(path, frame)
            else:
                angiogram = read_angiogram(path, allow_uneven_time=self.allow_uneven_time or frame == DARKEST)
            if frame == DARKEST:
                angiogram = _pick(angiogram, darkest_frame(angiogram.frames))
            loaded[key] = _to_tensor(angiogram, path)
            if angiogram.remark:
                warn(loaded[key], str(path), angiogram.remark)
        return loaded


class LoadFrameLabeld(MapTransform):
    """Load the vessel masks of an angiogram's frames, ``(T, H, W)`` of 0 and 1; use it after the image is loaded.

    A label is 0 and 1, or grey, of which values above 127 are vessel; see :func:`.masks.vessel_masks`.

    Args:
        keys: labels to load, in any format of :func:`.reading.read_angiogram`; as many frames as the image. Where one
            frame of a sequence was loaded, the label has that frame alone or all, of which the same is taken.
        image_key: the loaded image.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, image_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths by ``MetaTensor`` of type float32.

        Raises:
            FileNotFoundError: If a path leads nowhere.
            ValueError: If a label cannot be read or is no mask, or its size or number of frames is not the image's.
        """
        loaded = dict(data)
        image = loaded[self.image_key]
        for key in self.key_iterator(loaded):
            path = loaded[key]
            label = read_angiogram(path)
            label = label._replace(frames=vessel_masks(label.frames, path).astype(np.float32))
            if len(image) == 1 and 1 < label.source_frames == image.meta["source_frames"]:
                label = _pick(label, image.meta["frames"][0])
            if label.frames.shape != image.shape:
                raise ValueError(
                    f"{path}: the label has (T, H, W) = {label.frames.shape}, but {file_of(image, self.image_key)} has "
                    f"{tuple(image.shape)}; is it the label of this case, with a mask for every frame?"
                )
            loaded[key] = _to_tensor(label, path)
        return loaded


class CheckAngiogramd(MapTransform):
    """Refuse an angiogram in which nothing can be seen; use it right after loading.

    Args:
        keys: angiograms to check, ``(T, H, W)``.
        min_size: smallest number of pixels along a side.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, min_size: int = 32, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.min_size = min_size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` unchanged.

        Raises:
            ValueError: If an angiogram is not ``(T, H, W)``, too small, has NaN or infinite pixels, or has the same
                value in all pixels of each frame.

        Warns:
            UserWarning: If single frames of a sequence are blank.
        """
        for key in self.key_iterator(dict(data)):
            angiogram, name = data[key], file_of(data[key], key)
            if angiogram.ndim != 3 or len(angiogram) == 0:
                raise ValueError(
                    f"{name}: an angiogram is (T, H, W) with a frame or more, got {tuple(angiogram.shape)}"
                )
            if min(angiogram.shape[1:]) < self.min_size:
                raise ValueError(
                    f"{name}: (H, W) = {tuple(angiogram.shape[1:])}, but each side needs {self.min_size} pixels or "
                    "more; is it a thumbnail? Export the angiogram in full size"
                )
            _check_values(angiogram, name)
        return dict(data)


class ScaleAngiogramd(MapTransform):
    """Scale the values of an angiogram to 0 to ``upper``.

    Where all pixels are the same, the result is 0 (in the modes that measure the image).

    MONAI's ``ScaleIntensityRangePercentilesd`` knows neither the bits of the file nor sequences of channels that
    belong together, and leaves a constant image at its value.

    Args:
        keys: angiograms to scale, ``(T, H, W)``; for ``bits`` and ``keep_8bit`` as loaded, with their metadata.
        mode: ``percentile``: the 0.5th and 99.5th percentile of the sequence become 0 and ``upper``, values beyond are
            clipped; ``frame_percentile``: the same of each frame for itself; ``bits``: the largest number that the
            file could hold becomes ``upper``; ``frame_max`` and ``sequence_max``: the largest value of each frame, or
            of the sequence, becomes ``upper``; ``none``.
        upper: largest value of the result; 1.0 for networks, 255.0 for what works on 8-bit images.
        round_values: round to whole numbers.
        keep_8bit: angiograms of 8 bits are scaled as by ``bits`` whatever the mode: with ``upper`` 255 they keep their
            values.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If ``mode`` is unknown, or ``upper`` not positive.

    Source:
        ``frame_max`` is what the code of SVS-net does (Hao et al., Neural Networks 2020): brightness then flickers
        between frames, as one hot pixel decides. ``percentile`` is ours.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mode: str = "percentile",
        upper: float = 1.0,
        round_values: bool = False,
        keep_8bit: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if mode not in SCALINGS:
            raise ValueError(f"mode must be one of {', '.join(SCALINGS)}, got {mode!r}")
        if not upper > 0:
            raise ValueError(f"upper must be above 0, got {upper}")
        self.mode = mode
        self.upper = upper
        self.round_values = round_values
        self.keep_8bit = keep_8bit

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the items scaled.

        Raises:
            ValueError: If the mode is ``bits`` and the file does not tell its bits.
        """
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            scaled[key] = self._scale(scaled[key], key)
        return scaled

    def _scale(self, angiogram: Tensor, key: Hashable) -> Tensor:
        """Scale one angiogram."""
        bits = int(getattr(angiogram, "meta", {}).get("bits", 0))
        mode = "bits" if self.keep_8bit and bits == 8 else self.mode
        if mode == "bits" and bits == 0:
            raise ValueError(
                f"{file_of(angiogram, key)} does not tell how many bits its values have, which the mode 'bits' needs; "
                "use the mode 'percentile'"
            )
        if mode == "none":
            result = angiogram
        elif mode == "percentile":
            result = _between_percentiles(angiogram) * self.upper
        elif mode == "frame_percentile":
            parts = [_between_percentiles(angiogram[t : t + 1]) for t in range(len(angiogram))]
            result = torch.cat(parts) * self.upper
        else:
            result = angiogram * _factor(angiogram, mode, bits, self.upper)
        return result.round() if self.round_values else result


def _pick(angiogram: Angiogram, number: int) -> Angiogram:
    """Return one frame of an angiogram that has all."""
    return angiogram._replace(frames=angiogram.frames[number : number + 1], numbers=(number,))


def _to_tensor(angiogram: Angiogram, path: str | Path) -> MetaTensor:
    """Return the frames with their metadata in types that a data loader can batch."""
    meta = {
        ImageMetaKey.FILENAME_OR_OBJ: str(path),
        "format": angiogram.format,
        "bits": angiogram.bits,
        "pixel_mm": angiogram.pixel_mm,
        "frame_ms": angiogram.frame_ms,
        "angles_deg": angiogram.angles_deg,
        "frames": list(angiogram.numbers),
        "source_frames": angiogram.source_frames,
        "frame_axis": angiogram.frame_axis,
        MetaKeys.ORIGINAL_AFFINE: torch.from_numpy(angiogram.affine.copy()),
        "intensity": angiogram.intensity,
    }
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(angiogram.frames)), meta=meta)


def _check_values(angiogram: Tensor, name: str) -> None:
    """Raise if values are not finite or all frames are blank, warn if some frames are."""
    pixels = angiogram.numpy(force=True).reshape(len(angiogram), -1)
    low, high = pixels.min(axis=1), pixels.max(axis=1)  # NaN and infinity both come through
    if not np.isfinite([low, high]).all():
        bad = int((~np.isfinite(pixels)).sum())
        raise ValueError(f"{name}: {bad} pixels are NaN or infinite; export the angiogram again, or replace them by 0")
    blank = np.flatnonzero(low == high)
    if len(blank) == len(angiogram):
        raise ValueError(
            f"{name}: all pixels of {'the image' if len(blank) == 1 else 'each frame'} are {low[0]:g}; is it the right "
            "file, and complete?"
        )
    note_values(angiogram, pixels.reshape(angiogram.shape))
    if len(blank):
        warn(
            angiogram,
            name,
            f"all pixels of frame {', '.join(map(str, blank[:5]))}{' and others' if len(blank) > 5 else ''} "
            f"(counted from 0) have one value; no vessel can be found there, and the frames beside it suffer",
            stacklevel=3,
        )


def _between_percentiles(frames: Tensor) -> Tensor:
    """Scale the range between two percentiles to 0 to 1 and clip the rest."""
    low, high = np.percentile(frames.numpy(force=True), PERCENTILES)
    if low == high:  # more than 99 % of the pixels are the same: what is left decides
        low, high = float(frames.min()), float(frames.max())
    return ((frames - float(low)) / (float(high - low) or 1.0)).clamp(0, 1)


def _factor(angiogram: Tensor, mode: str, bits: int, upper: float) -> Tensor | float:
    """Return what the values are multiplied by; 0 for constant frames or sequences."""
    if mode == "bits":
        return float(upper / (2**bits - 1))
    frames: Tensor = angiogram.as_subclass(torch.Tensor)
    low, high = frames.amin(dim=(1, 2), keepdim=True), frames.amax(dim=(1, 2), keepdim=True)  # (T, 1, 1)
    if mode == "sequence_max":
        low, high = low.min(), high.max()
    visible = (low < high) & (high > 0)
    factor: Tensor = torch.where(visible, upper / torch.where(visible, high, 1.0), 0.0)
    return factor
