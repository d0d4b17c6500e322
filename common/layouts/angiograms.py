"""The folders of public sets of labelled angiograms: DCA1, ARCADE and XCAD."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..angiograms.polygons import LESION, rasterize, read_coco
from ..files import replacing
from .case import PUBLISHED, Case, Collection, section_of
from .pairs import folder_pair, pair_up, without_partner

DCA1_TRAINING = 100  # the published split of DCA1: the first 100 of 134 are for training
_DCA1_LABEL = re.compile(r"(\d+)_gt\.pgm", re.IGNORECASE)


def is_dca1(root: Path) -> str | None:
    """Say by what a folder is that of DCA1."""
    folder = _dca1_folder(root)
    return None if folder is None else f"files N_gt.pgm in {folder.name}"


def collect_dca1(root: Path, _masks: Path) -> Collection:
    """List DCA1, 134 stills of 300 x 300 pixels; its split is the first 100 for training, the last 34 for the test."""
    folder = _dca1_folder(root) or root
    labels = {match[1]: path for path in sorted(folder.iterdir()) if (match := _DCA1_LABEL.fullmatch(path.name))}
    images = {path.stem: path for path in sorted(folder.glob("*.[pP][gG][mM]")) if path.stem.isdecimal()}
    paired = sorted(images.keys() & labels.keys(), key=int)
    cases = [Case(name, images[name], labels[name]) for name in paired]
    split = {name: "training" if int(name) <= DCA1_TRAINING else "test" for name in paired}
    return Collection(cases, {PUBLISHED: split}, without_partner([images, labels], paired))


def is_arcade(root: Path) -> str | None:
    """Say by what a folder is that of ARCADE, or of its syntax or stenosis half."""
    files = _coco_files(root)
    return f"annotations such as {min(files.values()).relative_to(root).as_posix()}" if files else None


def collect_arcade(root: Path, masks: Path) -> Collection:
    """List ARCADE, and draw the union of its vessel polygons into PNG files in the folder ``masks``.

    Raises:
        ValueError: If there are only polygons of lesions, or the folder ``masks`` lies inside the data set.
    """
    whole = root.resolve().name.lower() == LESION  # what the folders above are called says nothing
    parts = {section: (path, path.relative_to(root).as_posix().lower()) for section, path in _coco_files(root).items()}
    files = {section: path for section, (path, name) in parts.items() if LESION not in name and not whole}
    if not files:
        raise ValueError(
            f"{root} has annotations of stenoses alone, which outline no vessels; give ARCADE's syntax half"
        )
    if masks.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"the masks would be written to {masks}, inside the data set; give an --out elsewhere")
    split: dict[str, str] = {}
    found = Collection([], {PUBLISHED: split}, notes=[f"masks drawn from polygons: {masks}"])
    if len(files) < len(parts) or (root / LESION).is_dir():
        found.notes.append("the stenosis half outlines lesions, not vessels: left out")
    for section, path in files.items():
        for outlines in tqdm(read_coco(path), f"drawing {section}", unit="image"):
            name = Path(outlines.file_name).name
            image, case = path.parents[1] / "images" / name, f"{path.parents[1].name}_{Path(name).stem}"
            if not image.is_file() or not outlines.polygons:
                found.unmatched.append(image.relative_to(root).as_posix())
                continue
            label = masks / f"{case}.png"
            with replacing(label) as temporary:
                Image.fromarray(rasterize(outlines).astype(np.uint8) * 255).save(temporary)
            found.cases.append(Case(case, image, label))
            split[case] = section
    return found


def is_xcad(root: Path) -> str | None:
    """Say by what a folder is that of XCAD: a labelled test part, and training images without masks."""
    train = root / "train"
    fits = folder_pair(root / "test") is not None and train.is_dir() and folder_pair(train) is None
    return "masks in test/, none in train/" if fits else None


def collect_xcad(root: Path, _masks: Path) -> Collection:
    """List the 126 labelled stills of XCAD, its test part; the 1621 pairs for training have no masks."""
    cases, unmatched = pair_up(*(folder_pair(root / "test") or ()))
    unlabelled = sum(1 for path in (root / "train").rglob("*.png") if not path.name.startswith("."))
    notes = [f"{unlabelled} images in {root / 'train'} have no masks: left out"]
    return Collection(cases, {PUBLISHED: {case.name: "test" for case in cases}}, unmatched, notes)


def _dca1_folder(root: Path) -> Path | None:
    """Return the folder with the files of DCA1: the root, or the one in it."""
    folders = [root, *(entry for entry in sorted(root.iterdir()) if entry.is_dir())]
    return next((f for f in folders if any(_DCA1_LABEL.fullmatch(path.name) for path in f.iterdir())), None)


def _coco_files(root: Path) -> dict[str, Path]:
    """Return the annotations of each part of ARCADE by section; the syntax half goes before the other."""
    found: dict[str, Path] = {}
    for pattern in ("*/annotations/*.json", "syntax/*/annotations/*.json", "*/*/annotations/*.json"):
        for path in sorted(root.glob(pattern)):
            section = section_of(path.parents[1].name)
            if section and not path.name.startswith(".") and (path.parents[1] / "images").is_dir():
                found.setdefault(section, path)
        if found:
            break
    return found
