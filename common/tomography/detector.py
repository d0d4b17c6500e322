"""What a scanner measures along a ray: Hounsfield units, as the data engine of SynCAS has it, or attenuation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import NOISE_MODELS, add_photon_noise, photon_variance

WATER_PER_MM = 0.02  # linear attenuation of water at about 70 keV


@dataclass(frozen=True)
class Detector:
    """Photon noise of rays ``(angles, bins)`` that were projected in pixels.

    Args:
        noise_model: ``"reference"`` or ``"beer_lambert"``; see :func:`.noise.add_photon_noise`.
        pixel_mm: edge of a pixel in mm.
        electronic_sd: standard deviation of the read-out noise in photons, for "beer_lambert" only.

    Raises:
        ValueError: If an argument is out of range.
    """

    noise_model: str
    pixel_mm: float
    electronic_sd: float

    def __post_init__(self) -> None:
        if self.noise_model not in NOISE_MODELS:
            raise ValueError(f"noise_model must be one of {', '.join(NOISE_MODELS)}, got {self.noise_model!r}")
        if not self.pixel_mm > 0:
            raise ValueError(f"pixel_mm must be positive, got {self.pixel_mm}")
        if not self.electronic_sd >= 0:
            raise ValueError(f"electronic_sd must be at least 0, got {self.electronic_sd}")

    @property
    def counts_transmission(self) -> bool:
        """Whether what lies outside the slice takes photons away."""
        return self.noise_model == "beer_lambert"

    def values(self, slices_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is projected: a copy of the HU, or attenuation per mm."""
        if not self.counts_transmission:
            return slices_hu.copy()
        return np.asarray(np.maximum(WATER_PER_MM + slices_hu * np.float32(WATER_PER_MM / 1000), 0))

    def hu(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The reverse of :meth:`values`."""
        return values * np.float32(1000 / WATER_PER_MM) - 1000 if self.counts_transmission else values

    def noisy(self, rays: NDArray[np.float32], photons: float, rng: np.random.Generator) -> NDArray[np.float32]:
        """Rays of a slice as counted; they cross all that takes photons away."""
        if not self.counts_transmission:
            return add_photon_noise(rays, photons, rng)
        pixel_mm = np.float32(self.pixel_mm)
        return add_photon_noise(pixel_mm * rays, photons, rng, self.noise_model, self.electronic_sd) / pixel_mm

    def variance(self, rays: NDArray[np.float32], photons: float) -> NDArray[np.float32]:
        """Variance that :meth:`noisy` gives each ray."""
        if not self.counts_transmission:
            return photon_variance(rays, photons)
        pixel_mm = np.float32(self.pixel_mm)
        return photon_variance(pixel_mm * rays, photons, self.noise_model, self.electronic_sd) / pixel_mm**2
