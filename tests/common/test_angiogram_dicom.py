"""DICOM angiograms: polarity, bits and signs of the pixels, the time between frames, and the order of files."""

import warnings
from itertools import count

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, XRayAngiographicImageStorage

from common.angiograms.dicom import read_tags
from common.angiograms.reading import read_angiogram

UIDS = (f"1.2.826.0.1.3680043.10.1.{number}" for number in count(1))
RAMP = np.arange(3 * 6 * 8).reshape(3, 6, 8)


def write_xa(path, frames, bits=8, signed=False, photometric="MONOCHROME2", **tags):
    """Write a DICOM file as scanners do, with the tags as keywords."""
    allocated = 8 if bits <= 8 else 16
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = XRayAngiographicImageStorage
    data.SOPInstanceUID = next(UIDS)
    data.SeriesInstanceUID = "1.2.826.0.1.3680043.10.2"
    data.Modality = "XA"
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, photometric
    data.BitsAllocated, data.BitsStored, data.HighBit = allocated, bits, bits - 1
    data.PixelRepresentation = int(signed)
    data.PixelData = frames.astype(f"{'i' if signed else 'u'}{allocated // 8}").tobytes()
    data["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def rewrite(path, **tags):
    data = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_keep_their_stored_scale(tmp_path, bits):
    frames = RAMP * (2**bits - 1) // RAMP.max()
    angiogram = read_angiogram(write_xa(tmp_path / "a.dcm", frames, bits))
    assert (angiogram.format, angiogram.bits, angiogram.numbers) == ("dicom", bits, (0, 1, 2))
    assert angiogram.frames.dtype == np.float32
    np.testing.assert_array_equal(angiogram.frames, frames)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_monochrome1_is_inverted_by_its_bits_so_that_vessels_are_dark(tmp_path, bits):
    path = write_xa(tmp_path / "a.dcm", RAMP, bits, photometric="MONOCHROME1")
    np.testing.assert_array_equal(read_angiogram(path).frames, 2**bits - 1 - RAMP)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_signed_pixels_are_shifted_to_start_at_0(tmp_path, bits):
    path = write_xa(tmp_path / "a.dcm", RAMP - 2 ** (bits - 1), bits, signed=True)
    np.testing.assert_array_equal(read_angiogram(path).frames, RAMP)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_rescaling_of_values_is_undone(tmp_path, photometric):
    path = write_xa(tmp_path / "a.dcm", RAMP, 12, photometric=photometric, RescaleSlope="0.5", RescaleIntercept="-100")
    expected = RAMP if photometric == "MONOCHROME2" else 4095 - RAMP
    np.testing.assert_array_equal(read_angiogram(path).frames, expected)


def test_compressed_pixels_are_read(tmp_path):
    path = write_xa(tmp_path / "a.dcm", RAMP, 12)
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    data.save_as(path)
    np.testing.assert_array_equal(read_angiogram(path).frames, RAMP)


def test_equal_colour_channels_stand_for_grey_and_others_are_refused(tmp_path):
    path = write_xa(tmp_path / "a.dcm", RAMP)
    rgb = np.repeat(RAMP[..., None], 3, axis=3).astype(np.uint8)
    colour = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    np.testing.assert_array_equal(read_angiogram(rewrite(path, PixelData=rgb.tobytes(), **colour)).frames, RAMP)
    rgb[1, 2, 3, 0] = 255
    with pytest.raises(ValueError, match=r"a\.dcm is a colour image"):
        read_angiogram(rewrite(path, PixelData=rgb.tobytes(), **colour))


def test_a_single_frame_is_a_still_and_a_file_needs_no_suffix(tmp_path):
    assert read_angiogram(write_xa(tmp_path / "IM1", RAMP[:1])).frames.shape == (1, 6, 8)


def test_one_frame_can_be_read(tmp_path):
    angiogram = read_angiogram(write_xa(tmp_path / "a.dcm", RAMP), frame=1)
    assert (angiogram.numbers, angiogram.source_frames) == ((1,), 3)
    np.testing.assert_array_equal(angiogram.frames, RAMP[1:2])


@pytest.mark.parametrize(
    ("tags", "frame_ms"),
    [
        ({"FrameTime": "80", "CineRate": "30"}, 80),
        ({"FrameTimeVector": ["0", "66", "67"], "CineRate": "30"}, 66.5),
        ({"FrameTimeVector": ["0"], "CineRate": "20"}, 50),
        ({"CineRate": "25", "RecommendedDisplayFrameRate": "30"}, 40),
        ({"FrameTime": None, "RecommendedDisplayFrameRate": "10"}, 100),
        ({}, 0),
    ],
    ids=["frame time", "vector", "vector of one", "cine rate", "display rate", "unknown"],
)
def test_frame_time_is_taken_from_the_first_tag_that_has_it(tmp_path, tags, frame_ms):
    assert read_tags(write_xa(tmp_path / "a.dcm", RAMP, **tags)).frame_ms == pytest.approx(frame_ms)


def test_uneven_frame_times_are_refused_unless_allowed_or_one_frame_is_read(tmp_path):
    path = write_xa(tmp_path / "a.dcm", RAMP, FrameTimeVector=["0", "66", "133"])
    with pytest.raises(ValueError, match=r"varies from 66 to 133 ms .* set allow_uneven_time"):
        read_angiogram(path)
    assert read_angiogram(path, allow_uneven_time=True).frame_ms == pytest.approx(99.5)
    assert len(read_angiogram(path, frame=0).frames) == 1


def test_pixel_size_angles_and_intensity_are_kept(tmp_path):
    path = write_xa(
        tmp_path / "a.dcm",
        RAMP,
        ImagerPixelSpacing=["0.2", "0.2"],
        PixelSpacing=["0.15", "0.15"],
        PositionerPrimaryAngle="-30.5",
        PositionerSecondaryAngle="",
        PixelIntensityRelationship="LOG",
    )
    angiogram = read_angiogram(path)
    assert (angiogram.pixel_mm, angiogram.angles_deg[0], angiogram.intensity) == (0.2, -30.5, "LOG")
    assert np.isnan(angiogram.angles_deg[1])
    np.testing.assert_array_equal(angiogram.affine, np.diag([-0.2, -0.2, 1, 1]))


def test_pixels_of_unknown_size_are_placed_1_mm_apart(tmp_path):
    np.testing.assert_array_equal(read_angiogram(write_xa(tmp_path / "a.dcm", RAMP)).affine, np.diag([-1, -1, 1, 1]))


def test_single_frame_files_are_ordered_by_instance_number(tmp_path):
    for name, number in zip("abc", (12, 3, 5), strict=True):
        write_xa(tmp_path / f"{name}.dcm", RAMP[:1] + number, InstanceNumber=number, FrameTime="66")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        angiogram = read_angiogram(tmp_path)
    np.testing.assert_array_equal(angiogram.frames[:, 0, 0], [3, 5, 12])
    assert (angiogram.format, angiogram.frame_ms, angiogram.source_frames) == ("dicom", 66, 3)
    np.testing.assert_array_equal(read_angiogram(tmp_path, frame=2).frames[:, 0, 0], [12])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"InstanceNumber": 1}, {"InstanceNumber": 1}, "lack or share an Instance Number"),
        ({}, {}, "lack or share an Instance Number"),
        ({"InstanceNumber": 1}, {"InstanceNumber": 2, "SeriesInstanceUID": "1.2"}, "of 2 series"),
        ({"InstanceNumber": 1, "Rows": 3}, {"InstanceNumber": 2}, "have one size"),
    ],
    ids=["shared number", "no number", "two series", "two sizes"],
)
def test_files_that_are_no_sequence_are_refused(tmp_path, first, second, message):
    write_xa(tmp_path / "a.dcm", RAMP[:1], **first)
    write_xa(tmp_path / "b.dcm", RAMP[:1], **second)
    with pytest.raises(ValueError, match=message):
        read_angiogram(tmp_path)


def test_several_sequences_in_a_folder_are_refused_and_one_is_read(tmp_path):
    write_xa(tmp_path / "a.dcm", RAMP)
    assert read_angiogram(tmp_path).frames.shape == RAMP.shape
    write_xa(tmp_path / "b.dcm", RAMP)
    with pytest.raises(ValueError, match=r"is a sequence by itself; give .* as the folder of images"):
        read_angiogram(tmp_path)


def test_pictures_beside_dicom_files_are_refused(tmp_path):
    write_xa(tmp_path / "a.dcm", RAMP)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="holds both DICOM files and pictures"):
        read_angiogram(tmp_path)


def test_truncated_missing_or_fewer_pixels_than_declared_are_refused_by_name(tmp_path):
    path = write_xa(tmp_path / "a.dcm", np.tile(RAMP, (1, 9, 9)))
    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 3, 200):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"a\.dcm"):
            read_angiogram(path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="is incomplete: 5 frames need 19440 bytes"):
        read_angiogram(rewrite(path, NumberOfFrames=5))
    data = pydicom.dcmread(path)
    del data.PixelData
    data.save_as(path)
    with pytest.raises(ValueError, match="is incomplete"):
        read_angiogram(path)


def test_other_data_in_a_file_are_not_taken_for_its_pixels(tmp_path):
    path = write_xa(tmp_path / "a.dcm", RAMP)
    data = pydicom.dcmread(path)
    data.private_block(0x0009, "vendor", create=True).add_new(1, "OB", b"x" * 1000)
    data.NumberOfFrames = 5
    data.save_as(path)
    with pytest.raises(ValueError, match="is incomplete: 5 frames need 240 bytes, but it has 144"):
        read_angiogram(path)


def test_what_is_no_dicom_image_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"text" * 100)
    with pytest.raises(ValueError, match="is no DICOM file"):
        read_angiogram(tmp_path / "a.dcm")
    path = write_xa(tmp_path / "b.dcm", RAMP)
    data = pydicom.dcmread(path)
    del data.Rows, data.PixelData
    data.save_as(path)
    with pytest.raises(ValueError, match="describes no image"):
        read_angiogram(path)


@pytest.mark.parametrize(
    ("name", "frames", "angles"), [("IM1", 14, (31.3, 0.1)), ("IM5", 16, (-26.5, -32.7)), ("IM6", 9, (24, -18.8))]
)
def test_real_sequences_in_lossless_jpeg_are_read(real_data, name, frames, angles):
    angiogram = read_angiogram(real_data / "xa_dicom_phantom" / f"{name}.dcm")
    assert angiogram.frames.shape == (frames, 512, 512)
    assert angiogram.angles_deg == pytest.approx(angles)
    assert angiogram.frame_ms == pytest.approx(1000 / 15, abs=0.01)
    assert all(frame.std() > 5 for frame in angiogram.frames)


def test_a_real_truncated_sequence_is_refused(real_data, tmp_path):
    whole = (real_data / "xa_dicom_phantom" / "IM6.dcm").read_bytes()
    path = tmp_path / "IM6.dcm"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot read .*IM6\.dcm; is it complete"):
        read_angiogram(path)
