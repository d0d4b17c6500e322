"""The losses' defining properties, on tubes whose skeleton is known."""

import math
import warnings

import monai.losses
import pytest
import torch
from monai.data import MetaTensor
from torch.testing import assert_close

from common import soft_skeleton
from common.losses import CASNetCompositeLoss, RegionAndTopologyLoss, SkeletonRecallLoss, SoftClDiceLoss

CONFIDENT = 20.0  # a logit whose sigmoid is 1 in float32
LOSSES = [SoftClDiceLoss(3), SkeletonRecallLoss(), CASNetCompositeLoss()]


def name(value) -> str:
    """Id of a test's parameter."""
    return type(value).__name__ if isinstance(value, torch.nn.Module) else str(value)


@pytest.fixture
def line() -> torch.Tensor:
    """A straight skeleton of 8 voxels in a batch of one, (1, 1, 8, 4, 4)."""
    mask = torch.zeros(1, 1, 8, 4, 4)
    mask[..., 2, 2] = 1
    return mask


@pytest.fixture
def tube() -> torch.Tensor:
    """A straight tube of radius 1 (a cross of 5 voxels) and length 12, (1, 1, 12, 7, 7)."""
    mask = torch.zeros(1, 1, 12, 7, 7)
    mask[..., 3, 2:5] = 1
    mask[..., 2:5, 3] = 1
    return mask


def logits(mask: torch.Tensor) -> torch.Tensor:
    """Confident logits of one channel."""
    return CONFIDENT * (2 * mask - 1)


def two_channels(mask: torch.Tensor) -> torch.Tensor:
    """Confident logits of background and foreground."""
    return torch.cat([logits(1 - mask), logits(mask)], 1)


def random_logits(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def random_label(*shape: int, classes: int = 2) -> torch.Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(1))


# --- what all have in common -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=name)
@pytest.mark.parametrize("predict", [logits, two_channels], ids=["sigmoid", "softmax"])
def test_a_perfect_prediction_costs_nothing(loss, predict, tube):
    assert loss(predict(tube), tube).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
@pytest.mark.parametrize("shape", [(2, 6, 7, 8), (2, 9, 8)], ids=["volume", "image"])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_the_label_may_hold_class_indices_or_a_channel_for_each_class(loss, shape, channels):
    batch, *spatial = shape
    prediction = random_logits(batch, channels, *spatial)
    label = random_label(batch, 1, *spatial, classes=max(channels, 2))
    one_hot = label if channels == 1 else torch.nn.functional.one_hot(label[:, 0], channels).movedim(-1, 1)
    value = loss(prediction, label)
    assert value.ndim == 0
    assert 0 < value < 10
    assert_close(loss(prediction, one_hot), value)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_one_channel_and_two_channels_with_the_same_probabilities_cost_the_same(loss):
    foreground = random_logits(1, 1, 6, 7, 8)
    label = random_label(1, 1, 6, 7, 8)
    both = torch.cat([torch.zeros_like(foreground), foreground], 1)
    assert_close(loss(both, label), loss(foreground, label))


@pytest.mark.parametrize("loss", LOSSES, ids=name)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_precision(loss, dtype):
    half = random_logits(1, 2, 6, 7, 8).detach().to(dtype).requires_grad_()
    label = random_label(1, 1, 6, 7, 8)
    value = loss(half, label)
    value.backward()
    assert value.dtype == torch.float32
    assert_close(value, loss(half.float(), label))
    assert half.grad.dtype == dtype
    assert half.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_strides_do_not_matter(loss):
    prediction = random_logits(1, 2, 6, 7, 8)
    label = random_label(1, 1, 6, 7, 8)
    turned = prediction.detach().transpose(2, 4).contiguous().transpose(2, 4).requires_grad_()
    loss(prediction, label).backward()
    value = loss(turned, label.transpose(2, 4).contiguous().transpose(2, 4))
    value.backward()
    assert_close(turned.grad, prediction.grad)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_meta_tensors_give_a_plain_scalar(loss):
    prediction = random_logits(1, 2, 6, 7, 8)
    label = random_label(1, 1, 6, 7, 8)
    value = loss(MetaTensor(prediction), MetaTensor(label))
    assert type(value) is torch.Tensor
    assert_close(value, loss(prediction, label))
    value.backward()
    assert prediction.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", LOSSES, ids=name)
@pytest.mark.parametrize("predict", [logits, two_channels], ids=["sigmoid", "softmax"])
def test_an_empty_label_gives_a_finite_loss_and_gradient(loss, predict, tube):
    prediction = predict(tube).requires_grad_()
    value = loss(prediction, torch.zeros_like(tube))
    value.backward()
    assert value.isfinite()
    assert prediction.grad.isfinite().all()
    assert loss(predict(torch.zeros_like(tube)), torch.zeros_like(tube)).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
@pytest.mark.parametrize(
    ("prediction", "label"),
    [
        ((1, 1, 8, 4, 4), (1, 8, 4, 4)),
        ((1, 3, 8, 4, 4), (1, 2, 8, 4, 4)),
        ((2, 1, 8, 4, 4), (1, 1, 8, 4, 4)),
        ((1, 1, 8, 4, 4), (1, 1, 8, 4, 5)),
        ((8, 4, 4), (8, 4, 4)),
    ],
    ids=["rank", "channels", "batch", "space", "no batch"],
)
def test_shapes_that_do_not_belong_together_are_named(loss, prediction, label):
    with pytest.raises(
        ValueError, match=rf"got logits {prediction}, \w+ {label}".replace("(", r"\(").replace(")", r"\)")
    ):
        loss(torch.zeros(prediction), torch.zeros(label))


@pytest.mark.parametrize("loss", LOSSES, ids=name)
@pytest.mark.parametrize("value", [2.0, 255.0, 0.5, -1.0, math.nan])
def test_labels_that_are_no_classes_are_refused(loss, value, line):
    label = line.clone()
    label[0, 0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=rf"class indices 0 to 1 .*, got {value:.4g} among them"):
        loss(two_channels(line), label)


# --- soft clDice -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["numba", "plain"])
def route(request, monkeypatch):
    """Each of the soft skeleton's two implementations."""
    if request.param == "plain":
        monkeypatch.setattr(soft_skeleton, "_kernels", None)
    else:
        pytest.importorskip("numba")


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("spatial", [(10, 11, 12), (20, 19)], ids=["volume", "image"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_soft_cldice_has_the_value_and_gradient_of_monais(spatial, channels):
    ours = random_logits(2, channels, *spatial)
    peer = ours.detach().clone().requires_grad_()
    label = random_label(2, 1, *spatial, classes=max(channels, 2))
    sharp = {"sigmoid": True} if channels == 1 else {"softmax": True, "to_onehot_y": True, "include_background": False}
    value = SoftClDiceLoss(3)(ours, label)
    expected = monai.losses.SoftclDiceLoss(3, **sharp)(peer, label.float())
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    value.backward()
    expected.backward()
    assert_close(ours.grad, peer.grad, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("missed", [0, 3, 6, 9])
def test_soft_cldice_grows_with_the_missed_length(missed, tube):
    prediction = tube.clone()
    prediction[:, :, :missed] = 0
    # Precision stays 1; sensitivity is the share of the 12 skeleton voxels that is left.
    sensitivity = (12 - missed + 1e-3) / (12 + 1e-3)
    loss = SoftClDiceLoss(iterations=1, smooth=1e-3)(logits(prediction), tube)
    assert loss.item() == pytest.approx(1 - 2 * sensitivity / (1 + sensitivity), abs=1e-3)


def test_a_false_vessel_costs_as_much_as_a_missed_one_of_equal_length(line):
    double = line.clone()
    double[..., 0, 0] = 1
    loss = SoftClDiceLoss(iterations=1)
    assert_close(loss(logits(double), line), loss(logits(line), double))


def test_soft_cldice_pulls_at_the_gap_of_a_vessel(tube):
    prediction = tube.clone()
    prediction[:, :, 5:7] = 0.5
    raw = (4 * prediction - 2).requires_grad_()
    SoftClDiceLoss(iterations=1)(raw, tube).backward()
    assert (raw.grad[0, 0, 5:7, 3, 3] < 0).all()


def test_a_warning_says_once_which_iterations_the_label_needs():
    mask = torch.zeros(1, 1, 6, 11, 11)
    y, z = torch.meshgrid(torch.arange(-5, 6), torch.arange(-5, 6), indexing="ij")
    mask[..., y**2 + z**2 <= 16] = 1  # radius 4
    loss = SoftClDiceLoss(iterations=3)
    with pytest.warns(UserWarning, match=r"iterations \(3\) is below .* at least 4"):
        loss(logits(mask), mask)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(logits(mask), mask)
        SoftClDiceLoss(iterations=4)(logits(mask), mask)


def test_soft_cldice_refuses_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="iterations must be at least 0, got -1"):
        SoftClDiceLoss(iterations=-1)
    with pytest.raises(ValueError, match="smooth must be above 0, got 0"):
        SoftClDiceLoss(smooth=0)


# --- skeleton recall -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missed", [0, 2, 4, 8])
def test_skeleton_recall_is_the_missed_share_of_the_skeleton(line, missed):
    prediction = line.clone()
    prediction[:, :, :missed] = 0
    loss = SkeletonRecallLoss(smooth=0)(logits(prediction), line)
    assert loss.item() == pytest.approx(missed / 8, abs=1e-6)


def test_false_positives_cost_skeleton_recall_nothing(line):
    assert SkeletonRecallLoss()(logits(torch.ones_like(line)), line).item() == pytest.approx(0, abs=1e-6)


def test_only_skeleton_voxels_receive_a_gradient(line):
    prediction = torch.zeros_like(line, requires_grad=True)
    SkeletonRecallLoss()(prediction, line).backward()
    assert torch.equal(prediction.grad != 0, line.bool())


@pytest.mark.parametrize("smooth", [0, 1])
def test_a_label_without_skeleton_costs_nothing(line, smooth):
    assert SkeletonRecallLoss(smooth)(logits(line), torch.zeros_like(line)) == 0


def test_every_class_counts_alike_in_skeleton_recall(line):
    classes = 2 * line
    classes[..., 0, 0] = 1
    classes[:, :, 1:, 0, 0] = 0  # class 1 has one voxel, class 2 has eight
    only_second = torch.cat([1 - line, torch.zeros_like(line), line], 1)
    loss = SkeletonRecallLoss(smooth=0)(logits(only_second), classes)
    assert loss.item() == pytest.approx(0.5, abs=1e-6)


def test_a_negative_smooth_is_refused():
    with pytest.raises(ValueError, match="smooth must be at least 0, got -1"):
        SkeletonRecallLoss(smooth=-1)


# --- CAS-Net ---------------------------------------------------------------------------------------------------------

# Four voxels in a row: the published network's sigmoid outputs for background and vessel, and the labels.
EXAMPLE_OUTPUT = torch.tensor([[0.9, 0.2, 0.6, 0.4], [0.1, 0.8, 0.3, 0.7]]).view(1, 2, 1, 1, 4)
EXAMPLE_LABEL = torch.tensor([0, 1, 0, 1]).view(1, 1, 1, 1, 4)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((3, 0, 0), 0.479325),
        ((0, 3, 0), 0.480060),
        ((0, 0, 3), 0.143532),
        ((1, 0.6, 0.4), 0.274924),
    ],
    ids=["cross-entropy", "balanced", "Dice", "sum"],
)
def test_the_published_formula_gives_the_worked_example(weights, expected):
    loss = CASNetCompositeLoss(*weights, sigmoid_first=True)
    assert loss(EXAMPLE_OUTPUT.logit(), EXAMPLE_LABEL).item() == pytest.approx(expected, abs=1e-6)


def test_without_the_second_activation_the_same_formula_takes_logits():
    # The example's outputs taken for logits: the softmax then sees the same numbers.
    assert CASNetCompositeLoss()(EXAMPLE_OUTPUT, EXAMPLE_LABEL).item() == pytest.approx(0.274924, abs=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_the_published_formula_never_gets_below_its_floor(share):
    label = (torch.arange(1000) < 1000 * share).long().view(1, 1, 10, 10, 10)
    perfect = two_channels(label.float())
    floor = math.log(1 + math.exp(-1))  # both cross-entropies, whatever the balance
    loss = CASNetCompositeLoss(1.5, 1.5, 0, sigmoid_first=True)(perfect, label)
    assert loss.item() == pytest.approx(floor, abs=1e-5)
    assert CASNetCompositeLoss()(perfect, label) < 1e-6


def test_the_class_weights_receive_no_gradient():
    prediction = EXAMPLE_OUTPUT.clone().requires_grad_()
    CASNetCompositeLoss(0, 3, 0)(prediction, EXAMPLE_LABEL).backward()
    share = EXAMPLE_OUTPUT.softmax(1)
    weights = ((1 - share).sum((0, 2, 3, 4)) / share.sum((0, 2, 3, 4)))[EXAMPLE_LABEL]
    one_hot = torch.cat([1 - EXAMPLE_LABEL, EXAMPLE_LABEL], 1)
    assert_close(prediction.grad, weights / weights.sum() * (share - one_hot))


def test_a_confident_background_patch_costs_nothing_and_stays_finite():
    label = torch.zeros(1, 1, 4, 4, 4)
    prediction = (50 * two_channels(label)).requires_grad_()
    loss = CASNetCompositeLoss()(prediction, label)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert prediction.grad.isfinite().all()


def test_the_published_formula_needs_a_background_channel(line):
    with pytest.raises(ValueError, match="two or more channels, got logits"):
        CASNetCompositeLoss(sigmoid_first=True)(logits(line), line)


def test_monais_dice_is_the_recipes_softmax_dice():
    dice = monai.losses.DiceLoss(
        softmax=True, to_onehot_y=True, squared_pred=True, smooth_nr=1, smooth_dr=1, batch=True
    )
    expected = CASNetCompositeLoss(0, 0, 3)(EXAMPLE_OUTPUT, EXAMPLE_LABEL)
    assert_close(dice(EXAMPLE_OUTPUT, EXAMPLE_LABEL), expected)


# --- sums ------------------------------------------------------------------------------------------------------------


def test_the_sum_gives_the_label_to_the_region_term_and_the_skeleton_to_the_other(tube):
    dice = monai.losses.DiceLoss(sigmoid=True)
    prediction = random_logits(1, 1, 12, 7, 7)
    skeleton = torch.zeros_like(tube)
    skeleton[..., 3, 3] = 1
    loss = RegionAndTopologyLoss(dice, SkeletonRecallLoss(), weight=0.5)
    expected = dice(prediction, tube) + 0.5 * SkeletonRecallLoss()(prediction, skeleton)
    assert_close(loss(prediction, torch.cat([tube, skeleton], 1)), expected)


def test_the_sum_gives_a_single_channel_to_both_terms(tube):
    dice = monai.losses.DiceLoss(sigmoid=True)
    prediction = random_logits(1, 1, 12, 7, 7)
    loss = RegionAndTopologyLoss(dice, SoftClDiceLoss(3))
    assert_close(loss(prediction, tube), dice(prediction, tube) + SoftClDiceLoss(3)(prediction, tube))


def test_the_sum_refuses_a_third_channel(tube):
    with pytest.raises(ValueError, match=r"label and skeleton \(B, 2, \*spatial\), got \(1, 3, 12, 7, 7\)"):
        RegionAndTopologyLoss(torch.nn.Identity(), torch.nn.Identity())(tube, tube.expand(1, 3, -1, -1, -1))
