"""Projection, photon noise, reconstruction and noise fields."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import transform as peer

from common.tomography import add_photon_noise, correlated_noise, filtered_backprojection, radon

RADIUS = 20.0
ANGLES_DEG = np.arange(0.0, 180.0, 3.0)


def disc(shape, centre, radius=RADIUS, value=1.0):
    """A disc whose border pixels hold the share of their area inside it."""
    fine = 8
    x, y = (np.arange(n * fine) / fine + (1 / fine - 1) / 2 for n in shape)
    inside = np.hypot(x[:, None] - centre[0], y - centre[1]) <= radius
    return value * inside.reshape(shape[0], fine, shape[1], fine).mean((1, 3))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (60, 41), (41, 60)], ids=str)
def test_projection_and_reconstruction_equal_scikit_image(shape, rng):
    image = rng.normal(size=shape)
    expected = peer.radon(image, ANGLES_DEG, circle=False)
    sinogram = radon(image, ANGLES_DEG)
    assert np.abs(sinogram - expected).max() < 1e-4 * expected.std()

    side = max(shape)
    square = peer.iradon(expected, ANGLES_DEG, filter_name="ramp", circle=False, output_size=side)
    first = [side // 2 - n // 2 for n in shape]
    expected = square[first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]]
    assert np.abs(filtered_backprojection(sinogram, shape, ANGLES_DEG) - expected).max() < 1e-3 * expected.std()


@pytest.mark.parametrize("shape", [(80, 80), (81, 81)], ids=["even", "odd"])
@pytest.mark.parametrize("shift", [(0, 0), (9, -5)], ids=["centred", "shifted"])
def test_a_disc_projects_to_its_chords(shape, shift):
    centre = np.add([n // 2 for n in shape], shift)
    sinogram = radon(disc(shape, centre), ANGLES_DEG)
    position = np.arange(len(sinogram)) - len(sinogram) // 2
    angle = np.deg2rad(ANGLES_DEG)
    distance = position[:, None] - (shift[1] * np.cos(angle) - shift[0] * np.sin(angle))
    chord = 2 * np.sqrt(np.maximum(RADIUS**2 - distance**2, 0))
    smooth = np.abs(np.abs(distance) - RADIUS) > 3  # away from the vertical tangent
    assert np.abs(sinogram - chord)[smooth].max() < 0.6
    assert np.abs(sinogram - chord)[smooth].mean() < 0.15


def test_every_projection_keeps_the_mass_of_the_slice():
    image = disc((64, 64), (30, 35))
    assert radon(image).sum(0) == pytest.approx(np.full(180, image.sum()), rel=2e-3)


@pytest.mark.parametrize("shape", [(96, 96), (97, 97), (96, 70)], ids=str)
def test_reconstruction_returns_the_value_and_the_place_of_a_disc(shape):
    image = disc(shape, (45, 30), value=300.0)
    again = filtered_backprojection(radon(image), shape)
    inside, outside = disc(shape, (45, 30), RADIUS - 3) > 0, disc(shape, (45, 30), RADIUS + 3) == 0
    assert again[inside].mean() == pytest.approx(300, abs=2)
    assert again[outside].mean() == pytest.approx(0, abs=2)
    weight = np.maximum(again, 0) * ~outside
    places = np.indices(shape)
    assert [(weight * place).sum() / weight.sum() for place in places] == pytest.approx([45, 30], abs=0.05)


def test_slices_in_one_call_equal_slices_one_by_one(rng):
    volume = rng.normal(size=(32, 32, 3))
    together = radon(volume, ANGLES_DEG)
    alone = [radon(volume[:, :, z], ANGLES_DEG) for z in range(3)]
    assert np.array_equal(together, np.stack(alone, axis=-1))
    back = filtered_backprojection(together, (32, 32), ANGLES_DEG)
    assert back[:, :, 1] == pytest.approx(filtered_backprojection(alone[1], (32, 32), ANGLES_DEG), abs=1e-6)


@pytest.mark.parametrize("counts", [1e4, 1e5], ids=["1e4 photons", "1e5 photons"])
def test_reference_noise_has_the_variance_of_its_law_and_no_bias(counts, rng):
    clean = np.tile(np.linspace(-500, 1500, 40, dtype=np.float32)[:, None], (1, 4000))
    error = add_photon_noise(clean, counts, rng) - clean
    variance = (clean[:, 0] + 500) * 2000 / counts
    assert error.var(1) == pytest.approx(variance, rel=0.1, abs=1e-3)
    assert np.abs(error.mean(1)).max() < 4 * np.sqrt(variance.max() / 4000)


def test_transmission_noise_grows_where_attenuation_is_largest(rng):
    attenuation = np.tile(np.array([[0.5], [2.0], [4.0]], np.float32), (1, 4000))
    error = add_photon_noise(attenuation, 1e5, rng, model="beer_lambert") - attenuation
    assert error.var(1) == pytest.approx(np.exp(attenuation[:, 0]) / 1e5, rel=0.1)


def test_read_out_noise_adds_to_counting_noise(rng):
    attenuation = np.full((1, 20000), 3.0, np.float32)
    error = add_photon_noise(attenuation, 1e4, rng, model="beer_lambert", electronic_sd=30) - attenuation
    detected = 1e4 * np.exp(-3)
    assert error.var() == pytest.approx((detected + 30**2) / detected**2, rel=0.1)


def test_each_slice_may_have_its_own_number_of_photons(rng):
    clean = np.tile(np.linspace(0, 1, 50, dtype=np.float32)[:, None, None], (1, 400, 2))
    error = add_photon_noise(clean, np.array([1e3, 1e5]), rng) - clean
    assert error[..., 0].std() / error[..., 1].std() == pytest.approx(10, rel=0.1)


def test_a_constant_slice_stays_as_it_is(rng):
    constant = np.full((20, 30), 40.0, np.float32)
    assert np.array_equal(add_photon_noise(constant, 1e4, rng), constant)


def test_reconstructed_noise_follows_the_rule_of_the_data_engine(rng):
    """The rule: 0.046 sqrt(S M / N0) with 180 views, from (pi / 2K)^2 * K * variance / 3 * 0.464."""
    shape, counts = (128, 128), 1e4
    sinogram = radon(disc(shape, (64, 64), 50, 140.0) - 100)
    noise = filtered_backprojection(add_photon_noise(sinogram, counts, rng) - sinogram, shape)
    centre = disc(shape, (64, 64), 25) > 0
    bins_near_centre = slice(len(sinogram) // 2 - 25, len(sinogram) // 2 + 26)
    lifted = sinogram - sinogram.min()
    expected_sd = 0.046 * np.sqrt((lifted[bins_near_centre] * lifted.max() / counts).mean())
    assert noise[centre].std() == pytest.approx(expected_sd, rel=0.15)
    assert abs(noise[centre].mean()) < 0.3


def test_equal_seeds_give_equal_noise():
    sinogram = np.random.default_rng(1).random((30, 40, 2))
    first, second = (add_photon_noise(sinogram, 1e4, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
    first, second = (correlated_noise((16, 16, 5), (0.4, 0.4, 0.5), 20, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("shape", [(64, 64, 8), (63, 50, 7), (8, 8, 1)], ids=str)
def test_a_noise_field_has_mean_zero_and_the_requested_deviation(shape, rng):
    noise = correlated_noise(shape, (0.4, 0.4, 0.5), 25.0, rng)
    assert noise.shape == shape
    assert noise.dtype == np.float32
    assert np.abs(noise.mean((0, 1), dtype=np.float64)).max() < 1e-4
    assert noise.std(dtype=np.float64) == pytest.approx(25, rel=1e-4)


def test_noise_power_is_a_ramp_that_the_resolution_cuts_off(rng):
    spacing, fwhm_mm = 0.4, 0.8
    noise = correlated_noise((128, 128, 64), (spacing, spacing, 3.0), 25.0, rng, fwhm_mm)
    power = (np.abs(np.fft.fft2(noise, axes=(0, 1))) ** 2).mean(2)
    along = np.fft.fftfreq(128, spacing)
    frequency = np.hypot(along[:, None], along)
    sigma_mm = fwhm_mm / 2.3548
    law = frequency * np.exp(-((2 * np.pi * sigma_mm * frequency) ** 2))
    rings = [(frequency > low) & (frequency <= low + 0.1) for low in np.arange(0.05, 0.95, 0.1)]
    measured = np.array([power[ring].mean() for ring in rings])
    expected = np.array([law[ring].mean() for ring in rings])
    assert measured / measured.sum() == pytest.approx(expected / expected.sum(), rel=0.1, abs=1e-3)


@pytest.mark.parametrize("step_mm", [0.25, 0.5, 3.0])
def test_noise_of_neighbouring_slices_correlates_with_their_distance(step_mm, rng):
    noise = correlated_noise((96, 96, 40), (0.4, 0.4, step_mm), 25.0, rng, z_length_mm=0.5)
    correlation = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / 25.0**2
    assert correlation == pytest.approx(np.exp(-step_mm / 0.5), abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: radon(np.zeros(5)), "image must have 2 axes"),
        (lambda: radon(np.full((8, 8), np.nan)), "image must hold finite numbers"),
        (lambda: filtered_backprojection(np.zeros((12, 5)), (8, 8)), r"angles_deg must have .* \(5\), got 180"),
        (lambda: filtered_backprojection(np.zeros((20, 180)), (8, 8)), "12 bins for slices"),
        (lambda: add_photon_noise(np.zeros((4, 4)), 0, np.random.default_rng(0)), "counts must be positive"),
        (lambda: add_photon_noise(np.zeros((4, 4, 3)), np.ones(2), np.random.default_rng(0)), "one for each slice"),
        (lambda: add_photon_noise(np.zeros((4, 4)), 1, np.random.default_rng(0), "gauss"), "model must be"),
        (lambda: correlated_noise((8, 8), (1, 1), 1, np.random.default_rng(0)), "three positive numbers"),
        (lambda: correlated_noise((8, 8, 8), (1, 1, 1), -1, np.random.default_rng(0)), "sd_hu"),
    ],
    ids=["axes", "nan", "angles", "bins", "no photons", "photons per slice", "model", "two axes", "negative sd"],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
