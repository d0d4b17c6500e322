"""CT scans of a volume: every axial slice is projected, its photons are counted, and it is reconstructed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from .detector import Detector
from .exact import scan_exactly
from .fast import scan_fast
from .region import scan_region
from .scene import Scene

_RING_PX = 8
_TOGETHER = 64  # slices at most; their geometry is computed once, and 512 x 512 pixels take 0.3 GB


def simulate_scan(
    volume_hu: NDArray[np.floating] | NDArray[np.integer],
    pixel_mm: float,
    counts: NDArray[np.floating] | NDArray[np.integer],
    rngs: Sequence[np.random.Generator],
    noise_model: str = "reference",
    mode: str = "exact",
    electronic_sd: float = 0.0,
    blur_px: tuple[float, float] = (0.5, 2.0),
    region: tuple[slice, slice] | None = None,
    device: str | torch.device | None = None,
    workers: int = 1,
) -> NDArray[np.float32]:
    """Render a volume as a CT scanner with few photons would have shown it, slice by slice.

    Gaussian blur, 180 projections, photon noise, filtered back-projection, Gaussian blur: the data engine of SynCAS.
    The scanner sees each slice on an endless background, the median of the slice's border 8 pixels wide, and not in
    empty space, where the edge of a slice full of tissue would leave streaks.

    ``mode="fast"`` draws the noise without projecting the slice: the image is blurred as the scan would blur it, and
    the noise has the power spectrum of filtered back-projection and the local variance that the scan would have. It
    lacks the streaks that 180 views leave at sharp edges. Measured against "exact" on a thorax of 512 x 512 pixels:
    mean image 1.9 HU RMS apart (0.6 in the heart), standard deviation of the noise within 2 %, its power within 10 %
    between 0.025 and 0.3 cycles per pixel and up to 20 % too low below; 3 times faster.

    ``region`` spares a third of the time where the box is 330 pixels wide. The noise in the box has the variance of
    rays through the whole slice; its grain is not continued across the faces of the box.

    Args:
        volume_hu: ``(X, Y, Z)`` in Hounsfield units, slices along Z.
        pixel_mm: edge of the square pixels in mm.
        counts: photons of a ray at its brightest, for each slice, ``(Z,)``.
        rngs: source of randomness of each slice. A slice depends on its own only, so that the result is the same for
            any number of workers, and for a part of the volume.
        noise_model: ``"reference"``, the law of the SynCAS data engine, or ``"beer_lambert"``, transmission through
            tissue that attenuates ``1 + HU / 1000`` times as much as water; see :func:`.noise.add_photon_noise`.
        mode: ``"exact"`` or ``"fast"``.
        electronic_sd: standard deviation of the read-out noise in photons, for "beer_lambert" only.
        blur_px: standard deviations of the blur before and after, in pixels.
        region: pixels along X and Y that are worth a scan, with some margin; the rest is rendered as by "fast".
        device: where torch shall project; None: compiled kernels on the CPU, or torch where numba is missing.
        workers: threads, each with up to 64 slices.

    Returns:
        ``(X, Y, Z)`` in Hounsfield units.

    Raises:
        ValueError: If the volume is not three-dimensional or not finite, ``counts`` or ``rngs`` do not have one entry
            for each slice, or another argument is out of range.

    Source:
        Hao et al., SynCAS (2025), data engine; the treatment of the border, "beer_lambert" and "fast" are additions.
    """
    detector = Detector(noise_model, pixel_mm, electronic_sd)
    photons = _checked_counts(volume_hu, counts, rngs)
    _check_settings(mode, blur_px, workers)
    render = scan_exactly if mode == "exact" else scan_fast
    if region is not None and mode == "exact":
        render = partial(scan_region, region=_checked_region(region, volume_hu.shape[:2]))
    scanned = np.empty(volume_hu.shape, np.float32)

    def scan(group: slice) -> None:
        values = detector.values(_finite(volume_hu[..., group]))
        border = _border(values)
        values -= border
        rendered = render(Scene(values, border, photons[group], rngs[group], detector, blur_px, device))
        rendered += border
        scanned[..., group] = detector.hu(rendered)

    groups = _groups(volume_hu.shape[2], workers)
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(scan, groups):
            pass
    return scanned


def _groups(depth: int, workers: int) -> list[slice]:
    """Runs of slices: of a multiple of 16, which suits the processor, and short enough that all workers get some."""
    together = min(_TOGETHER, 16 * math.ceil(depth / workers / 16))
    return [slice(first, first + together) for first in range(0, depth, together)]


def _checked_counts(
    volume_hu: NDArray[np.floating] | NDArray[np.integer],
    counts: NDArray[np.floating] | NDArray[np.integer],
    rngs: Sequence[np.random.Generator],
) -> NDArray[np.float64]:
    """The counts in double precision, one for each slice."""
    if volume_hu.ndim != 3 or 0 in volume_hu.shape:
        raise ValueError(f"volume_hu must have axes (X, Y, Z) with at least one slice, got shape {volume_hu.shape}")
    depth, photons = volume_hu.shape[2], np.asarray(counts, np.float64)
    if photons.shape != (depth,) or not (np.isfinite(photons) & (photons > 0)).all():
        raise ValueError(f"counts must be {depth} positive numbers, one for each slice, got shape {photons.shape}")
    if len(rngs) != depth:
        raise ValueError(f"rngs must be {depth} generators, one for each slice, got {len(rngs)}")
    return photons


def _check_settings(mode: str, blur_px: tuple[float, float], workers: int) -> None:
    if mode not in ("exact", "fast"):
        raise ValueError(f"mode must be 'exact' or 'fast', got {mode!r}")
    if len(blur_px) != 2 or not min(blur_px) >= 0:
        raise ValueError(f"blur_px must be two numbers, both at least 0, got {blur_px}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")


def _checked_region(region: tuple[slice, slice], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The region with start and stop."""
    boxes = [slice(*box.indices(pixels)[:2]) for box, pixels in zip(region, shape, strict=True)]
    if any(box.stop <= box.start for box in boxes) or any(box.step not in (None, 1) for box in region):
        raise ValueError(f"region must be two slices with step 1 that hold pixels of a slice of {shape}, got {region}")
    return boxes[0], boxes[1]


def _finite(slices_hu: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float32]:
    if not np.isfinite(slices_hu).all():
        raise ValueError("volume_hu must hold finite numbers only: replace NaN and infinite values first")
    return np.ascontiguousarray(slices_hu, np.float32)


def _border(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of the outermost pixels of each slice, ``(Z,)``."""
    ring = np.ones(values.shape[:2], bool)
    ring[_RING_PX:-_RING_PX, _RING_PX:-_RING_PX] = False
    return np.asarray(np.median(values[ring], axis=0))
