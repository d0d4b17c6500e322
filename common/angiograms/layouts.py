"""The folders that public sets of labelled angiograms come in, recognised and turned into cases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..files import replacing
from .polygons import LESION, rasterize, read_coco
from .sources import list_angiograms

Case = dict[str, Any]

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "ground_truth", "gt")
MASK_POSTFIXES = ("_mask", "_label", "_gt", "_seg")  # behind the name of the image
SECTION_OF = {"train": "training", "val": "validation", "test": "test"}  # by how the name of a folder begins or ends
DCA1_TRAINING = 100  # the published split of DCA1: the first 100 of 134 are for training
_DCA1_LABEL = re.compile(r"(\d+)_gt\.pgm", re.IGNORECASE)


class Collection(NamedTuple):
    """What a folder holds.

    Attributes:
        cases: ``{"image": Path, "label": Path, "case": name}`` of each labelled angiogram.
        official: the section that the publishers put each case in, by its name; empty where they made no split.
        unmatched: files without partner.
        notes: what else the user should know.
    """

    cases: list[Case]
    official: dict[str, str]
    unmatched: list[str]
    notes: list[str]


class Layout(NamedTuple):
    """One way in which a data set is stored.

    Attributes:
        description: how it looks, for the user.
        recognise: says whether a folder looks so.
        collect: lists a folder, and writes masks that have to be made to a second one.
    """

    description: str
    recognise: Callable[[Path], bool]
    collect: Callable[[Path, Path], Collection]


def is_dca1(root: Path) -> bool:
    """Say whether a folder is that of DCA1."""
    return _dca1_folder(root) is not None


def collect_dca1(root: Path, _masks: Path) -> Collection:
    """List DCA1, 134 stills of 300 x 300 pixels; its split is the first 100 for training, the last 34 for the test."""
    folder = _dca1_folder(root) or root
    labels = {match[1]: path for path in sorted(folder.iterdir()) if (match := _DCA1_LABEL.fullmatch(path.name))}
    images = {path.stem: path for path in sorted(folder.glob("*.[pP][gG][mM]")) if path.stem.isdecimal()}
    paired = sorted(images.keys() & labels.keys(), key=int)
    cases = [{"image": images[name], "label": labels[name], "case": name} for name in paired]
    official = {name: "training" if int(name) <= DCA1_TRAINING else "test" for name in paired}
    return Collection(cases, official, _names([images, labels], paired), [])


def is_arcade(root: Path) -> bool:
    """Say whether a folder is that of ARCADE, or of its syntax or stenosis half."""
    return bool(_coco_files(root))


def collect_arcade(root: Path, masks: Path) -> Collection:
    """List ARCADE, and draw the union of its vessel polygons into PNG files in the folder ``masks``.

    Raises:
        ValueError: If there are only polygons of lesions, or the folder ``masks`` lies inside the data set.
    """
    files = {section: path for section, path in _coco_files(root).items() if LESION not in path.as_posix().lower()}
    if not files:
        raise ValueError(
            f"{root} has annotations of stenoses alone, which outline no vessels; give ARCADE's syntax half"
        )
    if masks.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"the masks would be written to {masks}, inside the data set; give an --out elsewhere")
    found = Collection([], {}, [], [f"masks drawn from polygons: {masks}"])
    if len(files) < len(_coco_files(root)) or (root / LESION).is_dir():
        found.notes.append("the stenosis half outlines lesions, not vessels: left out")
    for section, path in files.items():
        for outlines in tqdm(read_coco(path), f"drawing {section}", unit="image"):
            name = Path(outlines.file_name).name
            image, case = path.parents[1] / "images" / name, f"{path.parents[1].name}_{Path(name).stem}"
            if not image.is_file() or not outlines.polygons:
                found.unmatched.append(str(image.relative_to(root)))
                continue
            label = masks / f"{case}.png"
            with replacing(label) as temporary:
                Image.fromarray(rasterize(outlines).astype(np.uint8) * 255).save(temporary)
            found.cases.append({"image": image, "label": label, "case": case})
            found.official[case] = section
    return found


def is_xcad(root: Path) -> bool:
    """Say whether a folder is that of XCAD: a labelled test part, and training images without masks."""
    train = root / "train"
    return _pair(root / "test") is not None and train.is_dir() and _pair(train) is None


def collect_xcad(root: Path, _masks: Path) -> Collection:
    """List the 126 labelled stills of XCAD, its test part; the 1621 pairs for training have no masks."""
    cases, unmatched = _paired(*(_pair(root / "test") or ()))
    unlabelled = sum(1 for path in (root / "train").rglob("*.png") if not path.name.startswith("."))
    notes = [f"{unlabelled} images in {root / 'train'} have no masks: left out"]
    return Collection(cases, {case["case"]: "test" for case in cases}, unmatched, notes)


def is_pairs(root: Path) -> bool:
    """Say whether a folder, or the folder "train" in it, has a folder of images and one of masks."""
    return _pair(root) is not None or "training" in {section for section, _ in _split_folders(root)}


def collect_pairs(root: Path, _masks: Path) -> Collection:
    """List folders of images and masks of the same names; folders "train", "val" and "test" above them are a split.

    Raises:
        ValueError: If no image has a mask, or two images have one name.
    """
    if (folders := _pair(root)) is not None:
        cases, unmatched = _paired(*folders)
        return Collection(cases, {}, unmatched, [])
    found = Collection([], {}, [], [])
    for section, folder in _split_folders(root):
        cases, unmatched = _paired(*(_pair(folder) or ()))
        for case in cases:
            case["case"] = f"{folder.name}_{case['case']}"
            found.official[case["case"]] = section
        found.cases.extend(cases)
        found.unmatched.extend(f"{folder.name}/{name}" for name in unmatched)
    return found


LAYOUTS = {
    "dca1": Layout("N.pgm beside N_gt.pgm", is_dca1, collect_dca1),
    "arcade": Layout(
        "[syntax/]{train,val,test}/{images/N.png,annotations/*.json}, COCO polygons", is_arcade, collect_arcade
    ),
    "xcad": Layout("test/{images,masks} and train/ without masks", is_xcad, collect_xcad),
    "pairs": Layout(
        f"[{{train,val,test}}/] a folder {'|'.join(IMAGE_FOLDERS)} and a folder {'|'.join(MASK_FOLDERS)} with files of "
        "the same names",
        is_pairs,
        collect_pairs,
    ),
}


def _dca1_folder(root: Path) -> Path | None:
    """Return the folder with the files of DCA1: the root, or the one in it."""
    folders = [root, *(entry for entry in sorted(root.iterdir()) if entry.is_dir())]
    return next((f for f in folders if any(_DCA1_LABEL.fullmatch(path.name) for path in f.iterdir())), None)


def _coco_files(root: Path) -> dict[str, Path]:
    """Return the annotations of each part of ARCADE by section; the syntax half goes before the other."""
    found: dict[str, Path] = {}
    for pattern in ("*/annotations/*.json", "syntax/*/annotations/*.json", "*/*/annotations/*.json"):
        for path in sorted(root.glob(pattern)):
            section = _section_of(path.parents[1].name)
            if section and not path.name.startswith(".") and (path.parents[1] / "images").is_dir():
                found.setdefault(section, path)
        if found:
            break
    return found


def _split_folders(root: Path) -> list[tuple[str, Path]]:
    """Return the folders with pairs in them, each with its section."""
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and _pair(entry) is not None]
    return [(section, folder) for folder in folders if (section := _section_of(folder.name))]


def _section_of(folder: str) -> str | None:
    """Return the section that a folder's name stands for."""
    name = folder.lower()
    return next((s for word, s in SECTION_OF.items() if name.startswith(word) or name.endswith(word)), None)


def _pair(folder: Path) -> tuple[Path, Path] | None:
    """Return the folder of images and that of masks in ``folder``, if it has both."""
    if not folder.is_dir():
        return None
    names = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    images, masks = (next((names[n] for n in known if n in names), None) for known in (IMAGE_FOLDERS, MASK_FOLDERS))
    files = [] if masks is None else [path for path in masks.iterdir() if not path.name.startswith(".")]
    if images is None or masks is None or all(path.suffix.lower() == ".json" for path in files):
        return None
    return images, masks


def _paired(images: Path, masks: Path) -> tuple[list[Case], list[str]]:
    """Return the cases of a folder of images and one of masks, and the files without partner."""
    ours = {entry["case"]: Path(entry["image"]) for entry in list_angiograms(images)}
    theirs = {entry["case"]: Path(entry["image"]) for entry in list_angiograms(masks)}
    if not ours.keys() & theirs.keys():
        theirs = {_bare(name): path for name, path in theirs.items()}
    paired = sorted(ours.keys() & theirs.keys())
    if not paired:
        raise ValueError(
            f"no image in {images} has the name of a mask in {masks} ({min(ours)}, ... against {min(theirs)}, ...); "
            "name each mask like its image"
        )
    return [{"image": ours[n], "label": theirs[n], "case": n} for n in paired], _names([ours, theirs], paired)


def _bare(name: str) -> str:
    """Return the name of a mask without what marks it as one."""
    return next((name.removesuffix(postfix) for postfix in MASK_POSTFIXES if name.lower().endswith(postfix)), name)


def _names(sides: Iterable[dict[str, Path]], paired: list[str]) -> list[str]:
    """Return the files that have no partner, each with its folder."""
    rest = [path for side in sides for name, path in side.items() if name not in paired]
    return sorted(f"{path.parent.name}/{path.name}" for path in rest)
