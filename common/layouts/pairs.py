"""Images and masks of the same names: in two folders, or side by side. CT and angiograms alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..angiograms.sources import list_angiograms
from ..centerline.readers import FORMATS
from ..datasets import list_images
from ..grids import NIFTI_SUFFIXES, VOLUME_SUFFIXES, case_name
from .case import Case, Collection, files_in, folders_in, section_of, with_own_names

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "ground_truth", "gt")
CENTERLINE_FOLDERS = ("centerlines", "centerline")
IMAGE_POSTFIXES = ("_image", "_img", "_ct", "_cta", "_0000")  # behind the name of the case
MASK_POSTFIXES = ("_mask", "_label", "_gt", "_segmentation", "_seg")
_SIDE_BY_SIDE = re.compile(r"(.+?)(?:_(image|img|ct|cta)|_(mask|label|gt|segmentation|seg))?", re.IGNORECASE)
_FOLDER = "folders"


def is_pairs(root: Path) -> str | None:
    """Say by what a folder, or the folder "train" in it, holds pairs of images and masks."""
    if (folders := folder_pair(root)) is not None:
        return " and ".join(f"{folder.name}/" for folder in folders)
    parts = _split_folders(root)
    if "training" in {section for section, _ in parts}:
        return f"folders of images and masks in {', '.join(f'{folder.name}/' for _, folder in parts)}"
    beside = _beside(root)[0]
    return f"{beside[0].image.name} beside {beside[0].label.name}" if beside and beside[0].label else None


def collect_pairs(root: Path, _masks: Path) -> Collection:
    """List images and masks of the same names; folders "train", "val" and "test" above them are a split.

    A file of the same name in a folder "centerlines" is the centerline of its case.

    Raises:
        ValueError: If no image has a mask, or two images have one name.
    """
    if (folders := folder_pair(root)) is not None:
        cases, unmatched = pair_up(*folders)
        return Collection(_with_centerlines(cases, root), unmatched=unmatched)
    parts = _split_folders(root)
    if not parts:
        cases, unmatched = _beside(root)
        notes: list[str] = []
        return Collection(with_own_names(cases, notes), unmatched=unmatched, notes=notes)
    split: dict[str, str] = {}
    found = Collection([], {_FOLDER: split})
    for section, folder in parts:
        cases, unmatched = pair_up(*(folder_pair(folder) or ()))
        for case in _with_centerlines(cases, folder):
            found.cases.append(replace(case, name=f"{folder.name}_{case.name}"))
            split[found.cases[-1].name] = section
        found.unmatched.extend(f"{folder.name}/{name}" for name in unmatched)
    return found


def folder_pair(folder: Path) -> tuple[Path, Path] | None:
    """Return the folder of images and that of masks in ``folder``, if it has both."""
    images, masks = (_named_folder(folder, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS))
    files = [] if masks is None else [path for path in masks.iterdir() if not path.name.startswith(".")]
    if images is None or masks is None or all(path.suffix.lower() == ".json" for path in files):
        return None
    return images, masks


def pair_up(images: Path, masks: Path) -> tuple[list[Case], list[str]]:
    """Return the cases of a folder of images and one of masks, and the files without partner.

    Raises:
        ValueError: If no image has the name of a mask, with or without what marks it as one.
    """
    ours, theirs = _listed(images), _listed(masks)
    if not ours.keys() & theirs.keys():
        ours = {_bare(name, IMAGE_POSTFIXES): path for name, path in ours.items()}
        theirs = {_bare(name, MASK_POSTFIXES): path for name, path in theirs.items()}
    paired = sorted(ours.keys() & theirs.keys())
    if not paired:
        raise ValueError(
            f"no image in {images} has the name of a mask in {masks} ({min(ours)}, ... against {min(theirs)}, ...); "
            "name each mask like its image"
        )
    return [Case(name, ours[name], theirs[name]) for name in paired], without_partner([ours, theirs], paired)


def without_partner(sides: Iterable[dict[str, Path]], paired: Sequence[str]) -> list[str]:
    """Return the files that have no partner, each with its folder."""
    known = set(paired)
    rest = [path for side in sides for name, path in side.items() if name not in known]
    return sorted(f"{path.parent.name}/{path.name}" for path in rest)


def _listed(folder: Path) -> dict[str, Path]:
    """Return the images in a folder by name."""
    volumes = tuple(set(VOLUME_SUFFIXES) - set(NIFTI_SUFFIXES))  # NIFTI may be either, and both know it
    is_ct = any(path.name.lower().endswith(volumes) for path in files_in(folder))
    found: list[Any] = list_images(folder) if is_ct else list_angiograms(folder)
    return {entry["case"]: Path(entry["image"]) for entry in found}


def _named_folder(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the folder that has the first of the names."""
    if not folder.is_dir():
        return None
    known = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    return next((known[name] for name in names if name in known), None)


def _split_folders(root: Path) -> list[tuple[str, Path]]:
    """Return the folders with pairs in them, each with its section."""
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and folder_pair(entry) is not None]
    return [(section, folder) for folder in folders if (section := section_of(folder.name))]


def _with_centerlines(cases: Sequence[Case], root: Path) -> list[Case]:
    """Add the centerline files of the folder "centerlines", of formats that we read; the first where there are two."""
    folder = _named_folder(root, CENTERLINE_FOLDERS)
    files: dict[str, Path] = {}
    for path in files_in(folder) if folder is not None else []:
        for suffix in FORMATS:
            if path.name.lower().endswith(suffix):
                files.setdefault(path.name[: -len(suffix)], path)
    return [replace(c, extras={"centerline": files[c.name]}) if c.name in files else c for c in cases]


def _beside(root: Path) -> tuple[list[Case], list[str]]:
    """Return volumes that lie beside their masks, here or one folder below, and the files without partner."""
    cases: list[Case] = []
    unmatched: list[str] = []
    for folder in (root, *folders_in(root)):
        images: dict[str, Path] = {}
        masks: dict[str, Path] = {}
        for path in files_in(folder):
            name = case_name(path)
            if path.name.lower().endswith(VOLUME_SUFFIXES) and (match := _SIDE_BY_SIDE.fullmatch(name)):
                (masks if match[3] else images)[match[1]] = path
        paired = [name for name in images if name in masks]
        cases += [Case(name, images[name], masks[name]) for name in paired]
        unmatched += without_partner([images, masks], paired) if paired else []
    return cases, unmatched


def _bare(name: str, postfixes: Sequence[str]) -> str:
    """Return the name of an image or mask without what marks it as one."""
    return next((name[: -len(postfix)] for postfix in postfixes if name.lower().endswith(postfix)), name)
