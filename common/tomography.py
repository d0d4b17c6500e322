"""Parallel-beam CT of axial slices: projection, photon noise, filtered back-projection, and noise without a scan.

Arrays are ``(X, Y)`` for one slice or ``(X, Y, Z)`` for Z of them, sinograms ``(bins, angles)`` or ``(bins, angles,
Z)``. Distances are in pixels, so pixels must be square. Slices are processed together: the geometry of an angle is
computed once for all of them. scikit-image has the same operators for one slice; ours must agree with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import grid_sample, pad

_ANGLES_DEG = np.arange(180.0)


def radon(image: NDArray[np.floating], angles_deg: ArrayLike = _ANGLES_DEG) -> NDArray[np.float32]:
    """Line integrals of slices along parallel rays, for every angle.

    The slice is rotated around the pixel ``(X // 2, Y // 2)`` with bilinear interpolation, taken as 0 outside, and
    summed along X.

    Args:
        image: ``(X, Y)`` or ``(X, Y, Z)``.
        angles_deg: angles in degrees, ``(angles,)``.

    Returns:
        ``(bins, angles)`` or ``(bins, angles, Z)``, in image units times pixels. The bins, one pixel apart, cover the
        diagonal of the square around the slice; the ray through the axis of rotation is bin ``bins // 2``.

    Raises:
        ValueError: If the image has another number of axes, or a value is not finite.

    Source:
        Equal to ``skimage.transform.radon(circle=False)`` up to the rounding of float32.
    """
    slices, angles = _checked(image, "image"), np.deg2rad(np.asarray(angles_deg, np.float64))
    shape, batch = slices.shape[:2], torch.from_numpy(slices).permute(2, 0, 1).contiguous()
    bins = _bins(shape)
    offset = torch.arange(bins) - bins // 2
    sinogram = np.empty((bins, len(angles), slices.shape[2]), np.float32)
    for column, (cos, sin) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True)):
        grid = torch.empty(1, bins, bins, 2)  # where grid_sample reads: (y, x), -1 is the first pixel, 1 the last
        for axis, along, across in ((0, cos, -sin), (1, sin, cos)):
            to_unit, centre = 2 / max(shape[axis] - 1, 1), shape[axis] // 2
            torch.add(
                (along * to_unit * offset)[:, None],
                across * to_unit * offset + (centre * to_unit - 1),
                out=grid[0, ..., 1 - axis],
            )
        for z, image_slice in enumerate(batch):
            rotated = grid_sample(image_slice[None, None], grid, align_corners=True)
            sinogram[:, column, z] = rotated[0, 0].sum(0)
    return sinogram.reshape(*sinogram.shape[:2], *image.shape[2:])


def filtered_backprojection(
    sinogram: NDArray[np.floating], shape: tuple[int, int], angles_deg: ArrayLike = _ANGLES_DEG
) -> NDArray[np.float32]:
    """Slices from their sinograms: ramp filter, then back-projection with linear interpolation.

    Args:
        sinogram: ``(bins, angles)`` or ``(bins, angles, Z)`` as :func:`radon` gives it.
        shape: pixels (X, Y) of the slice.
        angles_deg: angles in degrees, evenly spread over half a turn, ``(angles,)``.

    Returns:
        ``(X, Y)`` or ``(X, Y, Z)``.

    Raises:
        ValueError: If the number of angles or bins does not fit the sinogram, or a value is not finite.

    Source:
        Equal to ``skimage.transform.iradon(filter_name="ramp", circle=False)`` up to the rounding of float32.
    """
    projections, angles = _checked(sinogram, "sinogram"), np.deg2rad(np.asarray(angles_deg, np.float64))
    bins, count, depth = projections.shape
    if len(angles) != count:
        raise ValueError(f"angles_deg must have one angle for each column of the sinogram ({count}), got {len(angles)}")
    if bins != _bins(shape):
        raise ValueError(f"sinogram must have {_bins(shape)} bins for slices of {shape}, got {bins}")
    filtered = pad(torch.from_numpy(_ramp_filtered(projections)), (0, 0, 0, 0, 2, 1))  # zero bins around
    x, y = (torch.arange(n) - n // 2 for n in shape)
    slices = torch.zeros(shape[0] * shape[1], depth)
    for column, (cos, sin) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True)):
        position = (cos * y - (sin * x)[:, None] + bins // 2).ravel()
        inside = (position >= 0) & (position <= bins - 1)
        position = torch.where(inside, position + 2, 0)  # outside: between the two zero bins in front
        below = position.int()
        lower, upper = (filtered[:, column].index_select(0, index) for index in (below, below + 1))
        slices += lower.lerp_(upper, (position - below)[:, None])
    slices *= np.pi / (2 * count)
    return slices.numpy().reshape(*shape, *sinogram.shape[2:])


def add_photon_noise(
    sinogram: NDArray[np.floating],
    counts: float | NDArray[np.floating],
    rng: np.random.Generator,
    model: str = "reference",
    electronic_sd: float = 0.0,
) -> NDArray[np.float32]:
    """A sinogram as a detector that counts photons would have measured it.

    Args:
        sinogram: ``(bins, angles)`` or ``(bins, angles, Z)``. Model "reference": any unit. Model "beer_lambert": the
            integral of the attenuation coefficient along the ray, without unit.
        counts: photons of a ray at its brightest, one number or one for each slice ``(Z,)``.
        rng: source of randomness.
        model: ``"reference"`` is the law of the SynCAS data engine: each slice is shifted and scaled to [0, 1], and
            counted; the variance grows with the line integral, the reverse of transmission. ``"beer_lambert"``
            counts what passes the body: the variance is largest where attenuation is.
        electronic_sd: standard deviation of the read-out noise in photons, for "beer_lambert" only.

    Returns:
        Noisy sinogram of the same shape. A constant slice has no scale, and stays as it is under "reference".

    Raises:
        ValueError: If the model is unknown, the counts are not positive, or a value is not finite.

    Source:
        Hao et al., SynCAS (2025), data engine, for "reference".
    """
    rays, photons = _checked(sinogram, "sinogram").astype(np.float64), np.asarray(counts, np.float64)
    if (photons <= 0).any() or photons.shape not in ((), rays.shape[2:]):
        raise ValueError(f"counts must be positive: one number or {rays.shape[2]}, one for each slice, got {counts}")
    if model == "reference":
        lowest = rays.min((0, 1))
        range_ = rays.max((0, 1)) - lowest
        share = np.divide(rays - lowest, range_, out=np.zeros_like(rays), where=range_ > 0)
        noisy = rng.poisson(share * photons) / photons * range_ + lowest
    elif model == "beer_lambert":
        detected = rng.poisson(photons * np.exp(-rays)) + electronic_sd * rng.standard_normal(rays.shape)
        noisy = -np.log(np.maximum(detected, 1) / photons)
    else:
        raise ValueError(f"model must be 'reference' or 'beer_lambert', got {model!r}")
    return np.asarray(noisy, np.float32).reshape(sinogram.shape)


def correlated_noise(
    shape: Sequence[int],
    spacing: Sequence[float],
    sd_hu: float,
    rng: np.random.Generator,
    fwhm_mm: float = 0.7,
    z_length_mm: float = 0.5,
) -> NDArray[np.float32]:
    """A volume of CT noise without the cost of a scan: the grain of filtered back-projection, slice by slice.

    White noise in the projections leaves a ramp filter with the noise power ``|f| MTF(f)^2``: no power at zero
    frequency, a peak in the middle, a fall towards the resolution limit. Neighbouring slices are correlated by
    ``exp(-distance / z_length_mm)``. The field wraps around at the borders.

    Args:
        shape: ``(X, Y, Z)``; slices lie along Z.
        spacing: mm per voxel along X, Y, Z.
        sd_hu: standard deviation of the field in HU, at least 0.
        rng: source of randomness; the field depends on nothing else.
        fwhm_mm: full width at half maximum of the point spread function in the slice.
        z_length_mm: distance along Z over which the correlation falls to 1/e; 0 makes slices independent.

    Returns:
        ``(X, Y, Z)`` in HU: every slice has mean 0, the volume has the standard deviation ``sd_hu``.

    Raises:
        ValueError: If shape or spacing is not three positive numbers, or another argument is out of range.

    Source:
        Riederer et al., "The noise power spectrum in computed X-ray tomography", Phys Med Biol 1978;23:446.
    """
    if len(shape) != 3 or len(spacing) != 3 or min(shape) < 1 or min(spacing) <= 0:
        raise ValueError(f"shape and spacing must be three positive numbers, got {tuple(shape)}, {tuple(spacing)}")
    if sd_hu < 0 or fwhm_mm < 0 or z_length_mm < 0:
        raise ValueError(f"sd_hu, fwhm_mm and z_length_mm must be at least 0, got {sd_hu}, {fwhm_mm} and {z_length_mm}")
    amplitude = _noise_amplitude(shape[:2], spacing[:2], fwhm_mm)
    memory = np.float32(np.exp(-spacing[2] / z_length_mm)) if z_length_mm else np.float32(0)
    noise = np.empty(shape, np.float32)
    previous = None
    for first in range(0, shape[2], 2):
        for z, fresh in enumerate(_two_noise_slices(amplitude, rng)[: shape[2] - first], start=first):
            previous = fresh if previous is None else memory * previous + np.sqrt(1 - memory**2) * fresh
            noise[:, :, z] = previous
    noise *= np.float32(sd_hu) / max(noise.std(dtype=np.float64), 1e-12)
    return noise


def _noise_amplitude(shape: Sequence[int], spacing: Sequence[float], fwhm_mm: float) -> NDArray[np.float32]:
    """Square root of the noise power on the grid of ``fft2``, ``(X, Y)``, scaled for noise of variance 1."""
    along_x, along_y = (scipy.fft.fftfreq(n, d) for n, d in zip(shape, spacing, strict=True))
    frequency = np.hypot(along_x[:, None], along_y)  # cycles per mm
    sigma_mm = fwhm_mm / np.sqrt(8 * np.log(2))
    amplitude = np.sqrt(frequency) * np.exp(-2 * (np.pi * sigma_mm * frequency) ** 2)
    return np.asarray(amplitude / max(np.sqrt((amplitude**2).mean()), 1e-12), np.float32)


def _two_noise_slices(amplitude: NDArray[np.float32], rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """Two independent slices for one transform: the real and the imaginary part of complex noise."""
    white = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    coloured = scipy.fft.ifft2(white * amplitude, norm="ortho", overwrite_x=True)
    return [coloured.real, coloured.imag]


def _checked(array: NDArray[np.floating], name: str) -> NDArray[np.float32]:
    """The array as float32 with three axes."""
    if array.ndim not in (2, 3):
        raise ValueError(f"{name} must have 2 axes, or 3 with the slices last, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers only: replace NaN and infinite values first")
    return np.ascontiguousarray(array, np.float32).reshape(*array.shape[:2], -1)


def _bins(shape: tuple[int, int]) -> int:
    """Bins that cover a slice from every angle."""
    return int(np.ceil(np.sqrt(2) * max(shape)))


def _ramp_filtered(projections: NDArray[np.float32]) -> NDArray[np.float32]:
    """Projections ``(bins, angles, Z)`` convolved with the band-limited ramp of Kak and Slaney (1988)."""
    bins = len(projections)
    size = max(64, 2 ** int(np.ceil(np.log2(2 * bins))))
    kernel = np.zeros(size)
    kernel[0] = 0.25
    odd = np.arange(1, size // 2 + 1, 2)
    kernel[odd] = kernel[-odd] = -1 / (np.pi * odd) ** 2
    ramp = (2 * scipy.fft.rfft(kernel).real).astype(np.float32)
    spectrum = scipy.fft.rfft(projections, size, axis=0)
    return np.asarray(scipy.fft.irfft(spectrum * ramp[:, None, None], size, axis=0)[:bins])
