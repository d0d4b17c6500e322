"""Slices with the noise of a scan, without the scan."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from . import operators
from .exact import VIEWS, background_rays
from .projection import bins_for
from .scene import Scene

_INTERPOLATION = np.array([1, 4, 1]) / 6  # the variance, 1/3, of the two linear interpolations of a scan
_COARSE = 128  # pixels along the edge of the map of the noise's deviation
_COARSE_VIEWS = 45


def scan_fast(scene: Scene) -> NDArray[np.float32]:
    """Blur slices as a scan would, and add noise of its power spectrum and its local variance.

    The noise is stationary and isotropic but for the slowly varying deviation, and what 180 views show of a slice's
    edges, faint streaks, is missing.

    Args:
        scene: the slices and the scanner.

    Returns:
        Rendered slices less their background, ``(X, Y, Z)``.
    """
    slices = blur_as_scan(scene.values, scene.blur_px)
    for z, noise in enumerate(scan_noise(scene)):
        slices[..., z] += noise
    return slices


def blur_as_scan(values: NDArray[np.float32], blur_px: tuple[float, float]) -> NDArray[np.float32]:
    """Slices ``(X, Y, Z)`` with the point spread function of a scan."""
    before, after = (operators.gaussian(sigma) for sigma in blur_px)
    return operators.blur(values, np.convolve(np.convolve(before, _INTERPOLATION), after))


def scan_noise(scene: Scene) -> Iterator[NDArray[np.float32]]:
    """The noise ``(X, Y)`` of one slice after the other."""
    shape, rays = scene.values.shape[:2], coarse_rays(scene, _COARSE_VIEWS)
    for z, photons in enumerate(scene.counts):
        rays[..., z] = scene.detector.variance(rays[..., z], photons)
    blocks, angles = coarse_shape(shape), operators.view_angles(_COARSE_VIEWS)
    deviation = np.sqrt(operators.backproject(rays, blocks, angles, scene.device) / _COARSE_VIEWS)
    along_x, along_y = (_interpolation(pixels, coarsening(shape), n) for pixels, n in zip(shape, blocks, strict=True))
    for z, rng in enumerate(scene.rngs):
        yield _grain(shape, scene.blur_px[1], rng) * (along_x @ deviation[..., z] @ along_y.T)


def coarse_rays(scene: Scene, views: int) -> NDArray[np.float32]:
    """What rays through slices and background cross, from slices at low resolution: ``(views, bins, Z)``."""
    factor, blocks = coarsening(scene.values.shape), coarse_shape(scene.values.shape)
    means, angles = _block_means(scene.values, factor), operators.view_angles(views)
    rays = operators.project(means, angles, bins_for(blocks) | 1, scene.device)
    if scene.detector.counts_transmission:
        rays += background_rays(max(blocks), views)[..., None] * scene.border
    rays *= np.float32(factor)
    return rays


def coarsening(shape: tuple[int, ...]) -> int:
    """Edge of the square of pixels that is one pixel at low resolution."""
    return -(-max(shape[:2]) // _COARSE)


def coarse_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Pixels along X and Y at low resolution."""
    width, height = (-(-n // coarsening(shape)) for n in shape[:2])
    return width, height


def _block_means(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means over squares of ``factor`` pixels; the last ones reach out into the background of 0."""
    sums = np.zeros((*coarse_shape(values.shape), values.shape[2]), np.float32)
    for i in range(factor):
        for j in range(factor):
            part = values[i::factor, j::factor]
            sums[: part.shape[0], : part.shape[1]] += part
    return sums / np.float32(factor**2)


def _interpolation(pixels: int, factor: int, blocks: int) -> NDArray[np.float32]:
    """Matrix ``(pixels, blocks)`` that interpolates linearly between the middles of blocks."""
    place = np.clip((np.arange(pixels) + 0.5) / factor - 0.5, 0, blocks - 1)
    return np.asarray(np.maximum(1 - np.abs(place[:, None] - np.arange(blocks)), 0), np.float32)


def _grain(shape: tuple[int, int], blur_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise ``(X, Y)`` that rays of variance 1 would leave in a blurred reconstruction."""
    size = tuple(scipy.fft.next_fast_len(n, real=True) for n in shape)
    amplitude = _amplitude(size, blur_px)
    white = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    white *= amplitude
    noise = scipy.fft.irfft2(white, size, norm="ortho", overwrite_x=True)
    return np.asarray(noise[: shape[0], : shape[1]])


@functools.lru_cache(maxsize=4)
def _amplitude(shape: tuple[int, int], blur_px: float) -> NDArray[np.float32]:
    """Factors of complex white noise on the grid of ``rfft2``.

    A projection of variance 1 leaves the ramp filter with the power ``4 f^2``, and linear interpolation with
    ``sinc^4(f)`` of it. K projections in all directions, each weighted by pi / 2K, have K / (pi f) times the density in
    the plane: ``pi / K f sinc^4(f)``.
    """
    along_x, along_y = scipy.fft.fftfreq(shape[0]), scipy.fft.rfftfreq(shape[1])
    frequency = np.hypot(along_x[:, None], along_y)  # cycles per pixel
    alias = np.abs(frequency - np.rint(frequency))  # the filtered projection is sampled
    power = np.pi / VIEWS * alias**2 / np.maximum(frequency, 1e-9) * np.sinc(frequency) ** 4
    weights = operators.gaussian(blur_px)
    reach = np.arange(len(weights)) - len(weights) // 2
    blur_x, blur_y = (np.cos(2 * np.pi * f[:, None] * reach) @ weights for f in (along_x, along_y))
    amplitude = np.sqrt(power / 2) * np.abs(blur_x[:, None] * blur_y)  # real and imaginary part share the power
    edges = [0, -1] if shape[1] % 2 == 0 else [0]
    amplitude[:, edges] *= np.sqrt(2)  # of these columns only the symmetric half counts
    return np.asarray(amplitude, np.float32)
