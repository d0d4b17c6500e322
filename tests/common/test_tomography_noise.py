"""Photon noise and noise fields."""

from __future__ import annotations

import numpy as np
import pytest

from common.tomography.noise import add_photon_noise, correlated_noise, photon_variance
from common.tomography.projection import filtered_backprojection, radon


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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
    distance = np.hypot(*np.ogrid[-64:64, -64:64])
    sinogram = radon(np.where(distance <= 50, 40.0, -100.0))
    noise = filtered_backprojection(add_photon_noise(sinogram, counts, rng) - sinogram, shape)
    centre = distance <= 25
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


@pytest.mark.parametrize("model", ["reference", "beer_lambert"])
def test_the_variance_of_photon_noise_is_foretold(model, rng):
    clean = np.tile(np.linspace(0.5, 4, 20, dtype=np.float32)[:, None], (1, 4000))
    settings = {"counts": 3e4, "model": model, "electronic_sd": 20.0}
    error = add_photon_noise(clean, rng=rng, **settings) - clean
    assert error.var(1) == pytest.approx(photon_variance(clean, **settings)[:, 0], rel=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: add_photon_noise(np.zeros((4, 4)), 0, np.random.default_rng(0)), "counts must be positive"),
        (lambda: add_photon_noise(np.zeros((4, 4, 3)), np.ones(2), np.random.default_rng(0)), "one for each slice"),
        (lambda: add_photon_noise(np.zeros((4, 4)), 1, np.random.default_rng(0), "gauss"), "model must be"),
        (lambda: correlated_noise((8, 8), (1, 1), 1, np.random.default_rng(0)), "three positive numbers"),
        (lambda: correlated_noise((8, 8, 8), (1, 1, 1), -1, np.random.default_rng(0)), "sd_hu"),
    ],
    ids=["no photons", "photons per slice", "model", "two axes", "negative sd"],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
