"""Files of phantom angiograms: every format shows the same frames, sets repeat and resume, DICOM files are valid."""

from __future__ import annotations

import json
import shutil

import itk
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from common.phantom.anatomy import draw_anatomy
from common.phantom.dataset import write_dataset
from common.phantom.xca import files
from common.phantom.xca.dicom import write_xa

SMALL = {"modality": "xca", "seed": 3, "shape": (64, 80), "frames": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small cases."""
    out = tmp_path_factory.mktemp("angiograms")
    write_dataset(out, cases=2, validation=0.5, test=0, **SMALL)
    return out


def frames_of(path):
    """Frames (T, H, W) of a NIfTI file."""
    return np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)


def test_nifti_png_and_dicom_hold_the_same_frames(folder):
    frames = frames_of(folder / "images" / "xca_3_0000.nii.gz")
    assert (frames.shape, frames.dtype) == ((4, 64, 80), np.uint8)
    names = sorted(p.name for p in (folder / "frames" / "xca_3_0000").iterdir())
    assert names == [f"xca_3_0000_t0{k}.png" for k in range(4)]
    pngs = [np.asarray(Image.open(folder / "frames" / "xca_3_0000" / name)) for name in names]
    np.testing.assert_array_equal(pngs, frames)
    path = str(folder / "dicom" / "xca_3_0000.dcm")
    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, frames)
    np.testing.assert_array_equal(itk.array_from_image(itk.imread(path)), frames)


def test_labels_and_maps_lie_on_the_frames_and_agree(folder):
    image = nibabel.load(folder / "images" / "xca_3_0001.nii.gz")
    maps = {}
    for kind in ("labels", "catheters", "branches", "overlaps"):
        file = nibabel.load(folder / kind / "xca_3_0001.nii.gz")
        np.testing.assert_array_equal(file.affine, image.affine)
        maps[kind] = frames_of(folder / kind / "xca_3_0001.nii.gz")
        assert maps[kind].shape == (4, 64, 80)
    assert set(np.unique(maps["labels"])) <= {0, 1}
    np.testing.assert_array_equal(maps["labels"] == 1, maps["branches"] > 0)
    png = np.asarray(Image.open(folder / "frame_labels" / "xca_3_0001" / "xca_3_0001_t03.png"))
    np.testing.assert_array_equal(png, 255 * maps["labels"][3])


def test_geometry_is_the_same_in_nifti_dicom_and_record(folder):
    record = json.loads((folder / "cases" / "xca_3_0000.json").read_text())
    affine = nibabel.load(folder / "images" / "xca_3_0000.nii.gz").affine
    pixel_mm = record["carm"]["pixel_mm"]
    np.testing.assert_allclose(affine, np.diag([-pixel_mm, -pixel_mm, 1, 1]), rtol=1e-6)
    file = pydicom.dcmread(folder / "dicom" / "xca_3_0000.dcm")
    assert [float(v) for v in file.ImagerPixelSpacing] == pytest.approx([pixel_mm] * 2)
    assert float(file.PositionerPrimaryAngle) == record["carm"]["primary_deg"]
    assert float(file.PositionerSecondaryAngle) == record["carm"]["secondary_deg"]
    assert float(file.DistanceSourceToDetector) == record["carm"]["source_detector_mm"]
    assert float(file.FrameTime) == pytest.approx(record["frame_ms"], abs=1e-3)
    (artery,) = {record["artery"]} & {"left", "right"}
    labels = {line["label"] for line in json.loads(_text(folder))["frames"][-1]} - {14}
    assert labels <= ({9, 10, 11} if artery == "right" else {1, 2, 3, 4, 5, 6, 7, 8, 12, 13})


def _text(folder):
    return (folder / "centerlines" / "xca_3_0000.json").read_text(encoding="ascii")


def test_the_person_of_a_case_is_that_of_the_ct_with_the_same_seed(folder):
    record = json.loads((folder / "cases" / "xca_3_0001.json").read_text())
    anatomy = draw_anatomy(np.random.default_rng([3, 1, 0]))
    assert record["dominance"] == anatomy.tree.dominance
    np.testing.assert_allclose(record["heart"]["origin_mm"], anatomy.heart.origin_mm)
    assert len(record["branches"]) == len(anatomy.tree.branches)


def test_the_data_list_names_existing_files(folder):
    content = json.loads((folder / "dataset.json").read_text())
    assert [len(content[s]) for s in ("training", "validation", "test")] == [1, 1, 0]
    for entry in content["training"] + content["validation"]:
        assert set(entry) == {"image", "label", "centerline", "case"}
        assert all((folder / entry[key]).is_file() for key in ("image", "label", "centerline"))


def test_a_case_depends_on_seed_and_number_only_and_complete_ones_are_kept(folder, tmp_path):
    write_dataset(tmp_path, cases=1, **SMALL)
    for kind, suffix in (("images", "nii.gz"), ("labels", "nii.gz"), ("dicom", "dcm"), ("centerlines", "json")):
        name = f"xca_3_0000.{suffix}"
        first, second = ((root / kind / name).read_bytes() for root in (folder, tmp_path))
        if suffix == "nii.gz":
            first, second = (nibabel.load(root / kind / name).get_fdata().tobytes() for root in (folder, tmp_path))
        assert first == second
    record = tmp_path / "cases" / "xca_3_0000.json"
    before = record.stat().st_mtime_ns
    write_dataset(tmp_path, cases=1, **SMALL)
    assert record.stat().st_mtime_ns == before
    (tmp_path / "dicom" / "xca_3_0000.dcm").unlink()
    write_dataset(tmp_path, cases=1, **SMALL)
    assert (tmp_path / "dicom" / "xca_3_0000.dcm").is_file()


def test_a_case_made_anew_with_fewer_frames_keeps_none_of_the_old(tmp_path):
    write_dataset(tmp_path, cases=1, modality="xca", shape=(32, 32), frames=2)
    write_dataset(tmp_path, cases=1, modality="xca", shape=(32, 32), frames=1)
    for kind in ("frames", "frame_labels"):
        assert [path.name for path in (tmp_path / kind / "xca_0_0000").iterdir()] == ["xca_0_0000_t00.png"]


def test_a_case_that_is_interrupted_while_it_replaces_another_is_not_taken_for_that(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    label = tmp_path / "labels" / "xca_3_0000.nii.gz"
    before = label.read_bytes()

    def stop(*_, **__):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_xa", stop)
        with pytest.raises(OSError, match="the disk is full"):
            write_dataset(tmp_path, cases=1, **(SMALL | {"difficulty": "hard"}))
    assert label.read_bytes() != before
    write_dataset(tmp_path, cases=1, **SMALL)
    np.testing.assert_array_equal(frames_of(label), frames_of(folder / "labels" / "xca_3_0000.nii.gz"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"spacing": 0.4}, "spacing cannot be chosen for modality xca", id="spacing"),
        pytest.param({"orientation": "RAS"}, "orientation cannot be chosen for modality xca", id="orientation"),
        pytest.param(
            {"background": "a.nii", "heart_mask": "b.nii"}, "background and heart_mask cannot", id="background"
        ),
        pytest.param({"views": 2}, "views must be", id="views"),
        pytest.param({"shape": (64, 64, 64)}, "shape of xca must be rows and columns", id="volume"),
        pytest.param({"shape": (16, 64)}, "at least 32 pixels", id="small"),
        pytest.param({"frames": 0}, "frames must be a whole number from 1 to 300, got 0", id="no frame"),
        pytest.param({"frames": 2.5}, "frames must be a whole number", id="half a frame"),
        pytest.param({"modality": "ccta", "frames": 3}, "frames cannot be chosen for modality ccta", id="ct"),
        pytest.param({"modality": "mri"}, "modality must be one of ccta, ncct, xca, got 'mri'", id="modality"),
    ],
)
def test_arguments_that_do_not_apply_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "out", cases=1, **({"modality": "xca"} | options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("bits", "kind"), [(8, np.uint8), (10, np.uint16), (16, np.uint16)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_files_of_every_kind_are_read_by_pydicom_and_itk(tmp_path, photometric, bits, kind):
    frames = np.random.default_rng(0).integers(0, 256, (3, 33, 35), dtype=np.uint8)  # an odd number of bytes
    path = tmp_path / "a.dcm"
    write_xa(path, frames, 66.7, 0.3, photometric=photometric, bits=bits)
    file = pydicom.dcmread(path)
    dark_vessels = frames.astype(kind) * 2 ** (bits - 8)
    stored = dark_vessels if photometric == "MONOCHROME2" else 2**bits - 1 - dark_vessels
    np.testing.assert_array_equal(file.pixel_array, stored)
    np.testing.assert_array_equal(itk.array_from_image(itk.imread(str(path))), dark_vessels)  # ITK inverts MONOCHROME1
    assert (file.BitsStored, file.PhotometricInterpretation) == (bits, photometric)


def test_a_dicom_file_says_what_the_standard_asks_and_that_it_is_synthetic(tmp_path):
    path = tmp_path / "a.dcm"
    write_xa(path, np.zeros((2, 32, 32), np.uint8), 66.7, 0.3, (-30.0, 25.0), (1010.0, 750.0))
    assert path.read_bytes()[128:132] == b"DICM"
    file = pydicom.dcmread(path)
    assert file.SOPClassUID.name == "X-Ray Angiographic Image Storage"
    assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID
    assert file.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
    assert file.FrameIncrementPointer == 0x00181063
    required = ("KVP", "XRayTubeCurrent", "ExposureTime", "RadiationSetting", "PositionerMotion", "ContrastBolusAgent")
    assert all(name in file for name in required)  # of type 2, some may be empty
    assert (file.Modality, file.NumberOfFrames, file.RecommendedDisplayFrameRate) == ("XA", 2, 15)
    assert "PHANTOM" in str(file.PatientName)
    assert "Synthetic" in file.ImageComments
    uids = {file.SOPInstanceUID, file.StudyInstanceUID, file.SeriesInstanceUID}
    assert len(uids) == 3
    assert all(uid.is_valid for uid in uids)
    assert all(str(element.value).isascii() for element in file if element.VR not in ("OB", "OW"))


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (np.zeros((4, 4), np.uint8), {}, r"frames must be \(T, H, W\)"),
        (np.zeros((1, 4, 4), np.uint16), {}, "of uint8"),
        (np.zeros((1, 4, 4), np.uint8), {"photometric": "RGB"}, "photometric must be"),
        (np.zeros((1, 4, 4), np.uint8), {"bits": 7}, "bits must be 8 to 16, got 7"),
    ],
    ids=["one frame without axis", "16 bit", "colour", "bits"],
)
def test_frames_that_cannot_be_stored_are_refused(tmp_path, frames, options, message):
    with pytest.raises(ValueError, match=message):
        write_xa(tmp_path / "a.dcm", frames, 66.7, 0.3, **options)


@pytest.mark.slow
def test_a_sequence_of_the_default_size_is_finite_and_made_in_seconds(tmp_path):
    write_dataset(tmp_path, cases=1, modality="xca", seed=8)
    frames = frames_of(tmp_path / "images" / "xca_8_0000.nii.gz")
    assert frames.shape == (12, 512, 512)
    assert frames.std() > 5
    record = json.loads((tmp_path / "cases" / "xca_8_0000.json").read_text())
    assert np.isfinite(record["vessel_share"]).all()
