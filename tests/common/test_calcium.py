"""Calcium scores of blocks whose answer is arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from common.calcium import agatston_score

SPACING = (0.5, 0.5, 3.0)  # a pixel is 0.25 mm2


def heart(*blocks):
    """Blood of 40 HU with blocks ``(box, hu)`` in it, and a mask of everything."""
    volume = np.full((20, 20, 6), 40.0)
    for box, hu in blocks:
        volume[box] = hu
    return volume, np.ones(volume.shape, bool)


@pytest.mark.parametrize(
    ("hu", "weight"),
    [(129, 0), (130, 1), (199, 1), (200, 2), (299, 2), (300, 3), (399, 3), (400, 4), (1500, 4)],
)
def test_a_lesion_scores_its_area_times_the_weight_of_its_peak(hu, weight):
    volume, mask = heart((np.s_[2:6, 3:8, 2], hu))
    score = agatston_score(volume, mask, SPACING)
    assert score.agatston == pytest.approx(4 * 5 * 0.25 * weight)
    assert score.volume_mm3 == pytest.approx(4 * 5 * 0.25 * 3 * (weight > 0))
    assert score.lesions == (weight > 0)


def test_every_slice_and_every_lesion_has_its_own_peak():
    lesions = [(np.s_[2:6, 3:8, 1:3], 150), (np.s_[3, 4, 2], 450), (np.s_[12:16, 12:14, 2], 250)]
    score = agatston_score(*heart(*lesions), SPACING)
    assert score.agatston == pytest.approx(5.0 * 1 + 5.0 * 4 + 2.0 * 2)
    assert score.lesions == 3


def test_pixels_that_touch_at_a_corner_are_one_lesion():
    volume, mask = heart((np.s_[2:4, 2:4, 0], 140), (np.s_[4:6, 4:6, 0], 420))
    score = agatston_score(volume, mask, SPACING)
    assert (score.agatston, score.lesions) == (pytest.approx(8 * 0.25 * 4), 1)


def test_lesions_below_the_least_area_are_noise():
    volume, mask = heart((np.s_[2:5, 2, 0], 500), (np.s_[8:12, 2, 0], 500))  # 0.75 and 1 mm2
    assert agatston_score(volume, mask, SPACING).agatston == pytest.approx(1.0 * 4)
    assert agatston_score(volume, mask, SPACING, min_area_mm2=0.5).agatston == pytest.approx(1.75 * 4)


@pytest.mark.parametrize("thickness_mm", [1.5, 2.5, 3.0])
def test_the_score_does_not_depend_on_the_thickness_of_the_slices(thickness_mm):
    volume = np.full((20, 20, round(15 / thickness_mm)), 350.0)  # 15 mm in any case
    score = agatston_score(volume, volume > 0, (0.5, 0.5, thickness_mm))
    assert score.agatston == pytest.approx(100 * 3 * 5)
    assert score.volume_mm3 == pytest.approx(100 * 15)


def test_nothing_outside_the_mask_counts():
    volume, mask = heart((np.s_[2:6, 2:6, 0], 500), (np.s_[10:14, 2:6, 0], 900))
    mask[10:] = False
    assert agatston_score(volume, mask, SPACING).agatston == pytest.approx(16 * 0.25 * 4)


def test_a_lesion_belongs_to_the_vessel_with_most_of_its_pixels():
    volume, mask = heart((np.s_[2:6, 2:6, 0], 500), (np.s_[10:14, 2:6, 1], 250), (np.s_[2:6, 10:14, 2], 150))
    vessels = np.zeros(volume.shape, np.uint8)
    vessels[:4, :, 0], vessels[4, :, 0], vessels[10:, :, 1] = 2, 9, 9
    score = agatston_score(volume, mask, SPACING, vessels)
    assert score.vessels == {2: pytest.approx(16.0), 9: pytest.approx(8.0)}
    assert score.agatston == pytest.approx(16 + 8 + 4)  # the third lies on no vessel


def test_without_calcium_all_scores_are_zero():
    volume, mask = heart()
    for found in (agatston_score(volume, mask, SPACING), agatston_score(volume + 500, ~mask, SPACING)):
        assert (found.agatston, found.volume_mm3, found.lesions, found.vessels) == (0, 0, 0, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.ones((4, 4, 3))}, r"shapes must be equal, got volume_hu \(4, 4, 2\), mask \(4, 4, 3\)"),
        ({"vessels": np.ones((4, 4), int)}, r"vessels \(4, 4\)"),
        ({"volume_hu": np.ones((4, 4)), "mask": np.ones((4, 4))}, "three axes"),
        ({"spacing": (0.5, 0.5)}, "spacing must be three positive numbers"),
        ({"spacing": (0.5, 0.5, 0)}, "spacing must be three positive numbers"),
    ],
    ids=["other mask", "other vessels", "one slice", "two edges", "no thickness"],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"volume_hu": np.ones((4, 4, 2)), "mask": np.ones((4, 4, 2)), "spacing": SPACING} | change
    with pytest.raises(ValueError, match=message):
        agatston_score(**arguments)
