"""Masks are written whole, under the name of their case and on the grid of their input."""

import errno
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd, SaveImaged, Spacingd

from common.loading import LoadVolumed
from common.saving import SaveMaskd

AFFINE = np.array([[-0.7, 0, 0, 12], [0, 0, 0.9, -3], [0, -0.8, 0, 40], [0, 0, 0, 1.0]])  # axes L, I, A


@pytest.fixture
def mask():
    voxels = (torch.arange(4 * 5 * 6).reshape(1, 4, 5, 6) % 3 == 0).float()
    return MetaTensor(voxels, affine=torch.from_numpy(AFFINE), meta={"filename_or_obj": "in/1.img.nii.gz"})


def test_a_mask_has_the_name_the_type_and_the_grid_of_its_case(mask, tmp_path):
    SaveMaskd("pred", tmp_path / "new")({"pred": mask})
    (file,) = (tmp_path / "new").iterdir()
    written = nibabel.load(file)
    assert file.name == "1.img_seg.nii.gz"
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(written.dataobj, mask[0])


def test_a_probability_map_keeps_its_values(mask, tmp_path):
    SaveMaskd("pred", tmp_path, postfix="prob", output_dtype=np.float32)({"pred": mask / 3})
    written = nibabel.load(tmp_path / "1.img_prob.nii.gz")
    assert written.get_data_dtype() == np.float32
    np.testing.assert_allclose(np.asarray(written.dataobj), mask[0] / 3)


def test_the_data_list_may_name_the_case(mask, tmp_path):
    SaveMaskd("pred", tmp_path)({"pred": mask, "case": "patient 7"})
    assert (tmp_path / "patient 7_seg.nii.gz").is_file()


def test_a_dicom_folder_with_dots_keeps_its_name(mask, tmp_path):
    (tmp_path / "1.2.840.113").mkdir()
    mask.meta["filename_or_obj"] = str(tmp_path / "1.2.840.113")
    SaveMaskd("pred", tmp_path / "out")({"pred": mask})
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["1.2.840.113_seg.nii.gz"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_the_mask_of_a_resampled_image_lies_on_the_file(tmp_path, suffix):
    file = tmp_path / f"scan{suffix}"
    voxels = np.zeros((16, 18, 20), np.float32)
    voxels[4:10, 5:12, 6:15] = 1
    if suffix == ".nii.gz":
        nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), file)
    else:
        itk = pytest.importorskip("itk")
        image = itk.image_from_array(np.ascontiguousarray(voxels.T))
        image.SetSpacing([0.7, 0.8, 0.9])
        itk.imwrite(image, str(file))
    keys = {"keys": "image"}
    before = Compose(
        [LoadVolumed("image"), Orientationd(**keys, axcodes="RAS", labels=None), Spacingd(**keys, pixdim=0.5)]
    )
    data = before({"image": file})
    data["pred"] = data["image"].clone()
    after = Compose([Invertd("pred", before, "image", nearest_interp=False), SaveMaskd("pred", tmp_path / "out")])
    data["pred"] = (after.transforms[0](data)["pred"] > 0.5).float()
    after.transforms[1](data)
    again = LoadVolumed(["image", "pred"])({"image": file, "pred": tmp_path / "out" / "scan_seg.nii.gz"})
    np.testing.assert_allclose(again["pred"].affine, again["image"].affine, atol=1e-5)
    assert (again["pred"] != again["image"]).sum() < 0.1 * voxels.sum()


def test_an_old_mask_is_replaced(mask, tmp_path):
    save = SaveMaskd("pred", tmp_path)
    save({"pred": mask})
    save({"pred": torch.zeros_like(mask)})
    assert not np.asarray(nibabel.load(tmp_path / "1.img_seg.nii.gz").dataobj).any()


def test_a_folder_that_cannot_be_made_is_named_with_the_cure(mask, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write to the folder .*file.*choose another"):
        SaveMaskd("pred", tmp_path / "file")({"pred": mask})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_named(mask, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot write to the folder"):
        SaveMaskd("pred", tmp_path)({"pred": mask})


def test_a_full_disk_leaves_nothing_behind(mask, tmp_path, monkeypatch):
    def fill_the_disk(_image, name):
        Path(name).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nibabel.save", fill_the_disk)
    with pytest.raises(OSError, match=r"cannot write .*1\.img_seg\.nii\.gz .*No space left.*free some space"):
        SaveMaskd("pred", tmp_path)({"pred": mask})
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_name_or_is_no_volume_is_refused(mask, tmp_path):
    with pytest.raises(
        ValueError, match=r"'pred' must be a MetaTensor \(1, X, Y, Z\).* got a Tensor of \(1, 2, 2, 2\)"
    ):
        SaveMaskd("pred", tmp_path)({"pred": torch.zeros(1, 2, 2, 2)})
    with pytest.raises(ValueError, match=r"got a MetaTensor of \(2, 4, 5, 6\)"):
        SaveMaskd("pred", tmp_path)({"pred": mask.repeat(2, 1, 1, 1)})
    del mask.meta["filename_or_obj"]
    with pytest.raises(ValueError, match="'pred' does not know its input file"):
        SaveMaskd("pred", tmp_path)({"pred": mask})


def test_a_server_that_writes_masks_itself_recognizes_the_transform(tmp_path):
    assert isinstance(SaveMaskd("pred", tmp_path), SaveImaged)  # MONAI Label drops SaveImaged and its subclasses
    assert list(tmp_path.iterdir()) == []  # and making one writes nothing
