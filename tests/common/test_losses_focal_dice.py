"""The loss of the centerline U-Net: the published worked example, and what the literal form does wrong."""

import pytest
import torch

from common.losses import FocalDiceLoss

WEIGHTS = (0.0056, 0.9944)  # of the published 128-pixel crops


@pytest.fixture
def example():
    """Three 2 x 2 images with opposite logits, and their labels."""
    background = torch.tensor(
        [[[2.0, 0.0], [1.0, -1.0]], [[0.5, 0.5], [-3.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]]
    ).unsqueeze(1)
    label = torch.tensor([[[0, 1], [0, 1]], [[0, 0], [1, 0]], [[1, 1], [0, 0]]]).unsqueeze(1)
    return torch.cat([background, -background], 1), label


def perfect(label):
    return 20.0 * torch.cat([1 - 2 * label, 2 * label - 1], 1).float()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"class_weights": WEIGHTS, "dice_gain": 0.0}, 0.210302 / 2),
        ({"gamma": 2.0, "dice_gain": 0.0}, 0.076281 / 2),
        ({"class_weights": WEIGHTS}, 0.174959),
        ({"class_weights": WEIGHTS, "literal": True}, 0.125669),
    ],
    ids=["focal with class weights", "focal without", "as intended", "as written"],
)
def test_the_worked_example_of_the_description(example, options, expected):
    assert FocalDiceLoss(**options)(*example) == pytest.approx(expected, abs=2e-6)


def test_the_soft_dice_of_a_right_but_unsure_mask_is_far_from_its_binary_dice():
    """The published project reports the soft one: 0.43 here, where every voxel is decided rightly."""
    label = torch.zeros(1, 1, 10, 10)
    label[..., 0] = 1
    vessel = torch.where(label == 1, 0.6, 0.4)
    logits = torch.cat([1 - vessel, vessel], 1).log()
    soft = 1 - 2 * (FocalDiceLoss(dice_gain=1.0)(logits, label) - FocalDiceLoss(dice_gain=0.0)(logits, label))
    assert soft == pytest.approx(12 / 28, abs=1e-5)
    assert torch.equal(logits.argmax(1, keepdim=True), label.long())


def test_a_perfect_segmentation_costs_nothing(example):
    _, label = example
    assert FocalDiceLoss()(perfect(label), label) == pytest.approx(0, abs=1e-6)


def test_every_sample_counts_unless_the_published_indexing_is_asked_for(example):
    _, label = example
    logits = perfect(label)
    logits[0] = -logits[0]  # only the first sample is wrong
    no_focal = {"gamma": 0.0, "class_weights": (1, 1)}
    focal = torch.nn.functional.cross_entropy(logits, label[:, 0])
    intended = FocalDiceLoss(**no_focal)(logits, label)
    literal = FocalDiceLoss(**no_focal, literal=True)(logits, label)
    assert literal == pytest.approx(0.5 * float(focal), rel=1e-5)  # its Dice term sees nothing
    assert intended == pytest.approx(0.5 * float(focal) + 0.5 * 0.85 / 3, rel=1e-5)


def test_a_batch_of_one_is_fine_but_not_in_the_published_form(example):
    logits, label = (tensor[:1] for tensor in example)
    assert torch.isfinite(FocalDiceLoss()(logits, label))
    with pytest.raises(ValueError, match="batch_size to 2"):
        FocalDiceLoss(literal=True)(logits, label)


def test_the_size_of_the_class_weights_does_not_matter(example):
    small, large = (FocalDiceLoss(class_weights=(scale, 4 * scale))(*example) for scale in (0.1, 10))
    torch.testing.assert_close(small, large)


def test_an_empty_label_is_scored_and_gives_gradients():
    logits = torch.zeros(2, 2, 4, 4, requires_grad=True)
    loss = FocalDiceLoss()(logits, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert 0 < loss < 1
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, 1] > 0).all()  # away from vessel


@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.5, 2.0])
def test_voxels_of_which_the_network_is_certain_give_gradients_that_are_numbers(example, gamma):
    _, label = example
    logits = (10 * perfect(label)).requires_grad_()
    FocalDiceLoss(gamma=gamma)(logits, label).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"class_weights": (1, 0)}, "two positive numbers"), ({"gamma": 0.5}, "0 or at least 1")],
    ids=["weights", "gamma"],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FocalDiceLoss(**options)


def test_one_channel_of_logits_is_refused():
    with pytest.raises(ValueError, match="two channels"):
        FocalDiceLoss()(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
