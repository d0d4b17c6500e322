"""DICOM segmentations of series: coded, linked to their slices, and said to be absent where there is no series."""

import json
import sys

import numpy as np
import pytest
from highdicom.color import CIELabColor
from highdicom.seg import segread
from monai.data import MetaTensor
from pydicom import dcmread

from common.loading import LoadVolumed
from common.outputs.dicom_seg import SaveDicomSegd

from ..conftest import ROOT
from .series import write_series

METADATA = ROOT / "bundles" / "casnet_bundle" / "configs" / "metadata.json"
AFFINE = np.array([[0.5, 0, 0, -12], [0, 0.6, 0, 30], [0, 0, -1.5, 8], [0, 0, 0, 1.0]])
SHAPE = (9, 10, 6)


def voxels_of_a_mask():
    mask = np.zeros(SHAPE, np.float32)
    mask[2:5, 3:8, 1:4] = 1
    return mask


@pytest.fixture
def series(tmp_path):
    return write_series(tmp_path / "1.2.3", voxels_of_a_mask(), AFFINE)


def edited(series, **tags):
    """Change tags of all slices; ``None`` deletes one."""
    for file in series.iterdir():
        header = dcmread(file)
        for name, value in tags.items():
            if value is None:
                del header[name]
            else:
                setattr(header, name, value)
        header.save_as(file)
    return series


def segment(series, folder, change=lambda mask: mask):
    """Write the segmentation of a series whose mask is the series itself."""
    pred = LoadVolumed("pred")({"pred": series})["pred"]
    SaveDicomSegd("pred", folder, METADATA)({"pred": change(pred)})
    return folder / f"{series.name}_seg.dcm"


def test_it_says_what_it_shows_and_who_made_it(series, tmp_path):
    seg = segread(segment(series, tmp_path / "out"))
    (segment_number,) = seg.segment_numbers
    description = seg.get_segment_description(segment_number)
    metadata = json.loads(METADATA.read_text())
    made = description.algorithm_identification
    assert (made.name, made.version) == (metadata["name"], metadata["version"])
    category, kind = description.segmented_property_category, description.segmented_property_type
    assert (category.value, category.scheme_designator) == ("91723000", "SCT")
    assert (kind.value, kind.scheme_designator, kind.meaning) == ("41801008", "SCT", "Coronary artery")
    assert description.segment_label == "coronary artery"
    colour = CIELabColor.from_dicom_value(description.RecommendedDisplayCIELabValue).to_rgb()
    np.testing.assert_allclose(colour, (216, 101, 79), atol=1)


def test_it_belongs_to_the_patient_and_study_and_frame_of_reference_of_its_series(series, tmp_path):
    seg, source = dcmread(segment(series, tmp_path)), dcmread(next(series.iterdir()))
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[name].value == source[name].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    (referred,) = seg.ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == source.SeriesInstanceUID
    assert len(referred.ReferencedInstanceSequence) == SHAPE[2]


def test_each_frame_names_the_slice_it_was_drawn_on(series, tmp_path):
    seg = dcmread(segment(series, tmp_path))
    slices = {item.SOPInstanceUID: item for item in map(dcmread, series.iterdir())}
    assert len(seg.PerFrameFunctionalGroupsSequence) == 3  # slices without vessel are left out
    for mask, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        (source,) = item.DerivationImageSequence[0].SourceImageSequence
        image = slices[source.ReferencedSOPInstanceUID]
        assert item.PlanePositionSequence[0].ImagePositionPatient == image.ImagePositionPatient
        np.testing.assert_array_equal(mask, image.pixel_array)


def test_highdicom_reads_the_same_volume(series, tmp_path):
    volume = segread(segment(series, tmp_path)).get_volume(combine_segments=True)
    points = np.argwhere(volume.array) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    expected = (np.argwhere(voxels_of_a_mask()) @ AFFINE[:3, :3].T + AFFINE[:3, 3]) * [-1, -1, 1]
    assert len(points) == len(expected)
    np.testing.assert_allclose(np.sort(points, axis=0), np.sort(expected, axis=0), atol=1e-4)


def test_an_empty_mask_has_an_empty_frame_for_each_slice(series, tmp_path):
    seg = dcmread(segment(series, tmp_path, lambda mask: mask * 0))
    assert seg.NumberOfFrames == SHAPE[2]
    assert not seg.pixel_array.any()


def test_slices_at_uneven_distances_keep_their_own_positions(series, tmp_path):
    files = sorted(series.iterdir())
    last = dcmread(files[0])  # the highest, as Z runs downwards
    last.ImagePositionPatient[2] += 2.25
    last.save_as(files[0])
    seg = dcmread(segment(series, tmp_path))
    heights = [item.PlanePositionSequence[0].ImagePositionPatient[2] for item in seg.PerFrameFunctionalGroupsSequence]
    assert sorted(map(float, heights)) == [8 - 1.5 * k for k in (3, 2, 1)]


def test_a_series_without_patient_tags_or_with_impossible_ones_gets_one_all_the_same(series, tmp_path):
    edited(series, PatientID=None, PatientName=None, PatientSex="U")
    seg = dcmread(segment(series, tmp_path))
    assert not seg.PatientID
    assert not seg.PatientSex


def test_a_series_without_frame_of_reference_is_refused(series, tmp_path):
    edited(series, FrameOfReferenceUID=None)
    with pytest.raises(ValueError, match=r"it has no FrameOfReferenceUID\. Export it again .*save_dicom_seg"):
        segment(series, tmp_path)


def test_an_input_that_is_no_series_leads_to_a_warning_and_no_file(tmp_path):
    pred = MetaTensor(np.zeros((1, 4, 4, 4)), meta={"filename_or_obj": "in/scan.nii.gz"})
    save = SaveDicomSegd("pred", tmp_path, METADATA)
    with pytest.warns(UserWarning, match=r"scan\.nii\.gz is no folder of DICOM slices.*give the series itself"):
        save({"pred": pred})
    assert list(tmp_path.iterdir()) == []


def test_a_mask_that_is_not_of_the_series_is_refused(series, tmp_path):
    with pytest.raises(ValueError, match=r"its slices make a volume of \(9, 10, 6\), the mask has \(9, 10, 5\)"):
        segment(series, tmp_path, lambda mask: mask[..., :5])

    def moved(mask):
        mask.affine[2, 3] += 1.5
        return mask

    with pytest.raises(ValueError, match=r"the mask lies 1\.5 mm from the slices"):
        segment(series, tmp_path, moved)


def test_without_highdicom_the_cure_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ImportError, match="pip install highdicom"):
        SaveDicomSegd("pred", tmp_path, METADATA)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"name": "a"}'], ids=["absent", "broken", "list", "no version"])
def test_metadata_that_do_not_tell_the_algorithm_are_refused_before_the_work(tmp_path, content):
    path = tmp_path / "metadata.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r'the metadata\.json of the bundle, with "name" and "version", got .*json'):
        SaveDicomSegd("pred", tmp_path, path)


def test_a_real_series_and_its_segmentation_show_the_same_voxels(real_data, tmp_path):
    series = real_data / "ct_noncontrast" / "A0002_8mm_B40f"
    pred = LoadVolumed("pred")({"pred": series})["pred"]
    dense = pred > 300  # bone
    SaveDicomSegd("pred", tmp_path, METADATA)({"pred": dense.float()})
    seg = dcmread(tmp_path / "A0002_8mm_B40f_seg.dcm")
    slices = {item.SOPInstanceUID: item for item in map(dcmread, series.glob("*.dcm"))}
    for mask, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = slices[item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        hounsfield = source.pixel_array * float(source.RescaleSlope) + float(source.RescaleIntercept)
        np.testing.assert_array_equal(mask, hounsfield > 300)
    assert seg.pixel_array.sum() == dense.sum()
