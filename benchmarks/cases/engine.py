"""The scan of SynCAS' data engine against one made of scikit-image's projection and reconstruction."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import transform as peer

from benchmarks.case import Case, Variant
from common.tomography import operators
from common.tomography.photons import poisson_counts
from common.tomography.projection import filtered_backprojection, radon
from common.tomography.scan import simulate_scan

Volume = NDArray[np.float32]
Shape = tuple[int, int, int]

ANGLES_DEG = np.arange(180.0)
PIXEL_MM = 0.7
PHOTONS = 3e4  # per slice: a noise of about 10 HU


class Scan(NamedTuple):
    """A rendered volume, how it came about, and the seconds on the clock."""

    mode: str
    volume_hu: Volume
    wall_s: float


def cases(size: str) -> list[Case]:
    """Whole slices; ``full`` adds the two operators alone and a volume as it comes from the scanner."""
    if size == "quick":
        return [_scan_case((200, 200, 16), exact_floor=10, fast_floor=35)]
    shape = (512, 512, 16)
    return [
        _scan_case(shape, exact_floor=16, fast_floor=60),
        _operator_case("projection of slices, 180 angles", shape, slices, _peer_projection, radon),
        _operator_case(
            "filtered back-projection, 180 angles",
            shape,
            _sinograms,
            functools.partial(_peer_reconstruction, side=shape[0]),
            functools.partial(filtered_backprojection, shape=shape[:2]),
        ),
        _volume_case((512, 512, 275)),
    ]


def slices(shape: Shape) -> Volume:
    """A thorax in air with lungs, heart, spine and texture, ``(X, Y, Z)`` in HU; the same in every run."""
    x, y = (np.linspace(-1, 1, n) for n in shape[:2])
    thorax = np.full(shape[:2], -1000, np.float32)
    for centre, radius, value in (
        ((0.0, 0.0), (0.95, 0.7), -90.0),
        ((-0.5, 0.0), (0.3, 0.5), -850.0),
        ((0.5, 0.0), (0.3, 0.5), -850.0),
        ((0.0, 0.1), (0.3, 0.35), 40.0),
        ((0.0, -0.5), (0.1, 0.1), 500.0),
    ):
        thorax[((x[:, None] - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2 < 1] = value
    texture = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return np.asarray(thorax[..., None] + 15 * texture, np.float32)


def _scan_case(shape: Shape, exact_floor: float, fast_floor: float) -> Case:
    return Case(
        name="scan of slices",
        size="x".join(map(str, shape)),
        prepare=functools.partial(slices, shape),
        peer=Variant("scikit-image", _peer_scan),
        ours=[
            Variant("numba", _scan, exact_floor, None, "numba", 8 * math.prod(shape)),
            Variant("plain torch", _without_kernels, 1),
            Variant("noise only", functools.partial(_scan, mode="fast"), fast_floor, None, "numba"),
        ],
        check=_same_scan,
    )


def _operator_case(
    name: str,
    shape: Shape,
    prepare: Callable[[Shape], Volume],
    with_peer: Callable[[Volume], Volume],
    ours: Callable[[Volume], Volume],
) -> Case:
    return Case(
        name=name,
        size="x".join(map(str, shape)),
        prepare=functools.partial(prepare, shape),
        peer=Variant("scikit-image", with_peer),
        ours=[Variant("numba", ours, 10, None, "numba", 8 * math.prod(shape))],
        check=_close,
    )


def _volume_case(shape: Shape) -> Case:
    """Times are those of both threads together."""
    return Case(
        name="scan of a volume",
        size="x".join(map(str, shape)),
        prepare=functools.partial(slices, shape),
        peer=Variant("1 thread", _scan),
        ours=[Variant("2 threads", functools.partial(_scan, workers=2))],
        check=_bit_equal,
    )


def _scan(volume_hu: Volume, mode: str = "exact", workers: int = 1) -> Scan:
    depth = volume_hu.shape[2]
    photons, rngs = np.full(depth, PHOTONS), [np.random.default_rng(z) for z in range(depth)]
    start = time.perf_counter()
    scanned = simulate_scan(volume_hu, PIXEL_MM, photons, rngs, mode=mode, workers=workers)
    return Scan(mode, scanned, time.perf_counter() - start)


def _without_kernels(volume_hu: Volume) -> Scan:
    with mock.patch.object(operators, "_accelerated", None):
        return _scan(volume_hu)


def _peer_scan(volume_hu: Volume) -> Scan:
    start = time.perf_counter()
    scanned = [_peer_slice(volume_hu[..., z], np.random.default_rng(z)) for z in range(volume_hu.shape[2])]
    return Scan("peer", np.stack(scanned, axis=-1), time.perf_counter() - start)


def _peer_slice(slice_hu: Volume, rng: np.random.Generator) -> Volume:
    ring = np.ones(slice_hu.shape, bool)
    ring[8:-8, 8:-8] = False
    border = np.median(slice_hu[ring])
    sharp = gaussian_filter(slice_hu.astype(np.float64) - border, 0.5, radius=1, mode="nearest")
    rays = peer.radon(sharp, ANGLES_DEG, circle=False).T
    lowest, width = rays.min(), np.ptp(rays)
    counted = poisson_counts((rays - lowest) / width * PHOTONS, rng)  # ours, to compare images of equal noise
    noisy = (counted / PHOTONS * width + lowest).T
    again = peer.iradon(noisy, ANGLES_DEG, filter_name="ramp", circle=False, output_size=len(slice_hu))
    return np.asarray(gaussian_filter(again, 2, radius=4, mode="nearest") + border)


def _sinograms(shape: Shape) -> Volume:
    return radon(slices(shape))


def _peer_projection(volume: Volume) -> Volume:
    return np.stack([peer.radon(volume[..., z], ANGLES_DEG, circle=False) for z in range(volume.shape[2])], axis=-1)


def _peer_reconstruction(sinograms: Volume, side: int) -> Volume:
    settings = {"filter_name": "ramp", "circle": False, "output_size": side}
    return np.stack(
        [peer.iradon(sinograms[..., z], ANGLES_DEG, **settings) for z in range(sinograms.shape[2])], axis=-1
    )


def _same_scan(ours: Scan, peer: Scan) -> str:
    """The same image, noise included; of the fast mode the deviation from the noise-free slices' mean."""
    if ours.mode == "fast":
        return _alike(ours.volume_hu, peer.volume_hu)
    rms = _rms(ours.volume_hu - peer.volume_hu)
    assert rms < 1, f"{rms:.3g} HU RMS apart"
    return f"{rms:.2g} HU RMS apart"


def _alike(ours: Volume, peer: Volume) -> str:
    """Noise over the slices, and their mean; the slices differ in noise and texture only."""
    noise, expected = (float(np.sqrt(volume.var(2).mean())) for volume in (ours, peer))
    difference = ours - peer
    by_chance = float(difference.var(2, ddof=1).mean()) / ours.shape[2]
    apart = math.sqrt(max(_rms(difference.mean(2)) ** 2 - by_chance, 0))
    assert abs(noise / expected - 1) < 0.05, f"noise of {noise:.3g} HU, the peer's has {expected:.3g} HU"
    assert apart < 5, f"mean images {apart:.3g} HU RMS apart"
    return f"noise {noise:.3g} / {expected:.3g} HU, mean images {apart:.2g} HU RMS apart"


def _close(ours: Volume, peer: Volume) -> str:
    error = _rms(ours - peer) / float(peer.std())
    assert error < 1e-4, f"{error:.2g} of the deviation apart"
    return f"{error:.2g} of the deviation apart"


def _bit_equal(ours: Scan, peer: Scan) -> str:
    assert np.array_equal(ours.volume_hu, peer.volume_hu), "the number of threads changes the result"
    return f"bit-equal, {ours.wall_s:.1f} s instead of {peer.wall_s:.1f} s on the clock"


def _rms(difference: Volume) -> float:
    return float(np.sqrt(np.mean(np.square(difference, dtype=np.float64))))
