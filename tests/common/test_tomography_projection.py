"""Projection and reconstruction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import transform as peer

from common.tomography import operators
from common.tomography.projection import filtered_backprojection, radon

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


@pytest.fixture(params=["numba", "torch"])
def route(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(operators, "_accelerated", None)
    else:
        pytest.importorskip("numba")


@pytest.mark.usefixtures("route")
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


def test_torch_on_a_device_equals_the_kernels(rng):
    image = rng.normal(size=(64, 50, 3))
    sinogram = radon(image, ANGLES_DEG)
    assert radon(image, ANGLES_DEG, device="cpu") == pytest.approx(sinogram, abs=1e-4 * float(sinogram.std()))
    slices = filtered_backprojection(sinogram, (64, 50), ANGLES_DEG)
    on_device = filtered_backprojection(sinogram, (64, 50), ANGLES_DEG, device="cpu")
    assert on_device == pytest.approx(slices, abs=1e-4 * float(slices.std()))


def test_angles_may_go_around_in_any_order(rng):
    image, angles_deg = rng.normal(size=(20, 20)), np.array([350.0, 17.5, 100.0, -80.0, 197.5])
    assert radon(image, angles_deg) == pytest.approx(radon(image, angles_deg, device="cpu"), abs=1e-3)
    assert radon(image, [17.5])[:, 0] == pytest.approx(radon(image, [197.5])[::-1, 0], abs=1e-3)


@pytest.mark.usefixtures("route")
def test_projection_and_reconstruction_are_linear(rng):
    first, second = rng.normal(size=(2, 40, 40, 2))
    total = radon(2 * first - 3 * second)
    assert total == pytest.approx(2 * radon(first) - 3 * radon(second), abs=1e-3)
    parts = [filtered_backprojection(radon(image), (40, 40)) for image in (first, second)]
    assert filtered_backprojection(total, (40, 40)) == pytest.approx(2 * parts[0] - 3 * parts[1], abs=1e-3)


@pytest.mark.usefixtures("route")
def test_a_blur_repeats_the_border_and_keeps_the_mean_of_a_constant(rng):
    image = rng.normal(size=(20, 15, 2)).astype(np.float32)
    expected = gaussian_filter(image, (2, 2, 0), mode="nearest", radius=(4, 4, 0))
    assert operators.blur(image, operators.gaussian(2)) == pytest.approx(expected, abs=1e-5)
    assert operators.blur(np.full((9, 9, 1), 7.0, np.float32), operators.gaussian(0.5)) == pytest.approx(7)


@pytest.mark.parametrize(("sigma", "taps"), [(0.5, 3), (2, 9), (0.8, 5), (0, 1)], ids=str)
def test_gaussian_weights_are_those_of_imgaussfilt(sigma, taps):
    weights = operators.gaussian(sigma)
    assert len(weights) == taps
    assert weights.sum() == pytest.approx(1)
    if taps > 1:  # next to the middle
        assert weights[taps // 2 + 1] / weights[taps // 2] == pytest.approx(np.exp(-1 / (2 * sigma**2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: radon(np.zeros(5)), "image must have 2 axes"),
        (lambda: radon(np.full((8, 8), np.nan)), "image must hold finite numbers"),
        (lambda: filtered_backprojection(np.zeros((12, 5)), (8, 8)), r"angles_deg must have .* \(5\), got 180"),
        (lambda: filtered_backprojection(np.zeros((20, 180)), (8, 8)), "12 bins for slices"),
    ],
    ids=["axes", "nan", "angles", "bins"],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
