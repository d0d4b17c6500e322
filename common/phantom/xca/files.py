"""The files of one angiographic sequence: NIfTI, PNG frames, DICOM, centerlines, and a record of all that was drawn."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...centerline.branch import BRANCH_LABELS
from ...files import replacing, write_json_file
from .arteries import LABELLED_RADIUS_MM
from .contrast import VISIBLE
from .dicom import write_xa
from .instruments import Device
from .sequence import FRAMES_PER_S, Angiogram, Scene

VOLUMES = {
    "images": "frames",
    "labels": "label",
    "catheters": "catheter",
    "branches": "branches",
    "overlaps": "overlaps",
}
"""Folders of NIfTI files and the field of an :class:`Angiogram` that they hold."""


def sequence_files(folder: Path, case: str, frames: int) -> list[Path]:
    """Return the files of a case, its record left out; of the PNG files the last ones."""
    last = f"{case}_t{frames - 1:02d}.png"
    return [
        *[folder / kind / f"{case}.nii.gz" for kind in VOLUMES],
        folder / "centerlines" / f"{case}.json",
        folder / "dicom" / f"{case}.dcm",
        folder / "frames" / case / last,
        folder / "frame_labels" / case / last,
    ]


def write_sequence(folder: Path, case: str, angiogram: Angiogram, scene: Scene) -> None:
    """Write the files of a case, its record left out.

    Volumes are stored as ITK stores X-ray images: axes (column, row, frame), so that ``array[..., t].T`` is a frame.
    """
    dicom = folder / "dicom" / f"{case}.dcm"
    dicom.unlink(missing_ok=True)  # written last: if this is interrupted, no earlier record finds all its files
    for kind, name in VOLUMES.items():
        _write_volume(folder / kind / f"{case}.nii.gz", getattr(angiogram, name), scene.carm.pixel_mm)
    for kind, images in (("frames", angiogram.frames), ("frame_labels", angiogram.label * np.uint8(255))):
        shutil.rmtree(folder / kind / case, ignore_errors=True)  # an earlier case may have had more frames
        for number, image in enumerate(images):
            with replacing(folder / kind / case / f"{case}_t{number:02d}.png") as temporary:
                Image.fromarray(image).save(temporary, compress_level=1)
    write_json_file(
        folder / "centerlines" / f"{case}.json",
        {
            "unit": "px",
            "axes": ["column", "row"],
            "labels": {str(k): v for k, v in BRANCH_LABELS.items()},
            "frames": angiogram.centerlines,
        },
    )
    carm = scene.carm
    write_xa(
        dicom,
        angiogram.frames,
        frame_ms=1000 / FRAMES_PER_S,
        pixel_mm=carm.pixel_mm,
        angles_deg=(carm.primary_deg, carm.secondary_deg),
        distances_mm=(carm.source_detector_mm, carm.source_isocentre_mm),
    )


def scene_record(scene: Scene, angiogram: Angiogram) -> dict[str, Any]:
    """Return everything that was drawn for a sequence, and how much of each frame is vessel."""
    carm = scene.carm
    return {
        "artery": scene.artery,
        "frame_ms": 1000 / FRAMES_PER_S,
        "carm": asdict(carm) | {"isocentre_mm": carm.isocentre_mm.tolist(), "axes": carm.axes.tolist()},
        "motion": asdict(scene.motion) | {"fold_mm": scene.fold_mm},
        "contrast": asdict(scene.bolus),
        "exposure": asdict(scene.exposure),
        "catheter": _devices_record(scene.catheter),
        "lookalikes": _devices_record(scene.clutter),
        "reflux": [dict(zip(("begin_s", "size_mm", "strength_mm"), puff, strict=True)) for puff in scene.reflux],
        "mask_rule": {"visible_share": VISIBLE, "least_radius_mm": LABELLED_RADIUS_MM},
        "vessel_share": np.round(angiogram.label.mean(axis=(1, 2)), 5).tolist(),
        "catheter_share": np.round(angiogram.catheter.mean(axis=(1, 2)), 5).tolist(),
    }


def _devices_record(devices: Sequence[Device]) -> list[Mapping[str, Any]]:
    """Return size and course of devices."""
    return [
        {
            "kind": device.kind,
            "radius_mm": device.radius_mm,
            "inner_mm": device.inner_mm,
            "per_mm": device.per_mm,
            "points": np.round(device.points[::4], 2).tolist(),
        }
        for device in devices
    ]


def _write_volume(path: Path, frames: NDArray[np.uint8], pixel_mm: float) -> None:
    """Write ``(T, H, W)`` as a NIfTI file."""
    affine = np.diag([-pixel_mm, -pixel_mm, 1.0, 1.0])
    volume = np.ascontiguousarray(frames.transpose(2, 1, 0))  # (W, H, T)
    image = nibabel.Nifti1Image(volume, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    image.set_qform(affine, code=1)  # type: ignore[no-untyped-call]
    image.set_sform(affine, code=1)  # type: ignore[no-untyped-call]
    with replacing(path) as temporary:
        nibabel.save(image, temporary)
