"""The table of layouts, the choice of one, and whether its images are CTs or angiograms."""

from __future__ import annotations

from pathlib import Path

import nibabel
import pydicom

from ..angiograms.sources import dicom_files
from ..grids import NIFTI_SUFFIXES, VOLUME_SUFFIXES
from .angiograms import collect_arcade, collect_dca1, collect_xcad, is_arcade, is_dca1, is_xcad
from .case import Layout, folders_in
from .challenges import collect_asoca, collect_cat08, is_asoca, is_cat08
from .imagecas import collect_imagecas, collect_imagecas_x, is_imagecas, is_imagecas_x
from .nnunet import collect_nnunet, is_nnunet
from .pairs import IMAGE_FOLDERS, MASK_FOLDERS, collect_pairs, is_pairs
from .totalsegmentator import collect_totalsegmentator, is_totalsegmentator

AUTO = "auto"
MODALITIES = ("ct", "xca")
FOLDERS_TRIED = 20  # inside one that is not recognised

LAYOUTS = {
    "imagecas": Layout(
        "[1-200/]N.img.nii.gz beside N.label.nii.gz, or PATIENT/{img,label}.nii.gz", is_imagecas, collect_imagecas
    ),
    "imagecas-x": Layout(
        "volumes/N.img.nii.gz, segmentations/N.coronary.nii.gz, centerlines/, filelist/",
        is_imagecas_x,
        collect_imagecas_x,
    ),
    "asoca": Layout("{Normal,Diseased}/{CTCA,Annotations,Centerlines}/", is_asoca, collect_asoca),
    "cat08": Layout("datasetNN/imageNN.mhd with vesselN/reference.txt", is_cat08, collect_cat08),
    "totalsegmentator": Layout(
        "CASE/ct.nii.gz with [segmentations/]coronary_arteries.nii.gz", is_totalsegmentator, collect_totalsegmentator
    ),
    "nnunet": Layout("imagesTr/CASE_0000.nii.gz and labelsTr/CASE.nii.gz", is_nnunet, collect_nnunet),
    "dca1": Layout("N.pgm beside N_gt.pgm", is_dca1, collect_dca1),
    "arcade": Layout(
        "[syntax/]{train,val,test}/{images/N.png,annotations/*.json}, COCO polygons", is_arcade, collect_arcade
    ),
    "xcad": Layout("test/{images,masks} and train/ without masks", is_xcad, collect_xcad),
    "pairs": Layout(
        f"[{{train,val,test}}/] a folder {'|'.join(IMAGE_FOLDERS)} and a folder {'|'.join(MASK_FOLDERS)} with files of "
        "the same names; or volumes NAME_img.nii.gz beside NAME_label.nii.gz",
        is_pairs,
        collect_pairs,
    ),
}


def choose_layout(root: Path, layout: str = AUTO) -> tuple[str, str]:
    """Return the layout that a folder is in, and by what it is recognised.

    Args:
        root: the folder.
        layout: name of the layout that it must be in, or ``auto``.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If it is in no known layout, in several and ``layout`` is ``auto``, or not in ``layout``.
    """
    if not root.is_dir():
        raise NotADirectoryError(f"there is no folder {root}")
    if layout not in (AUTO, *LAYOUTS):
        raise ValueError(f"layout must be auto or one of {', '.join(LAYOUTS)}, got {layout!r}; {describe_layouts()}")
    fitting = _fitting(root)
    if layout == AUTO and len(fitting) == 1:
        return next(iter(fitting.items()))
    if layout in fitting:
        return layout, fitting[layout]
    if layout == AUTO and fitting:
        found = " and ".join(f"{name} ({why})" for name, why in fitting.items())
        raise ValueError(f"{root} looks like {found}; choose one with --layout; {describe_layouts()}")
    wanted = "any known layout" if layout == AUTO else layout
    raise ValueError(f"{root} does not look like {wanted}{_hint(root)}; {describe_layouts()}")


def describe_layouts() -> str:
    """Say how each layout looks, a line for each."""
    return "layouts are:" + "".join(f"\n  {name}: {layout.description}" for name, layout in LAYOUTS.items())


def modality_of(image: Path) -> str:
    """Say whether an image is a CT (``ct``) or an angiogram (``xca``), by its format.

    NIfTI of three axes may be either: it is an angiogram where it is stored in unsigned bytes, which hold no Hounsfield
    units.
    """
    name = image.name.lower()
    if image.is_dir():
        scans = dicom_files(image)
        return "ct" if scans and _is_ct(scans[0]) else "xca"
    if not name.endswith(VOLUME_SUFFIXES):
        return "xca"
    if name.endswith(NIFTI_SUFFIXES):
        try:
            header = nibabel.load(image).header
        except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError):
            return "ct"  # the report says what is wrong with it
        shape, kind = header.get_data_shape(), header.get_data_dtype()  # type: ignore[attr-defined]
        return "ct" if len(shape) > 2 and shape[2] > 1 and kind != "uint8" else "xca"
    return "ct"


def _fitting(root: Path) -> dict[str, str]:
    """Return by what each layout that fits is recognised."""
    return {name: why for name, layout in LAYOUTS.items() if (why := layout.recognise(root)) is not None}


def _hint(root: Path) -> str:
    """Say what may be meant: a folder inside, or archives to unpack."""
    folders = folders_in(root)[:FOLDERS_TRIED]
    inside = [f"{folder} looks like {' and '.join(fits)}" for folder in folders if (fits := _fitting(folder))]
    if inside:
        return f", but {'; '.join(inside[:3])}: give that folder"
    archives = [path.name for path in sorted(root.iterdir()) if path.suffix in (".zip", ".change2zip", ".gz", ".tar")]
    if any(name.endswith(".change2zip") for name in archives):
        return (
            f", but holds parts of archives ({archives[0]}, ...): rename *.change2zip to *.zip, join each with "
            "`zip -s 0 1-200.zip --out whole.zip`, and unpack them first"
        )
    return f", but holds archives ({archives[0]}, ...): unpack them first" if archives else ""


def _is_ct(path: Path) -> bool:
    tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality"], force=True)
    return str(tags.get("Modality", "")) == "CT"
