"""The checks of one CT: what each defect is called, and that a sound case has none."""

import gzip

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from common.heart_box import HeartRegion
from common.layouts.case import Case
from common.lint.ct import inspect_ct
from common.lint.volumes import read_volume

from . import miniatures
from .miniatures import AFFINE, SHAPE, VESSEL, hounsfield, mask, write


@pytest.fixture
def case(tmp_path):
    return Case(
        "a",
        write(tmp_path / "a.nii.gz", hounsfield()),
        write(tmp_path / "a_label.nii.gz", mask()),
        extras={"centerline": miniatures.centerline(tmp_path / "a.json")},
    )


def found(case):
    report = inspect_ct(case)
    return {finding.check: (finding.severity, finding.text) for finding in report.findings}


def test_a_sound_case_has_its_figures_and_no_finding(case):
    report = inspect_ct(case)
    assert report.findings == []
    assert report.usable
    measures = report.measures
    assert measures["shape"] == list(SHAPE)
    assert measures["spacing_mm"] == [0.5, 0.5, 0.6]
    assert measures["orientation"] == "RAS"
    assert measures["range"] == [-1000, 400]
    assert measures["lumen_hu"] == 400
    assert measures["contrast"] == "arterial"
    assert measures["label_values"] == [0, 1]
    assert measures["label_ml"] == pytest.approx(2 * 2 * 8 * 0.5 * 0.5 * 0.6 / 1000, abs=1e-3)
    assert measures["pieces"] == 1
    assert measures["centerline"]["branches"] == 1
    assert measures["centerline"]["mm"] == pytest.approx(7 * 0.6, abs=0.1)


@pytest.mark.parametrize("key", ["image", "label"])
def test_a_damaged_file_is_a_finding(case, key):
    file = getattr(case, key)
    content = file.read_bytes()
    for broken in (content[: len(content) // 2], content[:40], b"", b"no image"):
        file.write_bytes(broken)
        report = inspect_ct(case)
        assert not report.usable
        assert [f.check for f in report.findings if f.severity == "error"] == [f"unreadable {key}"]
        assert file.name in report.findings[0].text


def test_a_damage_that_only_the_checksum_shows_is_found(case):
    content = bytearray(case.image.read_bytes())
    content[-8] ^= 0xFF  # of the checksum: the readers that training uses do not look at it
    case.image.write_bytes(content)
    assert nibabel.load(case.image).get_fdata().shape == SHAPE
    assert "CRC" in found(case)["unreadable image"][1]


def test_random_damage_never_crashes(case):
    plain = gzip.decompress(case.image.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(25):
        content = bytearray(plain)
        for place in rng.integers(0, 352, 3):
            content[place] = rng.integers(256)
        case.image.write_bytes(gzip.compress(bytes(content), 1))
        inspect_ct(case)


def test_an_absent_file_is_a_finding(case):
    case.label.unlink()
    assert "there is no file" in found(case)["unreadable label"][1]


def test_a_label_elsewhere_makes_the_case_unusable(case):
    moved = AFFINE.copy()
    moved[0, 3] += 3
    write(case.label, mask(), moved)
    report = inspect_ct(case)
    assert not report.usable
    assert "place the same voxel up to 3 mm apart" in found(case)["geometry"][1]


@pytest.mark.parametrize(
    ("values", "said"),
    [((255,), "holds 255 beside 0"), ((1, 2, 14), "holds 1, 2, 14 beside 0")],
    ids=["255", "branches"],
)
def test_other_values_than_0_and_1_are_an_error_and_the_case_stays(case, values, said):
    label = mask()
    for n, value in enumerate(values):
        label[3:5, 4:6, 1 + 2 * n :][label[3:5, 4:6, 1 + 2 * n :] > 0] = value
    write(case.label, label)
    report = inspect_ct(case)
    assert report.usable
    assert found(case)["label values"][0] == "error"
    assert said in found(case)["label values"][1]
    assert report.measures["label_values"] == [0, *values]


def test_an_empty_label_is_an_error(case):
    write(case.label, 0 * mask())
    report = inspect_ct(case)
    assert found(case)["empty label"][0] == "error"
    assert report.label_hash == ""


def test_specks_are_counted(case):
    label = mask()
    label[6::2, ::2, ::2] = 1  # 4 x 6 x 5 of them
    write(case.label, label)
    assert "in 121 pieces" in found(case)["label pieces"][1]


def test_an_implausible_volume_is_a_warning(case):
    coarse = np.diag([8, 8, 9.5, 1.0])
    write(case.image, hounsfield(), coarse)
    write(case.label, np.ones(SHAPE, np.uint8), coarse)
    assert found(case)["label volume"][0] == "warning"
    write(case.label, 0 * mask() + (np.indices(SHAPE).sum(0) == 0).astype(np.uint8), coarse * [1, 1, 1, 1])
    assert "label volume" not in found(case)  # 0.6 ml


def test_a_mirrored_label_is_told_from_a_wrong_one(case, monkeypatch):
    monkeypatch.setattr("common.lint.ct.locate_heart", lambda *_: HeartRegion((slice(None),) * 3, 400.0))
    write(case.label, mask()[::-1])
    severity, text = found(case)["label beside vessels"]
    assert severity == "error"
    assert "below 5" in text  # muscle, 50 HU
    cure = next(f.cure for f in inspect_ct(case).findings if f.check == "label beside vessels")
    assert "mirrored along axis 0 it would lie on 400 HU" in cure
    fat = hounsfield()
    fat[VESSEL] = -100
    write(case.image, fat)
    write(case.label, mask())
    assert found(case)["label beside vessels"][0] == "warning"


def test_a_label_in_a_chamber_is_as_bright_as_a_vessel_and_yet_mirrored(case):
    voxels = hounsfield()
    voxels[SHAPE[0] // 2 :] = 400  # a chamber where the vessel's mirror image lies
    write(case.image, voxels)
    assert "label beside vessels" not in found(case)
    write(case.label, mask()[::-1])
    severity, text = found(case)["label beside vessels"]
    assert severity == "error"
    assert "below 400 HU, and half of what is 2 mm beside it below 400 HU" in text


def test_a_label_that_is_drawn_too_wide_lies_on_its_vessel_all_the_same(case):
    voxels, wide = np.full(SHAPE, -80, np.int16), np.zeros(SHAPE, np.uint8)
    voxels[3:6, 4:7] = 400
    write(case.image, voxels)
    wide[2:7, 3:8] = 1  # a third of it is lumen, so half of it is fat
    write(case.label, wide)
    assert "label beside vessels" not in found(case)


@pytest.mark.parametrize("damage", [0, np.nan])
def test_an_affine_that_is_none_is_an_error_of_one_case(case, damage):
    image = nibabel.load(case.image)
    image.header["srow_z"], image.header["sform_code"], image.header["qform_code"] = damage, 1, 0
    voxels = np.asarray(image.dataobj)
    case.image.write_bytes(gzip.compress(image.header.binaryblock + bytes(4) + voxels.tobytes("F")))
    report = inspect_ct(case)
    assert not report.usable
    assert "its header places all voxels in a plane, or nowhere" in found(case)["unreadable image"][1]


def test_a_quaternion_that_is_none_does_not_count_beside_a_sound_affine(case):
    image = nibabel.load(case.image)
    image.header["quatern_b"] = image.header["quatern_c"] = 1.0
    image.header["qform_code"] = image.header["sform_code"] = 1
    voxels = np.asarray(image.dataobj)
    case.image.write_bytes(gzip.compress(image.header.binaryblock + bytes(4) + voxels.tobytes("F")))
    assert inspect_ct(case).usable


def test_a_mirrored_centerline_names_the_frame_that_fits(case, tmp_path):
    miniatures.centerline(tmp_path / "a.json", frame="LPS")
    severity, text = found(case)["centerline"]
    assert severity == "error"
    assert "fits in the frame 'ras' (100%)" in text


def test_the_frame_of_a_case_goes_before_that_of_the_file(case, tmp_path):
    miniatures.centerline(tmp_path / "a.json", frame="LPS")
    case.extras["centerline_frame"] = "ras"
    assert found(case) == {}


def test_a_centerline_that_needs_a_missing_package_is_told_and_no_error(case, monkeypatch):
    def missing(*_):
        raise ImportError("pip install vtk")

    monkeypatch.setattr("common.lint.ct.read_centerline", missing)
    assert found(case) == {"centerline not checked": ("warning", "pip install vtk")}


@pytest.mark.parametrize(
    ("voxels", "said"),
    [
        (hounsfield() + 1024, "cannot be Hounsfield units"),
        (np.full(SHAPE, 7, np.int16), "every voxel is 7"),
        (np.where(mask(), np.nan, hounsfield()).astype(np.float32), "NaN or infinite"),
    ],
    ids=["shifted", "constant", "nan"],
)
def test_an_image_that_training_refuses_is_an_error(case, voxels, said):
    write(case.image, voxels)
    severity, text = found(case)["image"]
    assert severity == "error"
    assert said in text


def test_thick_slices_are_a_warning(case):
    write(case.image, hounsfield(), np.diag([0.5, 0.5, 5, 1]))
    write(case.label, mask(), np.diag([0.5, 0.5, 5, 1]))
    assert "vessels under 1.9 mm cannot be seen" in found(case)["image"][1]


def test_a_flat_image_is_unusable(case):
    write(case.image, hounsfield()[..., 0])
    assert "volumes with 3 axes" in found(case)["axes"][1]


def test_two_affines_in_one_header_are_a_warning(case):
    image = nibabel.load(case.image)
    turned = AFFINE.copy()
    turned[0, 3] += 7
    image.set_qform(turned, code=1)
    image.set_sform(AFFINE, code=1)
    nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(case.image)
    assert "a corner 7.0 mm apart" in found(case)["two affines"][1]


def test_the_hash_is_that_of_the_voxels_and_not_of_the_file(case, tmp_path):
    plain = write(tmp_path / "b.nii", hounsfield())
    other = write(tmp_path / "c.nii.gz", hounsfield(1))
    assert read_volume(plain).hash == read_volume(case.image).hash != read_volume(other).hash


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_what_itk_reads_is_checked_alike(tmp_path, suffix):
    image = write(tmp_path / f"a{suffix}", hounsfield())
    label = write(tmp_path / f"a_label{suffix}", mask())
    report = inspect_ct(Case("a", image, label))
    assert report.findings == []
    assert report.measures["lumen_hu"] == 400
    assert report.image_hash
    image.write_bytes(image.read_bytes()[:-800])
    assert not inspect_ct(Case("a", image, label)).usable


def test_the_picture_outlines_the_vessel_on_the_side_where_it_is(case, tmp_path):
    def place(affine):
        write(case.image, hounsfield(), affine)
        write(case.label, mask(), affine)
        (tmp_path / "a.png").write_bytes(inspect_ct(Case("a", case.image, case.label)).thumbnail)
        axial = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)[
            :, : round(160 * SHAPE[0] / SHAPE[1])
        ]
        outline = (axial[..., 1] > 150) & (axial[..., 0] < 60)
        inside = ndimage.binary_fill_holes(outline) & ~outline
        assert axial[inside].mean() > 150  # 400 HU
        assert axial[~ndimage.binary_dilation(outline | inside, iterations=12)].mean() < 90  # 50 HU
        return np.argwhere(outline)[:, 1].mean() / axial.shape[1]

    ras = place(AFFINE)  # the vessel lies where the axis to the right begins: on the right of the picture
    assert ras > 0.6
    assert place(AFFINE @ np.diag([-1, 1, 1, 1])) == pytest.approx(1 - ras, abs=0.03)
