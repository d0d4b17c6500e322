"""What an image is: contrast CT, CT without contrast, an X-ray still or sequence; from its header and its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import nibabel
import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from pydicom import Dataset

from ..angiograms.reading import Angiogram, read_angiogram
from ..angiograms.sources import IMAGE_SUFFIXES, frame_files
from ..grids import NIFTI_SUFFIXES, read_grid, spacing_mm
from ..heart_box import CONTRAST_HU, REACH_MM, SHIFTED_HU, HeartRegion, locate_heart, locate_native_heart
from ..loading import HU_SPAN, CheckVolumed, LoadVolumed
from .series import MULTI_FRAME_CT, X_RAY, is_volume_file

CHOICES = {  # for each kind of image the bundle that is taken, those that can be taken too, and what to say of it
    "contrast CT": (
        "centerline_unet_bundle",
        ("casnet_bundle",),
        "of the two for such scans the one with the better figures (README.md, synthetic hearts)",
    ),
    "non-contrast CT": ("syncas_bundle", (), "the one for such scans"),
    "X-ray still": ("casrnet_bundle", (), "the one for single frames"),
    "X-ray sequence": ("svsnet_bundle", ("casrnet_bundle",), "which sees four frames at once"),
}
LARGEST_HEART_MM = 2 * REACH_MM + 80  # the box around a heart's blood pool is never longer along an axis
CURE = "; if it can be segmented all the same, name the bundle with --bundle, one of: " + ", ".join(
    sorted({bundle for bundle, _, _ in CHOICES.values()} | {"casnet_bundle"})
)


class Recognition(NamedTuple):
    """What an image was taken for.

    Attributes:
        kind: a key of ``CHOICES``.
        reasons: what was read and measured, in sentences.
    """

    kind: str
    reasons: tuple[str, ...]

    @property
    def bundle(self) -> str:
        """Name of the bundle for it."""
        return CHOICES[self.kind][0]

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Names of other bundles that can segment it."""
        return CHOICES[self.kind][1]

    @property
    def choice(self) -> str:
        """The bundle for it and why, in a sentence."""
        others = "".join(f"; --bundle {name} can be taken too" for name in self.alternatives)
        return f"So it is taken for: {self.kind}. The bundle is {self.bundle}, {CHOICES[self.kind][2]}{others}."


def recognise(image: Path, header: Dataset | None = None) -> Recognition:
    """Tell what an image is.

    Args:
        image: a file, a folder of frames, or the folder of one DICOM series.
        header: DICOM tags of its first file; None where it is no DICOM.

    Raises:
        ValueError: If it is none of the kinds, cannot be read, or may be several; says what was measured.
    """
    if header is not None:
        return _recognise_dicom(image, header)
    if is_volume_file(image):
        return _recognise_volume(image)
    if image.is_dir():
        return _recognise_frames(image)
    if image.name.lower().endswith(IMAGE_SUFFIXES):
        angiogram = _checked(read_angiogram(image), image)
        return Recognition("X-ray still", (f"It is a picture in grey of {_size(angiogram)} pixels.",))
    raise ValueError(
        f"{image} is no image that is known here (DICOM, NIfTI, NRRD, MetaImage, PNG, BMP, TIFF, JPEG, PGM): export "
        "the scan in one of these formats, or unpack it"
    )


def _recognise_dicom(image: Path, header: Dataset) -> Recognition:
    """Tell what a DICOM series is."""
    modality = str(header.get("Modality") or "none")
    said = f"The DICOM header says modality {modality}"
    several = int(header.get("NumberOfFrames") or 1) > 1
    if modality == "CT" and (str(header.get("SOPClassUID")) in MULTI_FRAME_CT or several):
        raise ValueError(f"{image}: a CT in one multi-frame file is not read; convert it to NIfTI, as dcm2niix does")
    if modality == "CT":
        agent = header.get("ContrastBolusAgent")
        agent_said = f"names the contrast agent {agent}" if agent else "names no contrast agent"
        return _recognise_ct(image, (f"{said} (computed tomography) and {agent_said}.",))
    if modality in X_RAY:
        angiogram = _checked(read_angiogram(image, frame=0), image)
        count = angiogram.source_frames
        seen = f"There {'are' if count > 1 else 'is'} {count} frame{'s' * (count > 1)} of {_size(angiogram)} pixels."
        return Recognition("X-ray sequence" if count > 1 else "X-ray still", (f"{said} (X-ray angiography).", seen))
    raise _refusal(image, f"{said}, which is neither CT nor X-ray angiography (XA, RF)")


def _recognise_frames(folder: Path) -> Recognition:
    """Tell what a folder of pictures is."""
    count = len(frame_files(folder))
    angiogram = _checked(read_angiogram(folder, frame=0), folder)
    if count == 1:
        return Recognition("X-ray still", (f"The folder holds one picture in grey of {_size(angiogram)} pixels.",))
    numbered = f"The folder holds {count} numbered pictures in grey of {_size(angiogram)} pixels"
    return Recognition("X-ray sequence", (f"{numbered}, which are taken for the frames of one sequence.",))


def _recognise_volume(path: Path) -> Recognition:
    """Tell what a NIfTI, NRRD or MetaImage file is."""
    shape = list(read_grid(path).shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    size = " x ".join(map(str, shape))
    if len(shape) == 4 and shape[2] == 1 and path.name.lower().endswith(NIFTI_SUFFIXES):
        _checked(read_angiogram(path, frame=0), path)
        return Recognition("X-ray sequence", (f"It is a NIfTI file of {size} with a time axis: {shape[3]} frames.",))
    if len(shape) > 3:
        raise ValueError(f"{path} holds {shape[3]} volumes, {size}: save the phase to segment in a file of its own")
    if len(shape) < 3 or shape[2] == 1:
        raise _refusal(
            path, f"it has two axes, {size}, so it may be an angiogram (casrnet_bundle) or one slice of a CT"
        )
    return _recognise_ct(path, (f"It is a volume of {size} voxels.",))


def _recognise_ct(image: Path, reasons: tuple[str, ...]) -> Recognition:
    """Tell by its values whether a volume is a CT, and with contrast or without."""
    volume_hu, affine = _load(image)
    low, high = float(volume_hu.min()), float(volume_hu.max())
    if low >= 0 or high - low <= HU_SPAN:
        raise _refusal(
            image,
            f"its values from {low:g} to {high:g} are no Hounsfield units (air is -1000), so it may be a mask, an MR, "
            "frames of an X-ray sequence (svsnet_bundle), or a CT to whose values 1000 or 1024 was added",
        )
    reasons = (*reasons, f"Its values go from {low:g} to {high:g}, as Hounsfield units do.")
    region = locate_heart(volume_hu, affine)
    if region is not None and not _is_larger_than_a_heart(region, volume_hu.shape, affine):
        weak = " That is little: the mask may be poor." if region.blood_hu < SHIFTED_HU else ""
        blood = f"The blood in the heart has {region.blood_hu:.0f} HU; without contrast agent it has 30 to 50."
        return Recognition("contrast CT", (*reasons, blood + weak))
    if region is None and locate_native_heart(volume_hu, affine) is not None:
        none = f"There is a heart between the lungs, and no chamber above {CONTRAST_HU:g} HU: no contrast agent."
        return Recognition("non-contrast CT", (*reasons, none))
    deep = "no chamber" if region is None else f"what is bright ({region.blood_hu:.0f} HU) has not the size of a heart"
    raise _refusal(
        image, f"no heart was found in this CT: {deep} above {CONTRAST_HU:g} HU, and no soft tissue between lungs"
    )


def _load(image: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return a volume ``(X, Y, Z)`` and its affine."""
    if image.name.lower().endswith(NIFTI_SUFFIXES) and _has_fields(image):
        raise ValueError(f"{image} holds colours; convert the scan itself, in grey, to NIfTI")
    anything = CheckVolumed("image", window_hu=(0.0, np.inf), thick_slice_mm=np.inf)  # finite, three axes, a spacing
    volume = cast(MetaTensor, anything(LoadVolumed("image")({"image": str(image)}))["image"])
    return volume[0].numpy(force=True), np.asarray(volume.affine.numpy(force=True), dtype=np.float64)


def _has_fields(path: Path) -> bool:
    """Say whether the voxels of a NIfTI file are colours."""
    image: Any = nibabel.load(path)
    return image.get_data_dtype().names is not None


def _is_larger_than_a_heart(region: HeartRegion, shape: tuple[int, ...], affine: NDArray[np.float64]) -> bool:
    """Say whether the box is the whole of a large volume, as it is where the blood pool has not the size of a heart."""
    sides = [side.stop - side.start for side in region.box]
    return sides == list(shape) and bool((np.array(shape) * spacing_mm(affine) > LARGEST_HEART_MM).any())


def _checked(angiogram: Angiogram, image: Path) -> Angiogram:
    """Refuse what no angiogram is."""
    if not np.isfinite(angiogram.frames).all():
        raise ValueError(f"{image} has pixels that are NaN or infinite; export it again")
    values = np.unique(angiogram.frames)
    if len(values) <= 2:
        raise _refusal(
            image, f"its pixels have only the values {', '.join(f'{value:g}' for value in values)}, as a mask has"
        )
    return angiogram


def _size(angiogram: Angiogram) -> str:
    return " x ".join(map(str, angiogram.frames.shape[1:]))


def _refusal(image: Path, reason: str) -> ValueError:
    return ValueError(f"{image}: {reason}{CURE}")
