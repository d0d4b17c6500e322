"""The linear steps of a scan on many slices: projection, ramp filter, back-projection, blur.

Slices are float32 ``(X, Y, Z)``, projections ``(angles, bins, Z)``: slices, which are all treated
alike, lie last. Each step has two routes with equal results up to rounding: compiled kernels, and torch on any device.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from torch.nn.functional import grid_sample, pad

try:
    from ..accelerated import projection as _accelerated
except ImportError:  # without numba
    _accelerated = None  # type: ignore[assignment]

_Device = str | torch.device | None
_BLOCK = 16  # angles that are filtered at once


def view_angles(views: int) -> NDArray[np.float64]:
    """Degrees, evenly spread over half a turn."""
    return np.arange(views, dtype=np.float64) * (180 / views)


def project(
    slices: NDArray[np.float32], angles_deg: NDArray[np.float64], bins: int, device: _Device = None
) -> NDArray[np.float32]:
    """Rotate slices around the pixel ``(X // 2, Y // 2)``, and sum the samples along X.

    Args:
        slices: ``(X, Y, Z)``, 0 outside.
        angles_deg: ``(angles,)``.
        bins: samples along X and along Y, of which ``bins // 2`` is the axis.
        device: where torch shall do it; None: compiled kernels on the CPU, or torch where numba is missing.

    Returns:
        ``(angles, bins, Z)``.
    """
    if device is not None or _accelerated is None or bins % 2 == 0:  # kernels need a grid that is its own mirror image
        return _project_with_torch(slices, np.deg2rad(angles_deg), bins, device)
    quarter = np.rint(angles_deg / 90)
    turn, grid_of = np.unique(np.round(angles_deg - 90 * quarter, 9), return_inverse=True)
    along, across = _accelerated.project(
        np.pad(slices, ((1, 1), (1, 1), (0, 0))), np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn)), bins
    )
    quarters = (along, across[:, ::-1], along[:, ::-1], across)  # the same grid, turned by 0, 90, 180, 270 degrees
    projections = np.empty((len(angles_deg), bins, slices.shape[2]), np.float32)
    for angle, (grid, turned) in enumerate(zip(grid_of, quarter.astype(int) % 4, strict=True)):
        projections[angle] = quarters[turned][grid]
    return projections


def ramp_filter(projections: NDArray[np.float32], device: _Device = None) -> NDArray[np.float32]:
    """Convolve projections ``(angles, bins, Z)`` with the band-limited ramp of Kak and Slaney (1988), doubled."""
    bins = projections.shape[1]
    size = scipy.fft.next_fast_len(2 * bins, real=True)  # nothing wraps around
    kernel = np.zeros(size)
    kernel[0] = 0.25
    odd = np.arange(1, bins, 2)
    kernel[odd] = kernel[-odd] = -1 / (np.pi * odd) ** 2
    ramp = (2 * scipy.fft.rfft(kernel).real).astype(np.float32)[:, None]
    filtered = np.empty(projections.shape, np.float32)
    for first in range(0, len(projections), _BLOCK):
        block = slice(first, first + _BLOCK)
        if device is None:
            spectrum = scipy.fft.rfft(projections[block], size, axis=1)
            spectrum *= ramp
            filtered[block] = scipy.fft.irfft(spectrum, size, axis=1, overwrite_x=True)[:, :bins]
        else:
            spectra = torch.fft.rfft(torch.from_numpy(projections[block]).to(device), size, dim=1)
            spectra *= torch.from_numpy(ramp).to(device)
            filtered[block] = torch.fft.irfft(spectra, size, dim=1)[:, :bins].cpu().numpy()
    return filtered


def backproject(
    projections: NDArray[np.float32], shape: tuple[int, int], angles_deg: NDArray[np.float64], device: _Device = None
) -> NDArray[np.float32]:
    """Sum projections ``(angles, bins, Z)`` back over the pixels ``shape``, ``(X, Y, Z)``, as they are."""
    angles = np.deg2rad(angles_deg)
    if device is not None or _accelerated is None:
        return _backproject_with_torch(projections, shape, angles, device)
    missing = -len(angles) % 4  # the kernel takes four at a time
    framed = np.pad(projections, ((0, missing), (2, 1), (0, 0)))
    angles = np.pad(angles, (0, missing))
    return np.asarray(_accelerated.backproject(framed, np.cos(angles), np.sin(angles), *shape))


def gaussian(sigma_px: float) -> NDArray[np.float64]:
    """Weights of a Gaussian, sum 1, sampled at ``-ceil(2 sigma) .. ceil(2 sigma)`` as in MATLAB's ``imgaussfilt``."""
    reach = int(np.ceil(2 * sigma_px))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma_px, 1e-6)) ** 2)
    return np.asarray(weights / weights.sum())


def blur(slices: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Convolve ``(X, Y, Z)`` with an odd number of weights along X and along Y, repeating the border."""
    if _accelerated is not None:
        return np.asarray(_accelerated.blur(slices, weights.astype(np.float32)))
    for axis in (0, 1):
        slices = correlate1d(slices, weights, axis, mode="nearest")
    return slices


def _project_with_torch(
    slices: NDArray[np.float32], angles: NDArray[np.float64], bins: int, device: _Device
) -> NDArray[np.float32]:
    """Project with bilinear sampling by torch; ``angles`` in radians."""
    shape, batch = slices.shape[:2], torch.from_numpy(slices).to(device).permute(2, 0, 1)[None].contiguous()
    offset = torch.arange(bins, device=device, dtype=torch.float64) - bins // 2
    projections = np.empty((len(angles), bins, slices.shape[2]), np.float32)
    for number, (cos, sin) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True)):
        places = []  # where grid_sample reads: -1 is the first pixel, 1 the last
        for axis, along, across in ((1, sin, cos), (0, cos, -sin)):
            to_unit, centre = 2 / max(shape[axis] - 1, 1), shape[axis] // 2
            places.append((along * offset[:, None] + across * offset + centre) * to_unit - 1)
        grid = torch.stack(places, dim=-1).float()[None]  # (1, bins, bins, 2)
        rotated = grid_sample(batch, grid, align_corners=True)[0]  # (Z, bins, bins)
        projections[number] = rotated.sum(1).T.cpu().numpy()
    return projections


def _backproject_with_torch(
    projections: NDArray[np.float32], shape: tuple[int, int], angles: NDArray[np.float64], device: _Device
) -> NDArray[np.float32]:
    """Back-project with indexed reads by torch; ``angles`` in radians."""
    bins, depth = projections.shape[1:]
    x, y = (torch.arange(n, device=device, dtype=torch.float64) - n // 2 for n in shape)
    slices = torch.zeros(shape[0] * shape[1], depth, device=device)
    for projection, cos, sin in zip(projections, np.cos(angles), np.sin(angles), strict=True):
        framed = pad(torch.from_numpy(projection).to(device), (0, 0, 2, 1))  # zero bins around
        position = (cos * y - (sin * x)[:, None] + bins // 2).ravel()
        inside = (position >= 0) & (position <= bins - 1)
        position = torch.where(inside, position + 2, 0)  # outside: between the two zero bins in front
        below = position.int()
        lower, upper = (framed.index_select(0, index) for index in (below, below + 1))
        slices += lower.lerp_(upper, (position - below).float()[:, None])
    return slices.cpu().numpy().reshape(*shape, depth)
