"""Volumes load from every format alike, and what cannot be the CT a model expects is refused by name."""

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged

from common.loading import CheckLabeld, CheckVolumed, LoadVolumed

itk = pytest.importorskip("itk")


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-1000, 1000, (12, 14, 16)).astype(np.int16)


@pytest.fixture
def volume(voxels):
    return MetaTensor(torch.from_numpy(voxels)[None].float(), meta={"filename_or_obj": "a.nii.gz"})


def write(file, voxels):
    """Write with nibabel or ITK, whose arrays are (z, y, x)."""
    if ".nii" in file.name:  # ITK writes 1.img.nii.gz as 1.img
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), file)
        return
    itk.imwrite(itk.image_from_array(np.ascontiguousarray(voxels.T)), str(file))


def write_series(folder, slices, number):
    """Write one DICOM series of ``slices`` slices of 8 x 8, 1 mm apart."""
    folder.mkdir(exist_ok=True)
    writer = itk.GDCMImageIO.New()
    writer.KeepOriginalUIDOn()
    for index in range(slices):
        image = itk.image_from_array(np.full((1, 8, 8), 100 * number + index, np.int16))
        image.SetOrigin([0.0, 0.0, float(index)])
        tags = image.GetMetaDataDictionary()
        tags["0008|0060"] = "CT"
        tags["0008|0018"] = f"1.2.3.{number}.{index + 1}"
        tags["0020|000d"], tags["0020|000e"] = "1.2.3", f"1.2.3.{number}"
        tags["0020|0013"] = str(index + 1)
        tags["0020|0032"] = f"0\\0\\{index}"
        itk.imwrite(image, str(folder / f"{number}_{index}.dcm"), imageio=writer)


def test_the_loader_is_none_that_monai_label_would_change():
    """It makes every LoadImaged return the metadata apart, which ours does not expect."""
    assert not isinstance(LoadVolumed("image"), LoadImaged)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_every_format_gives_the_same_voxels_channel_first(tmp_path, voxels, suffix):
    file = tmp_path / f"1.img{suffix}"
    write(file, voxels)
    image = LoadVolumed("image")({"image": str(file)})["image"]
    assert image.shape == (1, 12, 14, 16)
    np.testing.assert_array_equal(image[0], voxels)
    assert image.meta["filename_or_obj"] == str(file)


def test_a_dicom_folder_is_one_volume_in_slice_order(tmp_path):
    write_series(tmp_path / "1.2.840", 5, 1)
    image = LoadVolumed("image")({"image": tmp_path / "1.2.840"})["image"]
    assert image.shape == (1, 8, 8, 5)
    assert image[0, 0, 0].tolist() == [100, 101, 102, 103, 104]
    assert Path(image.meta["filename_or_obj"]).name == "1.2.840"


def test_the_longest_of_several_series_is_used_with_a_warning(tmp_path):
    write_series(tmp_path, 2, 1)
    write_series(tmp_path, 5, 2)
    with pytest.warns(UserWarning, match=r"2 DICOM series of \[5, 2\] slices: the longest is used"):
        image = LoadVolumed("image")({"image": tmp_path})["image"]
    assert image.shape == (1, 8, 8, 5)


def test_series_of_equal_length_are_not_guessed(tmp_path):
    write_series(tmp_path, 3, 1)
    write_series(tmp_path, 3, 2)
    with pytest.raises(ValueError, match=r"2 DICOM series of \[3, 3\] slices: leave one"):
        LoadVolumed("image")({"image": tmp_path})


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_truncated_file_is_refused_by_name(tmp_path, voxels, suffix):
    file = tmp_path / f"cut{suffix}"
    write(file, voxels)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"'image': cannot read .*cut{suffix}; is it complete"):
        LoadVolumed("image")({"image": file})


@pytest.mark.parametrize("content", [b"", b"this is no image at all, whatever its name says"], ids=["empty", "text"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_corrupt_file_is_refused_by_name(tmp_path, content, suffix):
    (tmp_path / f"bad{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot read .*bad{suffix}"):
        LoadVolumed("image")({"image": tmp_path / f"bad{suffix}"})


def test_an_absent_file_and_a_folder_without_slices_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone.nii"):
        LoadVolumed("image")({"image": tmp_path / "gone.nii"})
    with pytest.raises(ValueError, match="no DICOM series"):
        LoadVolumed("image")({"image": tmp_path})


def test_absent_keys_are_skipped_on_request():
    assert LoadVolumed("image", allow_missing_keys=True)({}) == {}


def test_a_good_volume_passes_unchanged(volume):
    data = {"image": volume}
    assert CheckVolumed("image")(data)["image"] is volume


def changed(volume, index, value):
    volume[index] = value
    return volume


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[..., 0], r"a volume with 3 axes is needed, got 2: \(12, 14\)"),
        (lambda v: v.repeat(3, 1, 1, 1), "one volume is needed, got 3"),
        (lambda v: v[..., :1], r"every side needs at least 2 voxels, got \(12, 14, 1\)"),
        (lambda v: changed(v, (0, 1, 2, 3), torch.nan), "1 voxels are NaN or infinite"),
        (lambda v: changed(v, (0, 1, 2), -torch.inf), "16 voxels are NaN or infinite"),
        (lambda v: v * 0 + 40, "every voxel is 40"),
        (lambda v: (v + 1000) / 2000 * 255, "cannot be Hounsfield units.*set window_hu"),
        (lambda v: v / 1000, "cannot be Hounsfield units"),
        (lambda v: v - v.min(), "1024 was added"),
        (lambda v: v - 2000, r"lie all on one side of the window \[-200, 1000\]"),
    ],
    ids=["plane", "colours", "slice", "nan", "infinite", "constant", "8 bit", "normalized", "offset", "no tissue"],
)
def test_a_volume_that_cannot_be_a_ct_is_refused_by_name(volume, change, message):
    with pytest.raises(ValueError, match=rf"a\.nii\.gz: .*{message}"):
        CheckVolumed("image", window_hu=(-200, 1000))({"image": change(volume)})


@pytest.mark.parametrize("window", [(0, 255), (0, 1)])
def test_windowed_images_pass_with_their_window(volume, window):
    image = (volume + 1000) / 2000 * window[1]
    assert CheckVolumed("image", window_hu=window)({"image": image})["image"] is image


@pytest.mark.parametrize("edge", [0.0, 0.001, 11.0, np.nan])
def test_an_impossible_spacing_is_refused(volume, edge):
    volume.affine = torch.diag(torch.tensor([0.4, 0.4, edge, 1.0]))
    with pytest.raises(ValueError, match=r"a\.nii\.gz: a spacing of 0\.4 x 0\.4 x .* mm cannot be right"):
        CheckVolumed("image")({"image": volume})


def test_two_axes_in_one_direction_are_refused(volume):
    volume.affine = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with pytest.raises(ValueError, match="three different axes"):
        CheckVolumed("image")({"image": volume})


def test_thick_slices_are_warned_of_and_thin_ones_not(volume):
    volume.affine = torch.diag(torch.tensor([0.4, 0.4, 3.0, 1.0]))
    with pytest.warns(UserWarning, match=r"a\.nii\.gz: the voxels are 0\.4 x 0\.4 x 3 mm"):
        CheckVolumed("image")({"image": volume})
    volume.affine = torch.diag(torch.tensor([0.4, 0.4, 0.5, 1.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CheckVolumed("image")({"image": volume})


def test_a_model_for_thick_slices_warns_of_thicker_ones_and_says_what_is_lost(volume):
    check = CheckVolumed("image", thick_slice_mm=5.0)
    volume.affine = torch.diag(torch.tensor([0.4, 0.4, 3.0, 1.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check({"image": volume})
    volume.affine = torch.diag(torch.tensor([0.4, 0.4, 8.0, 1.0]))
    with pytest.warns(UserWarning, match=r"In slices of 8 mm, vessels under 3\.0 mm cannot be seen.*below 5 mm"):
        check({"image": volume})


def test_an_item_without_file_is_named_by_its_key():
    with pytest.raises(ValueError, match="item 'image': every voxel is 0"):
        CheckVolumed("image")({"image": torch.zeros(1, 4, 4, 4)})


@pytest.fixture
def label(volume):
    return MetaTensor((volume > 900).float(), affine=volume.affine, meta={"filename_or_obj": "label.nii.gz"})


def test_a_good_label_passes(volume, label):
    assert CheckLabeld("label", "image")({"image": volume, "label": label})["label"] is label


@pytest.mark.parametrize("value", [255.0, 0.5, -1.0, np.nan])
def test_other_label_values_are_named(volume, label, value):
    label[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=rf"label\.nii\.gz: a label is 0 .* and 1 .*\[{value}\].*label > 0"):
        CheckLabeld("label", "image")({"image": volume, "label": label})


def test_a_label_on_another_grid_is_refused(volume, label):
    with pytest.raises(ValueError, match=r"label\.nii\.gz: .*shape \(12, 14, 16\), the label \(12, 14, 15\)"):
        CheckLabeld("label", "image")({"image": volume, "label": label[..., :-1]})
    label.affine = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
    with pytest.raises(ValueError, match=r"label\.nii\.gz: the label does not lie on its image.*22 mm apart"):
        CheckLabeld("label", "image")({"image": volume, "label": label})


def test_a_real_dicom_series_loads_and_its_thick_slices_are_noted(real_data):
    image = LoadVolumed("image")({"image": real_data / "ct_noncontrast" / "A0002_8mm_B40f"})
    assert image["image"].shape == (1, 512, 512, 30)
    assert image["image"].min() == -1024  # Hounsfield units, not stored values
    with pytest.warns(UserWarning, match="0.6465 x 0.6465 x 8 mm"):
        CheckVolumed("image")(image)


def test_a_nifti_without_slope_keeps_its_frame(tmp_path, voxels):
    affine = np.diag([-0.4, 0.5, 0.6, 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    np.testing.assert_allclose(
        LoadVolumed("image")({"image": tmp_path / "a.nii.gz"})["image"].affine, affine, atol=1e-6
    )
