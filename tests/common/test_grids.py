"""Grids are read from headers, the same as the loaded volume's, and their differences are put in words."""

import gzip

import nibabel
import numpy as np
import pytest

from common.grids import Grid, case_name, describe_difference, read_grid, spacing_mm
from common.loading import LoadVolumed

itk = pytest.importorskip("itk")

OBLIQUE = np.array([[0.0, -0.4, 0.3, 10.0], [0.0, 0.3, 0.4, -20.0], [0.7, 0.0, 0.0, 5.0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("1.img.nii.gz", "1.img"),
        ("a.nii", "a"),
        ("scan.v2.nrrd", "scan.v2"),
        ("B.MHA", "B"),
        ("plain", "plain"),
        ("folder/b.mhd", "b"),
    ],
)
def test_only_known_suffixes_are_stripped(name, case):
    assert case_name(name) == case


def test_a_folder_keeps_its_dots(tmp_path):
    (tmp_path / "1.2.840.nii").mkdir()
    assert case_name(tmp_path / "1.2.840.nii") == "1.2.840.nii"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_the_header_gives_the_grid_of_the_loaded_volume(tmp_path, suffix):
    file = tmp_path / f"a{suffix}"
    if suffix.startswith(".nii"):
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), OBLIQUE), file)
    else:
        image = itk.image_from_array(np.ones((6, 5, 4), np.int16))  # ITK's arrays are (z, y, x)
        image.SetSpacing(spacing_mm(OBLIQUE))
        image.SetOrigin([-10.0, 20.0, 5.0])
        image.SetDirection(np.diag([-1, -1, 1]) @ OBLIQUE[:3, :3] / spacing_mm(OBLIQUE))
        itk.imwrite(image, str(file))
    grid = read_grid(file)
    assert grid.shape == (4, 5, 6)
    np.testing.assert_allclose(grid.affine, OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(LoadVolumed("image")({"image": file})["image"].affine, OBLIQUE, atol=1e-6)


def test_a_time_axis_of_one_volume_does_not_count(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 1)), OBLIQUE), tmp_path / "a.nii")
    assert read_grid(tmp_path / "a.nii").shape == (4, 5, 6)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 2)), OBLIQUE), tmp_path / "b.nii")
    assert read_grid(tmp_path / "b.nii").shape == (4, 5, 6, 2)


def test_a_picture_has_a_plane_grid(tmp_path):
    itk.imwrite(itk.image_from_array(np.zeros((7, 9), np.uint8)), str(tmp_path / "a.png"))
    assert read_grid(tmp_path / "a.png").shape == (9, 7)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.txt"])
def test_an_unreadable_header_names_the_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(ValueError, match=rf"cannot read .*{name}"):
        read_grid(tmp_path / name)


@pytest.mark.parametrize(("at", "damage"), [(70, b"U"), (42, b"\x00\x80")])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_damaged_header_names_the_file(tmp_path, suffix, at, damage):
    content = bytearray(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), OBLIQUE).to_bytes())
    content[at : at + len(damage)] = damage  # type of the voxels, or number of them
    file = tmp_path / f"a{suffix}"
    file.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    with pytest.raises(ValueError, match=rf"a\{suffix}"):
        LoadVolumed("image")({"image": file})
    if at != 42:  # a length below 0 shows when voxels are read
        with pytest.raises(ValueError, match=rf"a\{suffix}"):
            read_grid(file)


def test_a_folder_without_slices_is_no_grid(tmp_path):
    with pytest.raises(ValueError, match="without a DICOM series"):
        read_grid(tmp_path)


def test_equal_grids_do_not_differ():
    image = Grid((40, 50, 60), OBLIQUE)
    assert describe_difference(image, image) is None
    rounded = OBLIQUE.astype(np.float32).astype(float)
    assert describe_difference(image, Grid((40, 50, 60), rounded)) is None


def test_a_grid_turned_by_a_little_differs_at_its_far_corner():
    stretched = np.diag([1.0, 1.0, 1.01, 1.0])  # 59 voxels at 1.01 mm end 0.59 mm farther
    said = describe_difference(Grid((40, 50, 60), np.eye(4)), Grid((40, 50, 60), stretched))
    assert said is not None
    assert "0.59 mm apart" in said


def test_a_flip_and_another_shape_are_named():
    image = Grid((4, 5, 6), np.eye(4))
    assert (
        describe_difference(image, Grid((4, 6, 5), np.eye(4)))
        == "the image has the shape (4, 5, 6), the label (4, 6, 5)"
    )
    assert "6 mm apart" in str(describe_difference(image, Grid((4, 5, 6), np.diag([-1.0, 1, 1, 1]))))
