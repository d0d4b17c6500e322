"""Compressed NIfTI files come out as MONAI reads them, and damaged ones are refused, with ISA-L and without."""

import gzip

import nibabel
import numpy as np
import pytest
from monai.data import NibabelReader
from monai.transforms import LoadImage

from common import nifti
from common.loading import LoadVolumed

AFFINE = np.array([[0, -0.7, 0, 5], [0.6, 0, 0, -3], [0, 0, -2, 9], [0, 0, 0, 1.0]])


@pytest.fixture(params=["isal", "gzip"])
def unpacker(request, monkeypatch):
    if request.param == "isal":
        pytest.importorskip("isal")
    monkeypatch.setattr(nifti, "_fast", request.param == "isal")


def write(path, shape=(5, 4, 3), dtype=np.int16, kind=nibabel.Nifti1Image, slope=None, order="<"):
    voxels = np.random.default_rng(0).integers(0, 100, shape).astype(np.dtype(dtype).newbyteorder(order))
    image = kind(voxels, AFFINE)
    if order == ">":
        image = kind(voxels, AFFINE, image.header.as_byteswapped(">"))
    image.set_qform(np.eye(4), code=1)  # the sform counts where there is one
    image.header.set_slope_inter(slope, None if slope is None else 3)
    nibabel.save(image, path)
    return path


CASES = {
    "int16": {},
    "uint8": {"dtype": np.uint8},
    "float64": {"dtype": np.float64},
    "big-endian": {"order": ">"},
    "nifti-2": {"kind": nibabel.Nifti2Image},
    "scaled": {"slope": 0.5},
    "scaled by what single precision rounds": {"slope": 0.1},
    "two volumes": {"shape": (5, 4, 3, 2)},
    "one volume of a series": {"shape": (5, 4, 3, 1)},
    "plane": {"shape": (5, 4)},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.usefixtures("unpacker")
def test_voxels_and_metadata_are_those_of_monai(tmp_path, options):
    path = write(tmp_path / "a.nii.gz", **options)
    expected = LoadImage(image_only=True, ensure_channel_first=True, reader=NibabelReader())(path)
    got = LoadVolumed("image")({"image": path})["image"]
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(got.affine, expected.affine)
    assert got.meta.keys() == expected.meta.keys()
    for name, value in expected.meta.items():
        np.testing.assert_array_equal(got.meta[name], value, err_msg=name)


def test_the_axes_are_not_turned_in_memory(tmp_path):
    volume = LoadVolumed("image")({"image": write(tmp_path / "a.nii.gz")})["image"]
    assert volume.stride()[1:] == (1, 5, 20)


DAMAGES = {
    "cut off": lambda content: content[:-20],
    "checksum cut off": lambda content: content[:-8],
    "another length": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "a bit of the checksum": lambda content: content[:-6] + bytes([content[-6] ^ 4]) + content[-5:],
    "a bit in the middle": lambda content: content[:200] + bytes([content[200] ^ 4]) + content[201:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.usefixtures("unpacker")
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = write(tmp_path / "a.nii.gz", shape=(16, 16, 16))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"cannot read .*a\.nii\.gz; is it complete"):
        LoadVolumed("image")({"image": path})


def analyze(path):
    nibabel.AnalyzeImage(np.zeros((5, 4, 3), np.int16), np.eye(4)).to_filename(path.with_name("b.img"))
    path.write_bytes(gzip.compress(path.with_name("b.hdr").read_bytes() + path.with_name("b.img").read_bytes()))


def short(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:200]))


def negative(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:44] = (-5).to_bytes(2, "little", signed=True)
    path.write_bytes(gzip.compress(bytes(content)))


@pytest.mark.parametrize("spoil", [analyze, short, negative])
def test_a_header_that_is_none_of_nifti_is_refused_by_name(tmp_path, spoil):
    path = write(tmp_path / "a.nii.gz")
    spoil(path)
    with pytest.raises(ValueError, match=r"cannot read .*a\.nii\.gz; is it complete"):
        LoadVolumed("image")({"image": path})


def test_the_header_may_promise_more_than_there_is(tmp_path):
    path = write(tmp_path / "a.nii.gz", shape=(16, 16, 16))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-2]))
    with pytest.raises(ValueError, match=r"cannot read .*a\.nii\.gz; is it complete"):
        LoadVolumed("image")({"image": path})
