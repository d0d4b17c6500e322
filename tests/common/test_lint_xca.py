"""The checks of one angiogram."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.layouts.case import Case
from common.lint.xca import inspect_angiogram


def vessel():
    mask = np.zeros((40, 60), bool)
    mask[18:22, 5:55] = True
    return mask


def write(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def case(tmp_path):
    frame = np.random.default_rng(0).integers(140, 160, (40, 60)).astype(np.uint8)
    frame[vessel()] = 60
    return Case("a", write(tmp_path / "a.png", frame), write(tmp_path / "a_mask.png", vessel() * np.uint8(255)))


def found(case):
    return {f.check: f"{f.severity}: {f.text}" for f in inspect_angiogram(case).findings}


def test_a_sound_still_has_its_figures_and_no_finding(case):
    report = inspect_angiogram(case)
    assert report.findings == []
    assert report.measures["shape"] == [60, 40]
    assert report.measures["label_values"] == [0, 255]
    assert report.measures["label_share"] == pytest.approx(200 / 2400, abs=1e-6)
    assert report.measures["vessel_minus_rim"] == pytest.approx(60 - 149.5, abs=2)
    assert report.thumbnail.startswith(b"\x89PNG")


def test_bright_vessels_are_a_warning(case):
    frame = np.asarray(Image.open(case.image))
    write(case.image, 255 - frame)
    assert "brighter than their surroundings" in found(case)["bright vessels"]


def test_an_inverted_mask_is_a_warning(case):
    write(case.label, ~vessel() * np.uint8(255))
    assert found(case)["label share"].startswith("warning: 92% of the picture")


@pytest.mark.parametrize("key", ["image", "label"])
def test_damage_is_a_finding(case, key):
    file = getattr(case, key)
    file.write_bytes(file.read_bytes()[:60])
    report = inspect_angiogram(case)
    assert file.name in report.findings[0].text
    assert report.findings[0].severity == "error"


def test_a_picture_of_nothing_but_nan_is_a_finding(case, tmp_path):
    Image.fromarray(np.full((40, 60), np.nan, np.float32)).save(tmp_path / "a.tif")
    report = inspect_angiogram(Case("a", tmp_path / "a.tif", case.label))
    assert "NaN" in report.findings[0].text


def test_a_label_that_ends_too_early_leaves_the_case_out(case):
    case.label.write_bytes(case.label.read_bytes()[:-30])
    report = inspect_angiogram(case)
    assert "unreadable label" in [finding.check for finding in report.findings]
    assert not report.usable


def test_a_label_with_other_values_is_an_error(case):
    write(case.label, vessel() * np.uint8(3))
    assert found(case)["label values"].startswith("error")


def test_a_constant_picture_is_an_error(case):
    write(case.image, np.full((40, 60), 9, np.uint8))
    assert "every pixel is 9" in found(case)["image"]


def test_a_sequence_is_shown_where_most_of_it_is_vessel(tmp_path):
    frames = np.full((60, 40, 3), 150, np.uint8)
    masks = np.zeros_like(frames)
    frames[..., 1][vessel().T], masks[..., 1][vessel().T] = 60, 1
    for name, voxels in (("a", frames), ("a_mask", masks)):
        nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / f"{name}.nii.gz")
    report = inspect_angiogram(Case("a", tmp_path / "a.nii.gz", tmp_path / "a_mask.nii.gz"))
    assert report.findings == []
    assert report.measures["shape"] == [60, 40, 3]
    assert report.measures["vessel_minus_rim"] == -90
