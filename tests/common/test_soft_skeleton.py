"""The soft skeleton against MONAI's, and on tubes whose middle is known."""

import numpy as np
import pytest
import torch
from monai.losses.cldice import soft_skel
from torch.testing import assert_close

from common import soft_skeleton as module
from common.soft_skeleton import soft_skeleton, soft_skeleton_of_label

SHAPES = [(2, 1, 9, 10, 11), (1, 2, 17, 13), (1, 1, 5, 1, 4), (1, 1, 1, 6)]


@pytest.fixture(params=["numba", "plain"])
def route(request, monkeypatch):
    """Each of the two implementations."""
    if request.param == "plain":
        monkeypatch.setattr(module, "_kernels", None)
    else:
        pytest.importorskip("numba")


def distinct(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Probabilities in (0, 1) in random places, every two of them at least 1 / (voxels + 1) apart."""
    voxels = int(np.prod(shape))
    order = np.random.default_rng(seed).permutation(voxels) + 1
    return torch.from_numpy((order / (voxels + 1)).astype(np.float32)).view(shape)


def tube(radius: int, length: int = 24) -> torch.Tensor:
    """A straight tube along the first axis through the whole volume, (1, 1, length, 2 * radius + 5, same)."""
    half = radius + 2
    y, z = np.ogrid[-half : half + 1, -half : half + 1]
    disc = torch.from_numpy(y**2 + z**2 <= radius**2)
    return disc.expand(1, 1, length, -1, -1)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("iterations", [0, 1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradient_are_monais(shape, iterations):
    ours = distinct(shape).requires_grad_()
    peer = distinct(shape).requires_grad_()
    upstream = torch.from_numpy(np.random.default_rng(1).standard_normal(shape, dtype=np.float32))
    skeleton = soft_skeleton(ours, iterations)
    expected = soft_skel(peer, iterations)
    assert_close(skeleton, expected, atol=1e-6, rtol=0)
    skeleton.backward(upstream)
    expected.backward(upstream)
    assert_close(ours.grad, peer.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("route")
def test_the_gradient_predicts_the_change_along_any_direction():
    image = distinct((1, 1, 6, 6, 6)).requires_grad_()  # values at least 1 / 217 = 0.0046 apart
    random = np.random.default_rng(2)
    weights = torch.from_numpy(random.standard_normal((1, 1, 6, 6, 6)))
    direction = torch.from_numpy(random.uniform(-1, 1, (1, 1, 6, 6, 6)).astype(np.float32))
    (weights * soft_skeleton(image, 2)).sum().backward()
    step = 1e-3  # changes no order, so that the skeleton is smooth in between
    with torch.no_grad():
        ahead = (weights * soft_skeleton(image + step * direction, 2)).sum()
        behind = (weights * soft_skeleton(image - step * direction, 2)).sum()
    assert (image.grad * direction).sum().item() == pytest.approx(((ahead - behind) / (2 * step)).item(), rel=1e-3)


@pytest.mark.usefixtures("route")
def test_a_saturated_prediction_has_the_labels_skeleton_and_a_finite_gradient():
    mask = tube(2)
    image = mask.float().requires_grad_()
    skeleton = soft_skeleton(image, 3)
    skeleton.sum().backward()
    assert torch.equal(skeleton.detach().bool(), soft_skeleton_of_label(mask, 3)[0])
    assert image.grad.isfinite().all()


@pytest.mark.usefixtures("route")
def test_only_voxels_of_the_image_can_earn_what_the_skeleton_gains():
    image = torch.full((1, 1, 7, 7, 7), 0.25)
    image[..., 3, 3] = 0.75  # a line: the skeleton is 0.75 - 0.25 there, and 0 elsewhere
    image.requires_grad_()
    skeleton = soft_skeleton(image, 2)
    skeleton.sum().backward()
    line = image.detach() == 0.75
    assert_close(skeleton.detach(), 0.5 * line, atol=1e-6, rtol=0)
    assert_close(image.grad[line], torch.ones(7))
    assert image.grad[~line].sum().item() == pytest.approx(-7, rel=1e-5)


def test_both_routes_agree(monkeypatch):
    pytest.importorskip("numba")
    results = []
    for kernels in (module._kernels, None):
        monkeypatch.setattr(module, "_kernels", kernels)
        image = distinct((2, 2, 12, 13, 14)).requires_grad_()
        skeleton = soft_skeleton(image, 4)
        skeleton.square().sum().backward()
        results.append((skeleton.detach(), image.grad))
    assert_close(results[0], results[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("voxels", [1, 150, 10**6], ids=["plane by plane", "few planes", "all at once"])
def test_the_size_of_a_step_does_not_matter(voxels, monkeypatch):
    image = distinct((1, 1, 11, 6, 7))
    monkeypatch.setattr(module, "_kernels", None)
    expected = soft_skeleton(image, 3)
    monkeypatch.setattr(module, "_SLAB_VOXELS", voxels)
    assert torch.equal(soft_skeleton(image, 3), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("iterations", [0, 3])
def test_the_skeleton_of_a_label_is_bit_equal_to_monais(shape, iterations):
    label = torch.nn.functional.avg_pool1d(distinct(shape).flatten(0, -2), 3, 1, 1).view(shape) > 0.45
    skeleton, _ = soft_skeleton_of_label(label, iterations)
    assert torch.equal(skeleton.float(), soft_skel(label.float(), iterations))


@pytest.mark.parametrize("radius", [1, 2, 4, 6])
def test_a_tube_is_reduced_to_its_middle_if_the_iterations_reach_its_radius(radius):
    mask = tube(radius)
    middle = mask.shape[-1] // 2
    skeleton, complete = soft_skeleton_of_label(mask, radius)
    assert complete
    assert skeleton[0, 0, :, middle, middle].all()
    skeleton, complete = soft_skeleton_of_label(mask, radius - 1)
    assert not complete
    assert not skeleton[0, 0, :, middle, middle].any()


def test_an_empty_label_has_an_empty_and_complete_skeleton():
    skeleton, complete = soft_skeleton_of_label(torch.zeros(2, 1, 8, 8, 8), 3)
    assert complete
    assert not skeleton.any()


def test_a_second_derivative_is_refused():
    image = distinct((1, 1, 4, 4, 4)).requires_grad_()
    (gradient,) = torch.autograd.grad(soft_skeleton(image, 1).square().sum(), image, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.usefixtures("route")
def test_nan_is_no_reason_to_stop():
    image = distinct((1, 1, 4, 4, 4)).requires_grad_()
    soft_skeleton(image * float("nan"), 1).sum().backward()
    assert image.grad.shape == image.shape


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_what_is_no_probability_is_refused(value):
    image = torch.full((1, 1, 4, 4, 4), 0.5)
    image[..., 0] = value
    with pytest.raises(ValueError, match=rf"must lie in \[0, 1\], got .*{value}.*apply the sigmoid"):
        soft_skeleton(image, 3)


def test_shapes_and_iterations_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"\(B, C, X, Y, Z\) and not empty, got \(4, 4, 4\)"):
        soft_skeleton(torch.zeros(4, 4, 4), 3)
    with pytest.raises(ValueError, match="iterations must be at least 0, got -1"):
        soft_skeleton_of_label(torch.zeros(1, 1, 4, 4), -1)
