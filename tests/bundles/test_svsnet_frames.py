"""What SVS-net's bundle does to every frame of a sequence by itself."""

import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import DiceMetric
from svsnet.frames import RemoveSmallComponentsd, frames_from_engine


def test_a_speck_is_dropped_although_it_stays_at_its_place():
    masks = torch.zeros(5, 12, 12)
    masks[:, 2:4, 2:4] = 1  # 4 pixels a frame, 20 in all
    masks[2, 6:9, 6:9] = 1
    masks[2, 9, 9] = 1  # touches at a corner: 10 pixels
    cleaned = RemoveSmallComponentsd("pred", min_area=10)({"pred": MetaTensor(masks, meta={"frames": [0, 1, 2, 3, 4]})})
    expected = torch.zeros(5, 12, 12)
    expected[2, 6:9, 6:9] = expected[2, 9, 9] = 1
    assert torch.equal(cleaned["pred"].as_tensor(), expected)
    assert cleaned["pred"].dtype == masks.dtype
    assert cleaned["pred"].meta["frames"] == [0, 1, 2, 3, 4]


def test_without_a_smallest_area_nothing_is_dropped():
    masks = (torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    assert torch.equal(RemoveSmallComponentsd("pred", min_area=0)({"pred": masks})["pred"], masks)


def test_what_is_no_sequence_of_masks_or_no_area_is_refused():
    with pytest.raises(ValueError, match=r"'pred' must be masks \(T, H, W\), got \(9, 9\)"):
        RemoveSmallComponentsd("pred", min_area=1)({"pred": torch.zeros(9, 9)})
    with pytest.raises(ValueError, match="min_area must be at least 0 pixels, got -1"):
        RemoveSmallComponentsd("pred", min_area=-1)


def test_every_frame_weighs_the_same_in_the_metric_however_long_its_sequence_is():
    right, wrong, label = torch.ones(3, 4, 4), torch.zeros(1, 4, 4), torch.ones(4, 4, 4)
    output = [{"pred": right, "label": label[:3]}, {"pred": wrong, "label": label[3:]}]
    metric = DiceMetric(ignore_empty=False)
    metric(*frames_from_engine(["pred", "label"])(output))
    assert metric.aggregate().item() == pytest.approx(3 / 4)
