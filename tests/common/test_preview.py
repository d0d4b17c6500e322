"""The picture of a segmentation."""

from __future__ import annotations

import os
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
from PIL import Image

from common.grids import read_grid
from common.preview import FALSE, MISSED, PREDICTION, TRUTH, preview, preview_figure

SHAPE, SPACING = (60, 60, 60), (1.0, 1.0, 1.0)
FOOTER, HEADER = 44, 48
DATA = Path(os.environ.get("CORONARY_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def ball(centre, radius=4.0, shape=SHAPE, spacing=SPACING):
    grid = np.indices(shape).T * spacing
    return (np.linalg.norm(grid - centre, axis=-1) <= radius).T


def pixels(picture, colour):
    """Rows and columns of a colour in the lower panels, between header and legend."""
    rows, columns = np.nonzero((picture[HEADER:-FOOTER] == colour).all(-1))
    return rows, columns


def count(picture, colour):
    return len(pixels(picture, colour)[0])


@pytest.fixture
def image_hu():
    """Fat, a vessel of 2 mm along Z, and a chamber of 15 mm behind it (both at 400 HU)."""
    volume = np.full(SHAPE, -90.0, np.float32)
    volume[ball((30, 25, 30), 15)] = 400
    x, y, _ = np.indices(SHAPE)
    volume[np.hypot(x - 30, y - 46) <= 1] = 400
    return volume


def test_a_right_prediction_shows_no_error(image_hu):
    mask = ball((30, 30, 30))
    picture = preview_figure(image_hu, SPACING, mask, mask)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert count(picture, PREDICTION)
    assert count(picture, TRUTH)
    assert count(picture, MISSED) == count(picture, FALSE) == 0


def test_a_shift_within_the_tolerance_is_no_error(image_hu):
    picture = preview_figure(image_hu, SPACING, ball((31, 30, 30)), ball((30, 30, 30)))
    assert count(picture, MISSED) == count(picture, FALSE) == 0


def test_missed_and_false_parts_have_their_colours(image_hu):
    one, two = ball((15, 30, 30)), ball((45, 30, 30))
    missing = preview_figure(image_hu, SPACING, one, one | two)
    assert count(missing, MISSED)
    assert not count(missing, FALSE)
    too_much = preview_figure(image_hu, SPACING, one | two, one)
    assert count(too_much, FALSE)
    assert not count(too_much, MISSED)


def test_without_a_label_only_the_prediction_is_drawn(image_hu):
    picture = preview_figure(image_hu, SPACING, ball((30, 30, 30)))
    assert count(picture, PREDICTION)
    assert not any(count(picture, colour) for colour in (TRUTH, MISSED, FALSE))


@pytest.mark.parametrize("label", [None, np.zeros(SHAPE, bool), ball((30, 30, 30))], ids=["none", "empty", "full"])
def test_an_empty_prediction_still_gives_a_picture(image_hu, label):
    picture = preview_figure(image_hu, SPACING, np.zeros(SHAPE, bool), label)
    assert not count(picture, PREDICTION)
    assert (count(picture, MISSED) > 0) == (label is not None and label.any())


def test_right_is_left_and_above_is_above_and_front_is_left_from_the_side(image_hu):
    """The false ball lies to the right, in front of and above the missed one: high X, Y and Z in RAS."""
    high, low = ball((45, 45, 45)), ball((15, 15, 15))
    picture = preview_figure(image_hu, SPACING, high, low)
    panel = picture.shape[1] // 3
    for number in range(3):  # coronal, sagittal, axial
        places = {}
        for name, colour in (("false", FALSE), ("missed", MISSED)):
            rows, columns = pixels(picture[:, number * panel : (number + 1) * panel], colour)
            places[name] = rows.mean(), columns.mean()
        assert places["false"][0] < places["missed"][0]
        assert places["false"][1] < places["missed"][1]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 2.0), (0.7, 0.4, 1.2)], ids=str)
def test_a_ball_is_round_from_every_side_whatever_the_spacing(spacing):
    shape = tuple(round(50 / step) for step in spacing)
    mask = ball((25, 25, 25), 12, shape, spacing)
    picture = preview_figure(np.full(shape, -90.0), spacing, mask)
    panel = picture.shape[1] // 3
    sizes = []
    for number in range(3):
        rows, columns = pixels(picture[:, number * panel : (number + 1) * panel], PREDICTION)
        sizes += [np.ptp(rows), np.ptp(columns)]
    px_per_mm = np.median(sizes) / 24
    assert np.abs(np.array(sizes) / px_per_mm - 24).max() <= 1.1 * max(spacing)


def test_a_thin_vessel_is_brighter_than_the_chamber_behind_it(image_hu):
    mask = np.zeros(SHAPE, bool)
    mask[[5, 55], [5, 55], [5, 55]] = True  # so that the picture shows everything
    picture = preview_figure(image_hu, SPACING, mask)
    panel_width = picture.shape[1] // 3
    upper = picture[HEADER : HEADER + panel_width - 20, 10 : panel_width - 10, 0].astype(float)
    rows = slice(int(upper.shape[0] * 0.4), int(upper.shape[0] * 0.6))
    profile = upper[rows].mean(0)
    vessel = int(len(profile) * (1 - 30.5 / 60))
    chamber = int(len(profile) * (1 - 22.5 / 60))
    assert profile[vessel - 5 : vessel + 6].max() > profile[chamber] + 80


def write(folder, name, array, affine):
    path = folder / name
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return str(path)


def test_the_picture_does_not_depend_on_the_orientation_or_format_of_the_files(tmp_path, image_hu):
    arrays = [image_hu.astype(np.int16), *(ball(c, 6).astype(np.uint8) for c in ((32, 44, 34), (30, 46, 30)))]
    affine = np.diag([1.0, 1.0, 1.5, 1.0])
    turned = affine @ np.array([[-1, 0, 0, 59], [0, -1, 0, 59], [0, 0, 1, 0], [0, 0, 0, 1]])  # LPS
    names = ("case", "pred", "label")
    for folder in ("ras", "lps", "nrrd", "mha", "out"):
        (tmp_path / folder).mkdir()
    for name, array in zip(names, arrays, strict=True):
        write(tmp_path / "ras", f"{name}.nii.gz", array, affine)
        path = write(tmp_path / "lps", f"{name}.nii.gz", array[::-1, ::-1], turned)
        for suffix in ("nrrd", "mha"):
            itk.imwrite(itk.imread(path), str(tmp_path / suffix / f"{name}.{suffix}"))
    pictures = []
    for folder, suffix in (("ras", "nii.gz"), ("lps", "nii.gz"), ("nrrd", "nrrd"), ("mha", "mha")):
        image, pred, label = (str(tmp_path / folder / f"{name}.{suffix}") for name in names)
        preview(image, pred, str(tmp_path / "out" / f"{folder}.png"), label=label)
        pictures.append(np.asarray(Image.open(tmp_path / "out" / f"{folder}.png")))
    assert all(np.array_equal(pictures[0], other) for other in pictures[1:])
    assert len(list((tmp_path / "out").iterdir())) == 4  # no temporary file is left


def test_a_dicom_series_with_a_mask_on_its_grid(tmp_path):
    series = DATA / "ct_noncontrast" / "A0002_8mm_B40f"
    if not series.is_dir():
        pytest.skip(f"no DICOM series in {DATA}; set CORONARY_DATA")
    grid = read_grid(series)
    mask = np.zeros(grid.shape, np.uint8)
    mask[240:260, 250:270, 12:16] = 1
    preview(str(series), write(tmp_path, "pred.nii.gz", mask, grid.affine), str(tmp_path / "out.png"))
    assert count(np.asarray(Image.open(tmp_path / "out.png")), PREDICTION)


def test_bad_input_is_named(tmp_path, image_hu):
    image = write(tmp_path, "image.nii.gz", image_hu, np.eye(4))
    moved = write(tmp_path, "moved.nii.gz", image_hu, np.diag([2.0, 1, 1, 1]))
    with pytest.raises(ValueError, match=r"moved.nii.gz does not lie on .*image.nii.gz"):
        preview(image, moved, str(tmp_path / "out.png"))
    with pytest.raises(FileNotFoundError, match=r"no file .*absent.nii.gz"):
        preview(image, str(tmp_path / "absent.nii.gz"), str(tmp_path / "out.png"))
    with pytest.raises(ValueError, match=r"out must end in .png or be a folder, got out.jpg"):
        preview(image, image, "out.jpg")
    with pytest.raises(ValueError, match="shapes must be equal"):
        preview_figure(image_hu, SPACING, np.zeros((5, 5, 5), bool))
    with pytest.raises(ValueError, match=r"image_hu must be \(X, Y, Z\)"):
        preview_figure(np.zeros((5, 5)), (1, 1), np.zeros((5, 5), bool))
    with pytest.raises(ValueError, match="NaN or infinite"):
        preview_figure(np.full(SHAPE, np.nan), SPACING, ball((30, 30, 30)))


def test_every_scan_of_a_folder_gets_its_picture(tmp_path):
    mask, volume = ball((10, 10, 10), shape=(20, 20, 20)), np.zeros((20, 20, 20), np.int16)
    for case in ("a", "b.c"):
        write(tmp_path / "images", f"{case}.nii.gz", (volume + np.arange(20)).astype(np.int16), np.eye(4))
        write(tmp_path / "labels", f"{case}.nii.gz", mask.astype(np.uint8), np.eye(4))
        write(tmp_path / "masks", f"{case}_seg.nii.gz", mask.astype(np.uint8), np.eye(4))
    folders = [str(tmp_path / name) for name in ("images", "masks", "pictures", "labels")]
    preview(*folders)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["a.png", "b.c.png"]
    with pytest.raises(ValueError, match=r"holds 2 scans: out must be a folder"):
        preview(*folders[:2], str(tmp_path / "one.png"))
