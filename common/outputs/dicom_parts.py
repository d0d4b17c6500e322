"""What DICOM segmentations of CT and of angiograms have in common: who made them, of what, from which study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.sr.codedict import codes

from .structure import COLOUR, NAME

SUFFIX = "_seg.dcm"
MANUFACTURER = "coronary-bundles"
SERIES_NUMBER = 9001  # far above those of a scanner
MAY_BE_ABSENT = (  # of the patient and study: DICOM wants them, with or without a value
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


class Algorithm(NamedTuple):
    """Name and version of what made a segmentation."""

    name: str
    version: str


def read_algorithm(metadata: str | Path) -> Algorithm:
    """Return name and version of a bundle from its ``metadata.json``.

    Raises:
        ValueError: If the file is absent or does not tell them.
    """
    try:
        content = json.loads(Path(metadata).read_text("utf-8"))
        return Algorithm(str(content["name"])[:64], str(content["version"]))  # 64: DICOM's limit
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'metadata must be the metadata.json of the bundle, with "name" and "version", got {metadata} ({error!r})'
        ) from error


def highdicom() -> Any:
    """Return the package highdicom, which is needed for these files only.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        return import_module("highdicom")
    except ImportError as error:
        raise ImportError(
            "DICOM segmentations need the package highdicom: pip install highdicom (or set save_dicom_seg to False)"
        ) from error


def read_header(path: Path, needed: Sequence[str]) -> Dataset:
    """Read a source image without its pixels.

    Args:
        path: DICOM file.
        needed: keywords of tags that must have a value.

    Raises:
        ValueError: If it is no DICOM file, or lacks one of them.
    """
    try:
        header = dcmread(path, stop_before_pixels=True)
    except InvalidDicomError as error:
        raise ValueError(f"{path} is no DICOM file any more: leave it as it is until its masks are written") from error
    absent = [name for name in needed if header.get(name) in (None, "")]
    if absent:
        raise ValueError(
            f"{path} cannot be referred to by a DICOM segmentation: it has no {', '.join(absent)}. Export it again "
            "with these tags, or set save_dicom_seg to False"
        )
    for name in MAY_BE_ABSENT:
        if name not in header:
            setattr(header, name, "")
    if header.PatientSex not in ("M", "F", "O"):  # anonymizers write what the standard does not know
        header.PatientSex = ""
    return header


def segment_description(algorithm: Algorithm) -> Any:
    """Return the description of the one segment: coded terms, colour, and what made it."""
    hd = highdicom()
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=NAME,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.CoronaryArtery,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm.name, family=codes.cid7162.ArtificialIntelligence, version=algorithm.version
        ),
        display_color=hd.color.CIELabColor.from_rgb(*COLOUR),
    )


def equipment(algorithm: Algorithm) -> dict[str, Any]:
    """Return the arguments by which highdicom identifies a new series and what made it."""
    hd = highdicom()
    return {
        "series_instance_uid": hd.UID(),
        "series_number": SERIES_NUMBER,
        "series_description": f"{NAME} segmentation",
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": algorithm.name,
        "software_versions": algorithm.version,
        "device_serial_number": "none",
    }
