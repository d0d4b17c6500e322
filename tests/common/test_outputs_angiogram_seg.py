"""DICOM segmentations of angiograms: each frame names the one it was drawn on."""

import json

import numpy as np
import pytest
import torch
from highdicom.seg import segread
from monai.data import MetaTensor
from monai.transforms import SaveImaged
from PIL import Image
from pydicom import dcmread

from common.angiograms.loading import LoadAngiogramd
from common.outputs.angiogram_seg import SaveAngiogramSegd
from common.phantom.xca.dicom import write_xa

from ..conftest import ROOT

METADATA = ROOT / "bundles" / "svsnet_bundle" / "configs" / "metadata.json"
MASKS = np.zeros((3, 41, 50), np.float32)  # rows of bits that end within a byte
MASKS[0, 5:9], MASKS[2, 20:, 3:30] = 1, 1


@pytest.fixture
def sequence(tmp_path):
    frames = (200 - 100 * MASKS - np.arange(50)).astype(np.uint8)
    write_xa(tmp_path / "run.dcm", frames, 66.7, 0.3)
    return tmp_path / "run.dcm"


def split(sequence, folder):
    """Write the frames of a sequence as files of one frame, the last one first by name."""
    folder.mkdir()
    whole = dcmread(sequence)
    for number, pixels in enumerate(whole.pixel_array):
        part = dcmread(sequence)
        del part.FrameIncrementPointer
        part.NumberOfFrames, part.InstanceNumber, part.PixelData = 1, number + 1, pixels.tobytes()
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = f"{whole.SOPInstanceUID[:50]}.{number + 1}"
        part.save_as(folder / f"{9 - number}.dcm")
    return folder


def segment(path, folder, masks=MASKS, **entry):
    """Write the segmentation of an angiogram as inference does."""
    image = LoadAngiogramd("image")({"image": path, **entry})["image"]
    SaveAngiogramSegd("pred", folder, METADATA)({"pred": MetaTensor(torch.from_numpy(masks), meta=image.meta)})
    return folder / f"{path.stem}_seg.dcm"


def test_highdicom_finds_the_mask_of_every_frame(sequence, tmp_path):
    seg = segread(segment(sequence, tmp_path / "out"))
    source = dcmread(sequence)
    read = seg.get_pixels_by_source_frame(source.SOPInstanceUID, [1, 2, 3], combine_segments=True)
    np.testing.assert_array_equal(read, MASKS)
    assert (seg.StudyInstanceUID, seg.PatientID) == (source.StudyInstanceUID, source.PatientID)


def test_pydicom_reads_the_same_and_who_made_it(sequence, tmp_path):
    seg = dcmread(segment(sequence, tmp_path / "out"))
    np.testing.assert_array_equal(seg.pixel_array, MASKS)
    (described,) = seg.SegmentSequence
    assert described.SegmentedPropertyTypeCodeSequence[0].CodeValue == "41801008"
    made = described.SegmentationAlgorithmIdentificationSequence[0]
    metadata = json.loads(METADATA.read_text())
    assert (made.AlgorithmName, made.AlgorithmVersion) == (metadata["name"], metadata["version"])


def test_one_frame_of_a_sequence_refers_to_that_frame(sequence, tmp_path):
    seg = dcmread(segment(sequence, tmp_path / "out", MASKS[2:], frame=2))
    (frame,) = seg.PerFrameFunctionalGroupsSequence
    assert frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber == 3
    np.testing.assert_array_equal(seg.pixel_array, MASKS[2])


def test_a_folder_of_single_frames_is_referred_to_file_by_file(sequence, tmp_path):
    folder = split(sequence, tmp_path / "run")
    seg = segread(segment(folder, tmp_path / "out"))
    uids = [dcmread(folder / f"{9 - number}.dcm").SOPInstanceUID for number in range(3)]
    read = seg.get_pixels_by_source_instance(uids, combine_segments=True)
    np.testing.assert_array_equal(read, MASKS)


def test_a_picture_leads_to_a_warning_and_no_file(tmp_path):
    Image.fromarray(np.arange(50 * 41, dtype=np.uint8).reshape(41, 50)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match=r"a\.png is no DICOM angiogram.*give the DICOM file itself"):
        segment(tmp_path / "a.png", tmp_path / "out", MASKS[:1])
    assert not (tmp_path / "out").exists()


def test_masks_of_another_size_are_refused(sequence, tmp_path):
    with pytest.raises(ValueError, match=r"the frames are \(T, H, W\) = \(3, 41, 50\), the masks \(3, 40, 50\)"):
        segment(sequence, tmp_path / "out", MASKS[:, 1:])


def test_a_server_that_writes_masks_itself_recognizes_the_transform(tmp_path):
    assert isinstance(SaveAngiogramSegd("pred", tmp_path, METADATA), SaveImaged)  # MONAI Label drops those


def test_a_real_sequence_gets_a_segmentation_that_names_it(real_data, tmp_path):
    path = real_data / "xa_dicom_phantom" / "IM1.dcm"
    image = LoadAngiogramd("image")({"image": path})["image"]
    masks = (image < image.mean()).float()
    SaveAngiogramSegd("pred", tmp_path, METADATA)({"pred": masks})
    seg = segread(tmp_path / "IM1_seg.dcm")
    source = dcmread(path, stop_before_pixels=True)
    read = seg.get_pixels_by_source_frame(
        source.SOPInstanceUID, list(range(1, int(source.NumberOfFrames) + 1)), combine_segments=True
    )
    np.testing.assert_array_equal(read, masks)
