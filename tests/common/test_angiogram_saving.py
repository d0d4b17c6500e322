"""Masks are written as their angiogram came: picture, NIfTI or folder, whole or not at all."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImaged
from PIL import Image

from common.angiograms.loading import LoadAngiogramd, LoadFrameLabeld
from common.angiograms.saving import SaveAngiogramd

MASKS = np.zeros((3, 40, 50), np.float32)
MASKS[0, 5:9], MASKS[1, :, 7:11], MASKS[2, 20:, 3:30] = 1, 1, 1
FRAMES = (100 + 50 * MASKS + np.arange(50)).astype(np.uint8)


def folder_of(frames, path):
    path.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"run_{number + 9}.bmp")
    return path


def pred_of(path, masks=MASKS, **entry):
    """The masks as inference hands them on for the angiogram at a path."""
    image = LoadAngiogramd("image")({"image": path, **entry})["image"]
    return MetaTensor(torch.from_numpy(masks), meta=image.meta)


def dicom_of(pixel_mm):
    meta = {"filename_or_obj": "in/IM5.dcm", "format": "dicom", "frames": [0, 1, 2]}
    meta["original_affine"] = torch.diag(torch.tensor([-pixel_mm, -pixel_mm, 1, 1]))
    return MetaTensor(torch.from_numpy(MASKS), meta=meta)


def test_a_picture_gets_a_picture_of_0_and_255(tmp_path):
    Image.fromarray(FRAMES[0]).save(tmp_path / "1.a.pgm")
    SaveAngiogramd("pred", tmp_path / "out")({"pred": pred_of(tmp_path / "1.a.pgm", MASKS[:1])})
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == "1.a_seg.png"
    np.testing.assert_array_equal(np.asarray(Image.open(file)), MASKS[0] * 255)


@pytest.mark.parametrize("shape", [(50, 40), (50, 40, 3), (50, 40, 1, 3)], ids=["still", "sequence", "time axis"])
def test_nifti_gets_nifti_on_the_same_grid_that_loads_as_its_label(tmp_path, shape):
    affine, count = np.diag([-0.3, -0.3, 1, 1]), shape[-1] if len(shape) > 2 else 1
    nibabel.save(nibabel.Nifti1Image(FRAMES[:count].transpose(2, 1, 0).reshape(shape), affine), tmp_path / "a.nii.gz")
    SaveAngiogramd("pred", tmp_path)({"pred": pred_of(tmp_path / "a.nii.gz", MASKS[:count])})
    written = nibabel.load(tmp_path / "a_seg.nii.gz")
    assert (written.shape, written.get_data_dtype()) == (shape, np.uint8)
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    data = LoadAngiogramd("image")({"image": tmp_path / "a.nii.gz", "label": tmp_path / "a_seg.nii.gz"})
    np.testing.assert_array_equal(LoadFrameLabeld("label", "image")(data)["label"], MASKS[:count])


def test_the_time_axis_of_nifti_keeps_its_frame_time(tmp_path):
    image = nibabel.Nifti1Image(FRAMES.transpose(2, 1, 0)[:, :, None], np.diag([-1, -1, 1, 1]))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((1, 1, 1, 0.08))
    nibabel.save(image, tmp_path / "a.nii")
    SaveAngiogramd("pred", tmp_path)({"pred": pred_of(tmp_path / "a.nii")})
    header = nibabel.load(tmp_path / "a_seg.nii.gz").header
    assert (header.get_zooms()[3], header.get_xyzt_units()) == (pytest.approx(80), ("mm", "msec"))


def test_dicom_gets_nifti_with_its_pixel_size(tmp_path):
    SaveAngiogramd("pred", tmp_path)({"pred": dicom_of(0.2)})
    written = nibabel.load(tmp_path / "IM5_seg.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj).transpose(2, 1, 0), MASKS)
    np.testing.assert_allclose(written.affine, np.diag([-0.2, -0.2, 1, 1]), atol=1e-6)


def test_a_folder_of_frames_gets_a_folder_of_masks_with_their_names(tmp_path):
    run = folder_of(FRAMES, tmp_path / "run.1")
    (tmp_path / "out" / "run.1_seg").mkdir(parents=True)
    (tmp_path / "out" / "run.1_seg" / "old.png").write_bytes(b"")
    SaveAngiogramd("pred", tmp_path / "out")({"pred": pred_of(run)})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.1_seg"]
    written = sorted((tmp_path / "out" / "run.1_seg").iterdir())
    assert [path.name for path in written] == ["run_10.png", "run_11.png", "run_9.png"]
    data = LoadAngiogramd("image")({"image": run, "label": tmp_path / "out" / "run.1_seg"})
    np.testing.assert_array_equal(LoadFrameLabeld("label", "image")(data)["label"], MASKS)


def test_the_mask_of_a_picked_frame_has_that_frame_s_name(tmp_path):
    pred = pred_of(folder_of(FRAMES, tmp_path / "run"), MASKS[1:2], frame=1)
    SaveAngiogramd("pred", tmp_path)({"pred": pred, "case": "run_t01"})
    assert [path.name for path in (tmp_path / "run_t01_seg").iterdir()] == ["run_10.png"]


def test_probabilities_are_kept_in_nifti_and_to_16_bits_in_pictures(tmp_path):
    save = SaveAngiogramd("pred", tmp_path / "out", postfix="prob", output_dtype=np.float32)
    save({"pred": dicom_of(0.2) / 4})
    written = nibabel.load(tmp_path / "out" / "IM5_prob.nii.gz")
    assert written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(written.dataobj).transpose(2, 1, 0), MASKS / 4)
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.png")
    save({"pred": pred_of(tmp_path / "a.png", MASKS[:1] / 4)})
    levels = np.asarray(Image.open(tmp_path / "out" / "a_prob.png"))
    np.testing.assert_allclose(levels / 65535, MASKS[0] / 4, atol=1 / 65535)


def test_the_transform_is_one_that_monai_label_leaves_out(tmp_path):
    assert isinstance(SaveAngiogramd("pred", tmp_path), SaveImaged)


@pytest.mark.parametrize("kind", ["nifti", "folder"])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, kind):
    out = tmp_path / "out"
    if kind == "nifti":
        pred, old = dicom_of(0.2), out / "IM5_seg.nii.gz"
    else:
        pred, old = pred_of(folder_of(FRAMES, tmp_path / "run")), out / "run_seg" / "run_9.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")

    def fail(*args, **_):
        Path(args[-1]).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nibabel, "save", fail)
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match=r"cannot write .* free some space"):
        SaveAngiogramd("pred", out)({"pred": pred})
    assert [path for path in out.rglob("*") if path.is_file()] == [old]
    assert old.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("pred", "message"),
    [
        (torch.zeros(1, 4, 4), r"must be a MetaTensor \(T, H, W\)"),
        (MetaTensor(torch.zeros(1, 1, 4, 4)), r"must be a MetaTensor \(T, H, W\)"),
        (MetaTensor(torch.zeros(1, 4, 4)), "its metadata has no filename_or_obj, format, frames"),
        (dicom_of(0.2)[:2], "has 2 frames, its angiogram 3"),
    ],
    ids=["no metadata", "axes", "no angiogram", "frames"],
)
def test_what_belongs_to_no_angiogram_is_refused(tmp_path, pred, message):
    with pytest.raises(ValueError, match=message):
        SaveAngiogramd("pred", tmp_path)({"pred": pred})
