"""Contrast enhancement of angiograms: CLAHE, subtraction of the local average, and both as channels of one image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage

LEVELS = 256
SIGMA_SHARE = 10 / 512
"""Standard deviation of the local average over the shorter side of the image."""


def clahe(image: NDArray[np.uint8], clip_limit: float = 2.0, tiles: Sequence[int] = (8, 8)) -> NDArray[np.uint8]:
    """Equalize an image tile by tile with limited contrast.

    scikit-image's ``equalize_adapthist`` clips and scales otherwise; a constant image becomes all white there.

    Args:
        image: ``(H, W)``, 0..255.
        clip_limit: largest count of a histogram bin, as a multiple of the mean count.
        tiles: tiles along rows and columns.

    Returns:
        Image of the same shape, 0..255.

    Raises:
        ValueError: If the image is not a two-dimensional uint8 array, or a setting is not positive.

    Source:
        Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV (1994). Tiles, clipping and
        rounding are those of OpenCV, whose result this is, to one grey level in less than 1 % of the pixels.
    """
    if image.ndim != 2 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"image must be (H, W) of uint8, got {image.shape} of {image.dtype}")
    if clip_limit <= 0 or len(tiles) != 2 or min(tiles) < 1:
        raise ValueError(f"clip_limit and both numbers of tiles must be positive, got {clip_limit} and {tuple(tiles)}")
    rows, columns = tiles
    tables, tile_shape = _tables(image, clip_limit, rows, columns)
    above, below, down = _between(image.shape[0], tile_shape[0], rows)
    left, right, across = _between(image.shape[1], tile_shape[1], columns)
    down = down[:, None]

    def look_up(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(tables[(row[:, None] * columns + column[None]) * LEVELS + image])

    upper = look_up(above, left) * (1 - across) + look_up(above, right) * across
    lower = look_up(below, left) * (1 - across) + look_up(below, right) * across
    return np.clip(np.rint(upper * (1 - down) + lower * down), 0, LEVELS - 1).astype(np.uint8)


def ben_graham(
    image: NDArray[Any], gain: float = 4.0, offset: float = 128.0, sigma: float | None = None
) -> NDArray[np.uint8]:
    """Return :func:`subtract_average` rounded to 0..255: vessels of all brightness on one even ground.

    Args:
        image: ``(H, W)``, 0..255.
        gain: factor of the difference.
        offset: value of an even ground.
        sigma: standard deviation of the average in pixels; None for 10 at a shorter side of 512, in proportion.

    Raises:
        ValueError: If ``sigma`` is not positive.

    Source:
        B. Graham, "Kaggle diabetic retinopathy detection competition report" (2015). What CASR-Net's "improved" form
        changes is not published; here the average follows the resolution, and there is no circular mask.
    """
    return np.clip(np.rint(subtract_average(image, gain, offset, sigma)), 0, LEVELS - 1).astype(np.uint8)


def subtract_average(
    image: NDArray[Any], gain: float = 4.0, offset: float = 128.0, sigma: float | None = None
) -> NDArray[np.float64]:
    """Return ``gain * (image - average) + offset`` with the Gaussian average around each pixel, not rounded.

    Args:
        image: ``(H, W)``; mirrored at its border, the outermost pixels not repeated.
        gain: factor of the difference.
        offset: value of an even ground.
        sigma: standard deviation of the average in pixels, cut at 4; None for 10 at a shorter side of 512.

    Raises:
        ValueError: If ``sigma`` is not positive.
    """
    sigma = SIGMA_SHARE * min(image.shape) if sigma is None else sigma
    if sigma <= 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    grey = image.astype(np.float64)
    average = ndimage.gaussian_filter(grey, sigma, mode="mirror", truncate=4.0)
    return np.asarray(gain * (grey - average) + offset)


CHANNELS = ("gray", "clahe", "graham", "graham_of_clahe")
"""What a frame can be turned into."""


class EnhanceChannelsd(MapTransform):
    """Turn every frame into channels that are enhanced differently, and normalize them.

    Enhancement depends on the resolution: apply it after resizing, to frames alone. It treats every frame by itself.

    Args:
        keys: angiograms ``(T, H, W)`` with values 0..255, which are rounded; become ``(T * C, H, W)`` float32, where
            frame t occupies the channels ``C * t`` to ``C * t + C - 1``. A MetaTensor keeps what it knows.
        channels: C names out of "gray", "clahe", "graham" and "graham_of_clahe"; a name may be repeated.
        mean: subtracted from the channels once they are scaled to 0..1; one number, or one for each.
        std: what they are then divided by; one number, or one for each.
        clip_limit: see :func:`clahe`.
        tiles: see :func:`clahe`.
        gain: see :func:`ben_graham`.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If a name is unknown, or ``mean`` or ``std`` do not fit.
    """

    def __init__(
        self,
        keys: KeysCollection,
        channels: Sequence[str] = ("gray", "clahe", "graham"),
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.5,
        clip_limit: float = 2.0,
        tiles: Sequence[int] = (8, 8),
        gain: float = 4.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        unknown = [name for name in channels if name not in CHANNELS]
        if unknown or not channels:
            raise ValueError(f"channels must be names out of {CHANNELS}, got {list(channels)}")
        self.channels = tuple(channels)
        self.clahe = partial(clahe, clip_limit=clip_limit, tiles=tiles)
        self.graham = partial(ben_graham, gain=gain)
        self.mean = self._for_each("mean", mean)
        self.std = self._for_each("std", std)
        if (self.std <= 0).any():
            raise ValueError(f"std must be above 0, got {std}")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Enhance each item.

        Raises:
            ValueError: If an item is not ``(T, H, W)`` with values 0..255.
        """
        enhanced = dict(data)
        for key in self.key_iterator(enhanced):
            image = enhanced[key]
            frames = _to_bytes(torch.as_tensor(image).numpy(force=True), str(key))
            made = torch.from_numpy(np.concatenate([self._enhance(frame) for frame in frames]))
            if isinstance(image, MetaTensor):
                made = MetaTensor(made, meta=image.meta, applied_operations=image.applied_operations)
            enhanced[key] = made
        return enhanced

    def _enhance(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        made = {"gray": frame}
        if {"clahe", "graham_of_clahe"} & set(self.channels):
            made["clahe"] = self.clahe(frame)
        if "graham" in self.channels:
            made["graham"] = self.graham(frame)
        if "graham_of_clahe" in self.channels:
            made["graham_of_clahe"] = self.graham(made["clahe"])
        scaled = np.stack([made[name] for name in self.channels]).astype(np.float32) / (LEVELS - 1)
        return np.asarray((scaled - self.mean) / self.std)

    def _for_each(self, name: str, value: float | Sequence[float]) -> NDArray[np.float32]:
        values = np.atleast_1d(np.asarray(value, np.float32))
        if values.shape not in {(1,), (len(self.channels),)}:
            raise ValueError(f"{name} must be one number or one for each of {self.channels}, got {value}")
        return values[:, None, None]


def _to_bytes(frames: NDArray[Any], key: str) -> NDArray[np.uint8]:
    if frames.ndim != 3 or frames.size == 0:
        raise ValueError(f"{key!r} must be frames (T, H, W), got {frames.shape}")
    lowest, highest = float(frames.min()), float(frames.max())
    if not -0.5 <= lowest <= highest <= LEVELS - 0.5:  # also false for NaN
        raise ValueError(
            f"{key!r} must hold values 0..255, got {lowest:.6g} to {highest:.6g}: scale it first, e.g. with "
            "ScaleAngiogramd(upper=255)"
        )
    return np.clip(np.rint(frames), 0, LEVELS - 1).astype(np.uint8)


def _tables(
    image: NDArray[np.uint8], clip_limit: float, rows: int, columns: int
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Return what each tile makes of each grey level, flattened ``(rows * columns * 256)``, and a tile's shape."""
    rest = [size % count for size, count in zip(image.shape, (rows, columns), strict=True)]
    if any(rest):  # then both sides are extended, one that is divisible by a whole pixel for each tile
        image = np.pad(image, [(0, rows - rest[0]), (0, columns - rest[1])], mode="reflect")
    height, width = image.shape[0] // rows, image.shape[1] // columns
    area = height * width
    tiles = np.arange(rows * columns).reshape(rows, columns).repeat(height, 0).repeat(width, 1)
    counts = np.bincount((tiles * LEVELS + image).ravel(), minlength=rows * columns * LEVELS).reshape(-1, LEVELS)
    clip = max(int(clip_limit * area / LEVELS), 1)
    excess = np.maximum(counts - clip, 0).sum(1)
    counts = np.minimum(counts, clip) + excess[:, None] // LEVELS
    for histogram, residual in zip(counts, excess % LEVELS, strict=True):
        if residual:
            step = max(LEVELS // residual, 1)
            histogram[: residual * step : step] += 1
    scale = np.float32((LEVELS - 1) / area)
    tables = np.clip(np.rint(counts.cumsum(1).astype(np.float32) * scale), 0, LEVELS - 1)
    return tables.astype(np.float32).ravel(), (height, width)


def _between(size: int, tile: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return, for each row or column, the tiles before and after it and the weight of the latter."""
    place = np.arange(size, dtype=np.float32) * np.float32(1 / tile) - np.float32(0.5)
    before = np.floor(place).astype(np.int64)
    return np.clip(before, 0, count - 1), np.clip(before + 1, 0, count - 1), place - before.astype(np.float32)
