"""What CASR-Net's training takes from MONAI, and the metrics it reports, against values worked out by hand."""

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from torch.nn import functional

from common.metrics import score_shape


def test_monais_loss_is_half_cross_entropy_and_half_dice_over_the_whole_batch():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.8).float()
    label[1] = 0  # a frame without contrast agent: over the batch it does not cost a whole Dice
    share = logits.sigmoid()
    cross_entropy = -(label * share.log() + (1 - label) * (1 - share).log()).mean()
    dice = (2 * (share * label).sum() + 1e-5) / (share.sum() + label.sum() + 1e-5)
    loss = DiceCELoss(sigmoid=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5, lambda_dice=0.5, lambda_ce=0.5)
    assert loss(logits, label).item() == pytest.approx((0.5 * cross_entropy + 0.5 * (1 - dice)).item(), abs=1e-6)
    assert cross_entropy.item() == pytest.approx(functional.binary_cross_entropy_with_logits(logits, label).item())


def test_the_stated_scores_of_an_interrupted_vessel():
    label = np.zeros((9, 15), bool)
    label[3:6, 2:13] = True
    broken = label.copy()
    broken[:, 6:9] = False
    scores = score_shape(broken, label)
    precision, sensitivity = 1.0, 7 / 10  # 10 pixels of skeleton, of which the gap takes 3
    assert scores["dice"] == pytest.approx(2 * 24 / (24 + 33)) == pytest.approx(0.842105, abs=1e-6)
    assert scores["cldice"] == pytest.approx(2 * precision * sensitivity / (precision + sensitivity))
    assert scores["cldice"] == pytest.approx(0.823529, abs=1e-6)
