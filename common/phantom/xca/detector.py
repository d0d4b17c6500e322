"""From attenuation to grey levels: scatter, blur, noise, collimator, subtraction and display curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift, zoom

from .quality import Exposure

Image = NDArray[np.float32]


def aperture(exposure: Exposure, shape: tuple[int, int]) -> Image:
    """Return how far the collimator is open, 0 behind it, 1 in the field, ``(H, W)``."""
    y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (n / 2) for n in shape], indexing="ij")
    x, y = np.abs(x - exposure.collimator_shift[0]), np.abs(y - exposure.collimator_shift[1])
    size = exposure.collimator_size
    if exposure.collimator == "none":
        return np.ones(shape, np.float32)
    if exposure.collimator == "round":
        outside = np.hypot(x, y) - size
    elif exposure.collimator == "octagon":
        outside = np.maximum(np.maximum(x, y) - size, (x + y - 1.75 * size) / np.sqrt(2))
    else:
        outside = np.maximum(x, y) - size
    soft = 0.004 if exposure.collimator == "round" else 0.012
    return np.asarray(np.clip(0.5 - outside / soft, 0, 1), np.float32)


def expose(
    body: Sequence[Image],
    devices: Sequence[Image],
    contrast: Sequence[Image],
    exposure: Exposure,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return a sequence as it is shown.

    Args:
        body: attenuation of the body in every frame, ``(H, W)`` each.
        devices: attenuation of catheter, wires and leads.
        contrast: attenuation of contrast agent.
        exposure: how it is taken and shown.
        rng: source of the noise.

    Returns:
        ``(T, H, W)``, 8 bit.
    """
    shape = body[0].shape
    opening = aperture(exposure, shape)
    field = opening > 0.5
    level = float(np.median(body[0][field]))
    signal = [
        _detected(exposure.body * (b - level) + d + c, opening, exposure, rng)
        for b, d, c in zip(body, devices, contrast, strict=True)
    ]
    if exposure.subtracted:
        offset = np.array(exposure.offset_px[::-1]) * max(shape) / 512
        before = shift(exposure.body * (body[0] - level) + devices[0], offset, order=1, mode="nearest")
        mask = _detected(before, opening, exposure, rng)  # heart and breath were elsewhere
        shown = _subtracted(signal, mask, exposure)
    else:
        shown = _windowed(signal, field, exposure)
    black = exposure.collimator_grey
    return np.stack([np.clip(np.rint(black + (f - black) * opening), 0, 255).astype(np.uint8) for f in shown])


def _detected(attenuation: Image, opening: Image, exposure: Exposure, rng: np.random.Generator) -> Image:
    """Return the signal of one frame relative to that of the median ray, noise included."""
    shape = attenuation.shape
    primary = np.exp(-attenuation) * _vignette(shape, exposure) * opening
    total = (primary + exposure.scatter * _spread(primary)) / (1 + exposure.scatter)
    total = gaussian_filter(total, exposure.blur_px * max(shape) / 512, truncate=3)
    grain = rng.standard_normal(shape, np.float32)
    grain = gaussian_filter(grain, exposure.grain_px * max(shape) / 512, truncate=3)
    grain *= exposure.noise / max(float(grain.std()), 1e-6)
    electronic = 0.15 * exposure.noise * rng.standard_normal(shape, np.float32)
    total = total + grain * np.sqrt(total) + electronic  # a pixel counts hundreds of photons: Poisson is Gaussian
    if exposure.sharpening:
        total = total + exposure.sharpening * (total - gaussian_filter(total, 0.005 * max(shape), truncate=3))
    return np.asarray(np.maximum(total, 1e-3), np.float32)


def _spread(primary: Image) -> Image:
    """Return scattered radiation and veiling glare: the primary, blurred over a seventh of the frame."""
    coarse = primary[::8, ::8]
    wide = gaussian_filter(coarse, 0.14 * max(coarse.shape), mode="nearest", truncate=3)
    large = zoom(wide, (primary.shape[0] / coarse.shape[0], primary.shape[1] / coarse.shape[1]), order=1)
    return np.asarray(large, np.float32)


def _vignette(shape: tuple[int, ...], exposure: Exposure) -> Image:
    """Return the loss of signal towards the corners."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return np.asarray(1 - exposure.vignette * (y[:, None] ** 2 + x[None] ** 2) / 2, np.float32)


def _windowed(signal: Sequence[Image], field: NDArray[np.bool_], exposure: Exposure) -> list[Image]:
    """Return grey levels: the field's range by a power law, one window for all frames."""
    low, high = np.percentile(np.stack(signal[:: max(len(signal) // 3, 1)])[:, field][:, ::7], (0.5, 99.5))
    dark, bright = exposure.grey
    share = [np.clip((f - low) / max(high - low, 1e-6), -0.08, 1.15) for f in signal]
    return [dark + (bright - dark) * np.sign(s) * np.abs(s) ** exposure.gamma for s in share]


def _subtracted(signal: Sequence[Image], mask: Image, exposure: Exposure) -> list[Image]:
    """Return the logarithm of the ratio to a mask frame as grey levels."""
    grey, steepness = exposure.subtracted_grey
    return [grey + steepness * np.log(f / mask) for f in signal]
