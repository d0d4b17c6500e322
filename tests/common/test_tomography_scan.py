"""Scans of volumes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import transform as peer

from common.tomography import operators, scan
from common.tomography.photons import poisson_counts
from common.tomography.scan import simulate_scan

SIDE, PIXEL_MM = 96, 1.0
MODELS = ["reference", "beer_lambert"]
BRIGHT = 1e12  # photons: no visible noise


def generators(depth, seed=0):
    return [np.random.default_rng([seed, z]) for z in range(depth)]


def scanned(volume, counts=1e4, seed=0, pixel_mm=PIXEL_MM, **settings):
    depth = volume.shape[2]
    return simulate_scan(volume, pixel_mm, np.full(depth, counts), generators(depth, seed), **settings)


def chest(shape=(SIDE, SIDE), depth=1):
    """Fat in air, two lungs, a heart of 40 HU in the middle."""
    x, y = (np.linspace(-1, 1, n) for n in shape)
    slice_hu = np.full(shape, -1000.0, np.float32)
    for centre, radius, value in (
        ((0, 0), (0.85, 0.75), -90),
        ((-0.45, 0), (0.3, 0.5), -850),
        ((0.45, 0), (0.3, 0.5), -850),
    ):
        slice_hu[((x[:, None] - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2 < 1] = value
    slice_hu[(x[:, None] / 0.35) ** 2 + (y / 0.4) ** 2 < 1] = 40
    return np.repeat(slice_hu[..., None], depth, axis=2)


def middle(shape=(SIDE, SIDE), share=0.2):
    """The inner part of the heart of :func:`chest`."""
    x, y = (np.linspace(-1, 1, n) for n in shape)
    return np.hypot(x[:, None], y) < share


def width_at_half_maximum(profile):
    peak, half = int(profile.argmax()), profile.max() / 2
    last = peak + int(np.argmax(profile[peak:] < half))
    first = peak - int(np.argmax(profile[peak::-1] < half))
    right = last - (half - profile[last]) / (profile[last - 1] - profile[last])
    left = first + (half - profile[first]) / (profile[first + 1] - profile[first])
    return right - left


def test_a_slice_is_scanned_as_with_scikit_image():
    volume = chest((98, 98))  # scikit-image's sinogram has an odd number of bins, as ours always has
    image = gaussian_filter(volume[..., 0].astype(np.float64) + 1000, 0.5, radius=1, mode="nearest")  # air outside
    rays = peer.radon(image, np.arange(180.0), circle=False).T
    range_ = np.ptp(rays)
    counted = poisson_counts((rays - rays.min()) / range_ * 1e4, generators(1)[0]) / 1e4 * range_ + rays.min()
    again = peer.iradon(counted.T, np.arange(180.0), filter_name="ramp", circle=False, output_size=98)
    expected = gaussian_filter(again, 2, radius=4, mode="nearest") - 1000
    error = scanned(volume)[..., 0] - expected
    assert np.sqrt((error**2).mean()) < 0.1


@pytest.mark.parametrize("settings", [{"device": "cpu"}, {"device": "cpu", "noise_model": "beer_lambert"}], ids=MODELS)
def test_torch_gives_the_scan_of_the_kernels(settings):
    volume = chest(depth=2)
    on_cpu = scanned(volume, **(settings | {"device": None}))
    assert np.sqrt(((scanned(volume, **settings) - on_cpu) ** 2).mean()) < 0.05


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_without_numba_the_scan_is_the_same(mode, monkeypatch):
    volume = chest(depth=2)
    with_numba = scanned(volume, mode=mode)
    monkeypatch.setattr(operators, "_accelerated", None)
    assert np.sqrt(((scanned(volume, mode=mode) - with_numba) ** 2).mean()) < 0.05


@pytest.mark.parametrize("settings", [{}, {"mode": "fast"}, {"region": (slice(20, 70), slice(25, 71))}], ids=str)
def test_a_slice_does_not_depend_on_workers_nor_on_its_neighbours(settings, monkeypatch):
    volume = chest((40, 40), depth=7) + np.arange(7, dtype=np.float32)
    counts, rngs = np.linspace(1e4, 1e5, 7), generators(7)
    settings = {name: value if name == "mode" else (slice(8, 30), slice(8, 31)) for name, value in settings.items()}
    expected = simulate_scan(volume, PIXEL_MM, counts, rngs, **settings)
    assert np.array_equal(simulate_scan(volume, PIXEL_MM, counts, generators(7), workers=2, **settings), expected)
    monkeypatch.setattr(scan, "_TOGETHER", 3)
    assert np.array_equal(simulate_scan(volume, PIXEL_MM, counts, generators(7), **settings), expected)
    alone = simulate_scan(volume[..., 4:5], PIXEL_MM, counts[4:5], generators(7)[4:5], **settings)
    assert np.array_equal(alone[..., 0], expected[..., 4])


@pytest.mark.parametrize("noise_model", MODELS)
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_noise_falls_with_the_root_of_the_counts_and_has_no_bias(mode, noise_model):
    volume, heart = chest(depth=24), middle()
    clean = scanned(volume[..., :1], BRIGHT, noise_model=noise_model, mode=mode)
    low, high = (scanned(volume, counts, noise_model=noise_model, mode=mode) - clean for counts in (2e5, 2e6))
    assert low[heart].std() / high[heart].std() == pytest.approx(np.sqrt(10), rel=0.1)
    assert abs(low[heart].mean()) < 0.3
    assert abs(high.mean()) < 0.3


@pytest.mark.parametrize("noise_model", MODELS)
def test_tissue_keeps_its_value(noise_model):
    quiet = scanned(chest(), BRIGHT, noise_model=noise_model)
    assert quiet[middle()].mean() == pytest.approx(40, abs=1)
    assert quiet[2:10, 2:10].mean() == pytest.approx(-1000, abs=2)


def test_the_noise_of_transmission_grows_with_what_the_rays_have_crossed():
    """Variance of a ray: exp(attenuation) / counts; of the image in HU: that over the square of the pixel's edge."""
    diameter_px, distance = 70, np.hypot(*np.ogrid[-48:48, -48:48])
    water = np.repeat(np.where(distance <= diameter_px / 2, 0.0, -1000.0)[..., None], 32, axis=2)
    small, large = (
        scanned(water, 1e6, noise_model="beer_lambert", pixel_mm=pixel_mm)[distance < 8].std()
        for pixel_mm in (2.0, 4.0)
    )
    assert large / small == pytest.approx(np.exp(0.02 * diameter_px * (4 - 2) / 2) / 2, rel=0.15)


def test_the_noise_of_the_reference_grows_with_the_range_of_the_rays():
    bright = chest(depth=16)
    bright[40:56, 40:56] += 2000
    low, high = (scanned(volume, 1e4).std(2)[20:30, 44:52].mean() for volume in (chest(depth=16), bright))
    assert high > 1.2 * low


def test_read_out_noise_adds_to_that_of_photons():
    plain, added = (
        scanned(chest(depth=16), 1e4, noise_model="beer_lambert", electronic_sd=sd, pixel_mm=2.0) for sd in (0.0, 100.0)
    )
    assert added[middle()].std() > 1.2 * plain[middle()].std()


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("place", [(20, 32), (45, 41)], ids=str)
def test_a_point_is_spread_as_the_engine_spreads_it(mode, place):
    """5.07 pixels, from the specification of the engine; the axis of rotation is the one place that is sharper."""
    point = np.zeros((65, 65, 1), np.float32)
    point[place] = 1000
    spread = scanned(point, BRIGHT, mode=mode)[..., 0]
    assert width_at_half_maximum(spread[:, place[1]]) == pytest.approx(5.07, rel=0.015)
    assert width_at_half_maximum(spread[place[0]]) == pytest.approx(5.07, rel=0.015)


@pytest.mark.parametrize("noise_model", MODELS)
def test_fast_rendering_has_the_mean_and_the_noise_of_a_scan(noise_model):
    depth = 32
    volume = chest(depth=depth)
    exact, fast = (
        scanned(volume, 1e4, seed, noise_model=noise_model, mode=mode) for seed, mode in enumerate(("exact", "fast"))
    )
    body = volume[..., 0] > -900
    noise = [image.std(2) for image in (exact, fast)]
    for region in (body, middle()):
        deviations = [np.sqrt((sd[region] ** 2).mean()) for sd in noise]
        assert deviations[1] == pytest.approx(deviations[0], rel=0.06)
    apart = (exact.mean(2) - fast.mean(2))[body]
    by_chance = sum((sd[body] ** 2).mean() for sd in noise) / depth
    assert (apart**2).mean() - by_chance < 5**2


def test_the_grain_of_fast_rendering_is_that_of_a_scan():
    flat = chest((128, 128), depth=48)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(40), np.fft.fftfreq(40)))
    rings = [(frequency > low) & (frequency <= low + 0.05) for low in (0.02, 0.07, 0.12, 0.17)]
    powers = []
    for seed, mode in enumerate(("exact", "fast")):
        grain = scanned(flat, 1e4, seed, mode=mode)[44:84, 44:84]
        power = (np.abs(np.fft.fft2(grain - grain.mean(2, keepdims=True), axes=(0, 1))) ** 2).mean(2)
        powers.append([power[ring].mean() for ring in rings])
    assert powers[1] == pytest.approx(powers[0], rel=0.15)


def test_a_region_is_scanned_and_the_rest_is_like_it():
    depth = 32
    volume, region = chest(depth=depth), (slice(20, 76), slice(16, None))
    exact, part = scanned(volume, seed=1), scanned(volume, seed=2, region=region)
    deviations = [image.std(2) for image in (exact, part)]
    by_chance = sum((sd**2).mean() for sd in deviations) / depth
    assert ((exact.mean(2) - part.mean(2)) ** 2).mean() - by_chance < 5**2
    for place in (middle(share=0.35), volume[..., 0] > -900):
        powers = [(sd[place] ** 2).mean() for sd in deviations]
        assert powers[1] == pytest.approx(powers[0], rel=0.15)


def test_the_whole_slice_as_region_is_the_scan():
    volume = chest()
    whole = scanned(volume, BRIGHT, region=(slice(None), slice(None)))
    assert whole == pytest.approx(scanned(volume, BRIGHT), abs=0.01)


@pytest.mark.parametrize("shape", [(96, 60), (61, 97)], ids=str)
@pytest.mark.parametrize("settings", [{}, {"mode": "fast"}, {"region": (slice(10, 50), slice(10, 51))}], ids=str)
def test_slices_need_not_be_square(shape, settings):
    quiet = scanned(chest(shape), BRIGHT, **settings)
    assert quiet.shape == (*shape, 1)
    assert quiet[middle(shape)].mean() == pytest.approx(40, abs=1.5)
    padded = np.pad(chest((61, 97)), ((18, 18), (0, 0), (0, 0)), constant_values=-1000)
    assert scanned(padded, BRIGHT)[18:79] == pytest.approx(scanned(chest((61, 97)), BRIGHT), abs=2)


@pytest.mark.parametrize("value", [-1000, 0, 40])
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_constant_slice_stays_as_it_is(value, mode):
    constant = np.full((30, 30, 2), value, np.int16)
    assert scanned(constant, mode=mode) == pytest.approx(value, abs=1e-3)
    assert scanned(constant, 1e9, mode=mode, noise_model="beer_lambert") == pytest.approx(value, abs=1)


def test_a_slice_full_of_tissue_has_no_edge():
    full = scanned(np.full((64, 64, 1), 40.0) + np.random.default_rng(0).normal(0, 10, (64, 64, 1)), BRIGHT)
    assert np.abs(full - 40).max() < 20


VOLUME = np.zeros((20, 20, 3), np.float32)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"volume_hu": VOLUME[..., 0]}, "volume_hu must have axes"),
        ({"volume_hu": VOLUME[..., :0], "counts": [], "rngs": []}, "at least one slice"),
        ({"volume_hu": VOLUME * np.nan}, "volume_hu must hold finite numbers"),
        ({"counts": np.ones(2)}, "counts must be 3 positive numbers"),
        ({"counts": np.zeros(3)}, "counts must be 3 positive numbers"),
        ({"rngs": generators(2)}, "rngs must be 3 generators"),
        ({"pixel_mm": 0.0}, "pixel_mm must be positive"),
        ({"noise_model": "gauss"}, "noise_model must be one of"),
        ({"mode": "quick"}, "mode must be 'exact' or 'fast'"),
        ({"electronic_sd": -1.0}, "electronic_sd must be at least 0"),
        ({"blur_px": (0.5, -1.0)}, "blur_px must be two numbers"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"region": (slice(5, 5), slice(None))}, "region must be two slices"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_named(changed, message):
    arguments = {"volume_hu": VOLUME, "pixel_mm": 1.0, "counts": np.full(3, 1e4), "rngs": generators(3)}
    with pytest.raises(ValueError, match=message):
        simulate_scan(**(arguments | changed))
