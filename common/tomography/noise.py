"""Photon noise of a sinogram, and CT noise without a scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from .checks import checked
from .photons import poisson_counts

NOISE_MODELS = ("reference", "beer_lambert")


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
    rays, photons = _checked_rays(sinogram, counts, model)
    if model == "reference":
        share, lowest, width = _share_of_range(rays)
        noisy = poisson_counts(share * photons, rng) / photons * width + lowest
    else:
        detected = poisson_counts(photons * np.exp(-rays), rng)
        if electronic_sd:
            detected += electronic_sd * rng.standard_normal(rays.shape)
        noisy = -np.log(np.maximum(detected, 1) / photons)
    return np.asarray(noisy, np.float32).reshape(sinogram.shape)


def photon_variance(
    sinogram: NDArray[np.floating],
    counts: float | NDArray[np.floating],
    model: str = "reference",
    electronic_sd: float = 0.0,
) -> NDArray[np.float32]:
    """Variance of the noise that :func:`add_photon_noise` would add to each ray.

    Args:
        sinogram: as for :func:`add_photon_noise`, like the other arguments.
        counts: photons of a ray at its brightest.
        model: ``"reference"`` or ``"beer_lambert"``.
        electronic_sd: standard deviation of the read-out noise in photons, for "beer_lambert" only.

    Returns:
        Variances of the same shape, in squared units of the sinogram; to first order for "beer_lambert".

    Raises:
        ValueError: As :func:`add_photon_noise` does.
    """
    rays, photons = _checked_rays(sinogram, counts, model)
    if model == "reference":
        share, _, width = _share_of_range(rays)
        variance = share * width**2 / photons
    else:
        detected = np.maximum(photons * np.exp(-rays), 1)
        variance = (detected + electronic_sd**2) / detected**2
    return np.asarray(variance, np.float32).reshape(sinogram.shape)


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


def _checked_rays(
    sinogram: NDArray[np.floating], counts: float | NDArray[np.floating], model: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sinogram with three axes and the counts, both in double precision."""
    rays, photons = checked(sinogram, "sinogram").astype(np.float64), np.asarray(counts, np.float64)
    if not (photons > 0).all() or photons.shape not in ((), rays.shape[2:]):
        raise ValueError(f"counts must be positive: one number or {rays.shape[2]}, one for each slice, got {counts}")
    if model not in NOISE_MODELS:
        raise ValueError(f"model must be 'reference' or 'beer_lambert', got {model!r}")
    return rays, photons


def _share_of_range(rays: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Each slice's rays shifted and scaled to [0, 1], its lowest ray, and the width of the range."""
    lowest = rays.min((0, 1))
    width = rays.max((0, 1)) - lowest
    return np.divide(rays - lowest, width, out=np.zeros_like(rays), where=width > 0), lowest, width
