"""The report of a CT measures masks of known size and says what is doubtful, and nothing where nothing is."""

import numpy as np
import pytest

from common.diagnostics import volumes
from common.diagnostics.volumes import (
    contrast_phase,
    describe_grid,
    describe_mask,
    explain_empty,
    judge_mask,
    judge_scan,
)

AFFINE = np.diag([0.5, 0.5, 2.0, 1.0])
CONTRAST = {"expected": True, "found": True, "blood_hu": 400.0}
HEART = {"found": True, "cropped": True, "box": [[0, 9]] * 3, "cut_at": []}
SETTINGS = {"threshold": 0.5, "min_volume_mm3": 12.5, "require_contrast": True}
MASK = {"volume_ml": 3.0, "length_mm": 600.0, "components": 2, "share_outside_heart": 0.0}


def bars():
    """Two bars along the first axis, 3 x 3 voxels thick, of 20 and 8 voxels."""
    mask = np.zeros((40, 30, 20), bool)
    mask[10:30, 5:8, 5:8] = True
    mask[10:18, 20:23, 5:8] = True
    return mask


def test_a_mask_of_bars_has_their_number_volume_and_length():
    facts = describe_mask(bars(), AFFINE, [[0, 20], [0, 30], [0, 20]])
    assert facts["voxels"] == 28 * 9
    assert facts["volume_ml"] == pytest.approx(28 * 9 * 0.5 * 0.5 * 2 / 1000)
    assert facts["components"] == 2
    assert facts["largest_components_ml"] == pytest.approx([20 * 9 * 0.5 / 1000, 8 * 9 * 0.5 / 1000])
    assert facts["length_mm"] == pytest.approx((20 + 8) * 0.5, abs=2 * 2 * 0.5)  # thinning shortens each end
    assert facts["share_outside_heart"] == pytest.approx(10 * 9 / (28 * 9))


def test_an_empty_mask_has_no_length_and_no_share():
    facts = describe_mask(np.zeros((4, 4, 4), bool), AFFINE, [[0, 4]] * 3)
    assert facts == {
        "voxels": 0,
        "volume_ml": 0.0,
        "components": 0,
        "largest_components_ml": [],
        "length_mm": 0.0,
        "share_outside_heart": None,
    }


def test_a_mask_too_large_for_vessels_is_not_thinned(monkeypatch):
    monkeypatch.setattr(volumes, "MAX_MEASURED", 100)
    assert describe_mask(bars(), AFFINE, None)["length_mm"] is None


def test_the_grid_is_told_in_mm_and_letters():
    grid = describe_grid((512, 512, 275), np.diag([-0.35, -0.35, 0.5, 1.0]))
    assert grid["shape"] == [512, 512, 275]
    assert grid["spacing_mm"] == [0.35, 0.35, 0.5]
    assert grid["field_mm"] == pytest.approx([179.2, 179.2, 137.5])
    assert grid["orientation"] == "LPS"


@pytest.mark.parametrize(("blood_hu", "phase"), [(160.0, "weak"), (249.0, "weak"), (250.0, "arterial")])
def test_the_contrast_phase_follows_from_the_blood(blood_hu, phase):
    assert contrast_phase(blood_hu, found=True) == phase
    assert contrast_phase(blood_hu, found=False) == "none"


def test_a_usual_scan_and_mask_have_no_warnings():
    assert judge_scan({"contrast": CONTRAST, "heart": HEART}) == []
    assert judge_mask(MASK) == []


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ({"contrast": CONTRAST | {"blood_hu": 200.0}, "heart": HEART}, "weak contrast: the blood pool has 200 HU"),
        ({"contrast": CONTRAST, "heart": HEART | {"found": False, "cut_at": None}}, "has not the size of a heart"),
        ({"contrast": {"expected": False, "found": False}, "heart": HEART | {"found": False}}, "no heart was found"),
        (
            {"contrast": CONTRAST, "heart": HEART | {"cut_at": ["top", "left"]}},
            "cut off by the end of the scan (top, left)",
        ),
    ],
    ids=["weak", "small", "no heart", "cut off"],
)
def test_a_doubtful_scan_has_one_warning(notes, message):
    (warning,) = judge_scan(notes)
    assert message in warning


def test_a_scan_without_contrast_is_not_warned_of_twice():
    notes = {"contrast": CONTRAST | {"found": False, "blood_hu": None}, "heart": HEART | {"found": False}}
    assert judge_scan(notes) == []  # CropToHeartd has said so


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volume_ml": 30.0}, "implausible volume: 30 ml"),
        ({"volume_ml": 0.05}, "implausible volume: 0.05 ml"),
        ({"length_mm": 2000.0}, "implausible length: 2000 mm"),
        ({"length_mm": 20.0}, "implausible length: 20 mm"),
        ({"components": 1}, "one connected piece"),
        ({"components": 14}, "14 separate pieces"),
        ({"share_outside_heart": 0.2}, "20% of the mask lies outside of the heart"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_an_implausible_mask_has_one_warning(change, message):
    (warning,) = judge_mask(MASK | change)
    assert message in warning


def test_the_volumes_of_real_trees_are_plausible():
    low, high = volumes.VOLUME_ML
    assert low == pytest.approx(48 * np.pi * 0.825**2 / 1000)
    assert high == pytest.approx(1432 * np.pi * 1.95**2 / 1000)


def explained(settings=SETTINGS, **notes):
    return explain_empty({"contrast": CONTRAST, "heart": HEART} | notes, settings, 0.5)


NATIVE = CONTRAST | {"found": False, "blood_hu": None}


def test_without_contrast_that_alone_is_the_reason():
    text = explained(contrast=NATIVE, heart=HEART | {"found": False}, highest_probability=0.9, above_threshold=50)
    assert text.startswith("nothing found: there is no contrast in the blood pool, so the mask was emptied")
    assert "threshold" not in text


def test_with_the_switch_off_the_contrast_is_the_first_reason_of_several():
    text = explained(
        SETTINGS | {"require_contrast": False}, contrast=NATIVE, highest_probability=0.3, above_threshold=0
    )
    assert text.index("no contrast in the blood pool") < text.index("the highest probability is 0.3, below")


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ({"heart": HEART | {"found": False}}, "no heart was found"),
        (
            {"highest_probability": 0.31, "above_threshold": 0},
            "the highest probability is 0.31, below the threshold of",
        ),
        ({"highest_probability": 0.9, "above_threshold": 8}, r"8 voxels (4 mm^3) are above the threshold, but all in"),
        ({"values": {"lowest": -200.0}}, "the lowest value is -200, that of a CT about -1000 HU"),
        ({}, "the reason is unknown"),
    ],
    ids=["heart", "threshold", "small", "units", "unknown"],
)
def test_an_empty_mask_is_explained(notes, reason):
    text = explained(**notes)
    assert text.startswith(f"nothing found: {reason}")
    assert ";" not in text.split("(--")[0]
