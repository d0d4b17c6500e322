"""Masks of DICOM angiograms as DICOM segmentations."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import SaveImaged
from monai.utils import ImageMetaKey
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

from ..angiograms.dicom import order_frames
from ..angiograms.sources import angiogram_case_name, sequence_files
from ..files import replacing
from .dicom_parts import SUFFIX, Algorithm, equipment, highdicom, read_algorithm, read_header, segment_description

NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Rows", "Columns")
SEGMENT_NUMBER, SEGMENT_IDENTIFICATION = 0x0062000B, 0x0062000A
TEMPORAL_POSITION, FRAME_CONTENT = 0x00209128, 0x00209111


class Source(NamedTuple):
    """A frame of an angiogram: the header of its file, and its number in it from 1, or None in a file of one frame."""

    header: Dataset
    frame: int | None


class SaveAngiogramSegd(SaveImaged):
    """Write ``<output_dir>/<case>_seg.dcm``, a DICOM segmentation that refers to the frames of its angiogram.

    It has one frame for each that was segmented, also where no vessel was found. Of an input that is no DICOM there is
    a warning, and no file. It is a ``SaveImaged`` because MONAI Label, which writes files itself, drops those.

    Args:
        keys: masks, ``(T, H, W)`` on the pixels of the loaded angiogram, with the metadata that
            :class:`..angiograms.loading.LoadAngiogramd` gave it.
        output_dir: folder to write to; made if it is absent.
        metadata: ``metadata.json`` of the bundle, which tells name and version of the algorithm.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ImportError: If the package highdicom is not installed.
        ValueError: If the metadata cannot be read.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        metadata: str | Path,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, output_dir=output_dir, allow_missing_keys=allow_missing_keys)
        self.output_dir = Path(output_dir)
        highdicom()
        self.algorithm = read_algorithm(metadata)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the items and return ``data`` unchanged.

        Raises:
            OSError: If a file cannot be written; no part of it remains.
            ValueError: If the masks are not those of the angiogram's frames, or it lacks tags that are needed.
        """
        for key in self.key_iterator(dict(data)):
            masks: MetaTensor = data[key]
            path = Path(masks.meta[ImageMetaKey.FILENAME_OR_OBJ])
            name = f"{data.get('case') or angiogram_case_name(path)}{SUFFIX}"
            if masks.meta["format"] != "dicom":
                warnings.warn(
                    f"{path} is no DICOM angiogram, so there is no {name}; a DICOM segmentation refers to the frames "
                    "of one: give the DICOM file itself as the image, or use the other outputs",
                    stacklevel=2,
                )
                continue
            sources = _sources(path, [int(number) for number in masks.meta["frames"]])
            write_angiogram_seg(self.output_dir / name, masks.numpy(force=True) > 0.5, sources, self.algorithm)
        return dict(data)


def write_angiogram_seg(
    path: str | Path, masks: NDArray[np.bool_], sources: Sequence[Source], algorithm: Algorithm
) -> None:
    """Write the masks of frames as one binary DICOM segmentation without positions in space, which they have not.

    highdicom's own constructor takes at most one frame of such images; its reader takes all.

    Args:
        path: file to write, ``*.dcm``.
        masks: ``(T, H, W)``.
        sources: the frame of each mask.
        algorithm: what made the masks.

    Raises:
        ValueError: If the masks are not as many and as large as the frames.
        OSError: If the file cannot be written; no part of it remains.
    """
    header = sources[0].header
    shape = (len(sources), int(header.Rows), int(header.Columns))
    if masks.shape != shape:
        raise ValueError(f"{path}: the frames are (T, H, W) = {shape}, the masks {masks.shape}; were they resampled?")
    segmentation = _instance(header, algorithm)
    segmentation.ReferencedSeriesSequence = [_series_reference(sources)]
    segmentation.ImageType = ["DERIVED", "PRIMARY"]
    segmentation.LossyImageCompression = header.get("LossyImageCompression") or "00"
    segmentation.SegmentationType, segmentation.SegmentsOverlap = "BINARY", "NO"
    segmentation.SegmentSequence = [segment_description(algorithm)]
    segmentation.ContentLabel, segmentation.ContentDescription = "CORONARY_ARTERY", ""
    segmentation.ContentCreatorName = ""
    _index_frames(segmentation, sources)
    segmentation.NumberOfFrames, segmentation.Rows, segmentation.Columns = shape
    segmentation.SamplesPerPixel, segmentation.PhotometricInterpretation = 1, "MONOCHROME2"
    segmentation.BitsAllocated = segmentation.BitsStored = 1
    segmentation.HighBit = segmentation.PixelRepresentation = 0
    segmentation.PixelData = pack_bits(masks.astype(np.uint8))
    segmentation["PixelData"].VR = "OB"
    with replacing(path) as part:
        segmentation.save_as(part, enforce_file_format=True)


def _sources(path: Path, numbers: Sequence[int]) -> list[Source]:
    """Return the frames with these numbers, from 0, of a DICOM file or of a folder of them."""
    files = sequence_files(path) if path.is_dir() else [path]
    if len(files) == 1:
        header = read_header(files[0], NEEDED)
        single = int(header.get("NumberOfFrames") or 1) == 1
        return [Source(header, None if single else number + 1) for number in numbers]
    ordered = [file for file, _ in order_frames(path, files)]
    return [Source(read_header(ordered[number], NEEDED), None) for number in numbers]


def _instance(header: Dataset, algorithm: Algorithm) -> Any:
    """Return a data set with the modules on patient, study, series and equipment."""
    instance = highdicom().base.SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        sop_class_uid=SegmentationStorage,
        modality="SEG",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=header.PatientID,
        patient_name=header.PatientName,
        patient_birth_date=header.PatientBirthDate,
        patient_sex=header.PatientSex,
        study_id=header.StudyID,
        accession_number=header.AccessionNumber,
        study_date=header.StudyDate,
        study_time=header.StudyTime,
        referring_physician_name=header.ReferringPhysicianName,
        specific_character_set=header.get("SpecificCharacterSet"),
        **equipment(algorithm),
    )
    instance.copy_patient_and_study_information(header)
    return instance


def _series_reference(sources: Sequence[Source]) -> Dataset:
    """Return what names the series and the instances that the frames are from."""
    reference = Dataset()
    reference.SeriesInstanceUID = sources[0].header.SeriesInstanceUID
    headers = {source.header.SOPInstanceUID: source.header for source in sources}
    reference.ReferencedInstanceSequence = [_image_reference(header) for header in headers.values()]
    return reference


def _image_reference(header: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return reference


def _index_frames(segmentation: Any, sources: Sequence[Source]) -> None:
    """Say of each frame of a segmentation which frame it was drawn on, and that time is what they differ in."""
    organization = Dataset()
    organization.DimensionOrganizationUID = generate_uid()
    segmentation.DimensionOrganizationSequence = [organization]
    segmentation.DimensionIndexSequence = [
        _dimension(organization, *pointers)
        for pointers in ((SEGMENT_NUMBER, SEGMENT_IDENTIFICATION), (TEMPORAL_POSITION, FRAME_CONTENT))
    ]
    shared, segment = Dataset(), Dataset()
    segment.ReferencedSegmentNumber = 1
    shared.SegmentIdentificationSequence = [segment]
    segmentation.SharedFunctionalGroupsSequence = [shared]
    segmentation.PerFrameFunctionalGroupsSequence = [_frame(place, source) for place, source in enumerate(sources, 1)]


def _dimension(organization: Dataset, pointer: int, group: int) -> Dataset:
    dimension = Dataset()
    dimension.DimensionOrganizationUID = organization.DimensionOrganizationUID
    dimension.DimensionIndexPointer, dimension.FunctionalGroupPointer = pointer, group
    return dimension


def _frame(place: int, source: Source) -> Dataset:
    """Return what is said of one frame; ``place`` counts from 1."""
    content, image, derivation, frame = Dataset(), _image_reference(source.header), Dataset(), Dataset()
    content.DimensionIndexValues, content.TemporalPositionIndex = [1, place], place
    if source.frame is not None:
        image.ReferencedFrameNumber = source.frame
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [_coded(codes.DCM.SourceImageForImageProcessingOperation)]
    derivation.SourceImageSequence = [image]
    derivation.DerivationCodeSequence = [_coded(codes.cid7203.SegmentationImageDerivation)]
    frame.FrameContentSequence, frame.DerivationImageSequence = [content], [derivation]
    return frame


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
