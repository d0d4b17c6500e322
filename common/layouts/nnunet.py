"""Raw folders of nnU-Net, and of the Medical Segmentation Decathlon, which they descend from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..angiograms.sources import IMAGE_SUFFIXES
from ..grids import VOLUME_SUFFIXES
from .case import Case, Collection, files_in

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_SUFFIXES = (*VOLUME_SUFFIXES, *IMAGE_SUFFIXES)
SPLITS = "splits_final.json"


def is_nnunet(root: Path) -> str | None:
    """Say by what a folder is a raw folder of nnU-Net."""
    return "imagesTr/ and labelsTr/" if all((root / name).is_dir() for name in ("imagesTr", "labelsTr")) else None


def collect_nnunet(root: Path, _masks: Path) -> Collection:
    """List a raw folder: ``imagesTr/case_0000.nii.gz`` with ``labelsTr/case.nii.gz``, and those of Ts for the test.

    Each entry of ``splits_final.json``, here or where nnU-Net keeps it (``nnUNet_preprocessed/<data set>``), is a
    split, named "fold 0" and so on; without it all of imagesTr is for training.

    Raises:
        ValueError: If a file of splits is no such JSON.
    """
    found = Collection([])
    parts = {part: _cases(root, part, found) for part in ("Tr", "Ts")}
    trained = {case.name for case in parts["Tr"]}
    if twice := [case.name for case in parts["Ts"] if case.name in trained]:
        found.notes.append(
            f"the same name in imagesTr and imagesTs: {', '.join(twice[:10])}; in the test it is Ts_NAME"
        )
        parts["Ts"] = [replace(c, name=f"Ts_{c.name}") if c.name in trained else c for c in parts["Ts"]]
    found.cases = [case for cases in parts.values() for case in cases]
    test = {case.name: "test" for case in parts["Ts"]}
    whole = root.resolve()
    places = (root / SPLITS, whole.parent.parent / "nnUNet_preprocessed" / whole.name / SPLITS)
    path = next((place for place in places if place.is_file()), None)
    if path is not None:
        found.splits = {f"fold {n}": fold | test for n, fold in enumerate(_folds(path))}
    elif test:
        found.splits = {"folders": {case.name: "training" for case in parts["Tr"]} | test}
    return found


def _cases(root: Path, part: str, found: Collection) -> list[Case]:
    """Return the cases of one part; what has no partner goes to ``found.unmatched``."""
    images = _named(root / f"images{part}")
    labels = _named(root / f"labels{part}")
    numbered = bool(images) and all(_CHANNEL.fullmatch(name) for name in images)
    channelled = numbered and not images.keys() & labels.keys()  # a label has no channel: then it is the case's number
    cases, channels = [], set()
    for name, path in images.items():
        match = _CHANNEL.fullmatch(name) if channelled else None
        case, channel = (match[1], match[2]) if match else (name, "0000")
        channels.add(channel)
        if channel == "0000" and case in labels:
            cases.append(Case(case, path, labels[case]))
        elif channel == "0000":
            found.unmatched.append(f"{path.parent.name}/{path.name}")
    with_image = {case.name for case in cases}
    found.unmatched += [f"{path.parent.name}/{path.name}" for name, path in labels.items() if name not in with_image]
    if len(channels) > 1:
        found.notes.append(f"images{part} has {len(channels)} channels for each case: only the first, _0000, is listed")
    return cases


def _named(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their name without suffix."""
    return {
        path.name[: -len(suffix)]: path
        for path in files_in(folder)
        for suffix in [next((s for s in _SUFFIXES if path.name.lower().endswith(s)), "")]
        if suffix
    }


def _folds(path: Path) -> list[dict[str, str]]:
    """Return the section of each case in each fold."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return [_sections(fold["train"], fold["val"]) for fold in content]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{path} must be a list such as [{{"train": ["case", ...], "val": [...]}}, ...]: {error!r}'
        ) from error


def _sections(training: Sequence[str], validation: Sequence[str]) -> dict[str, str]:
    return dict.fromkeys(training, "training") | dict.fromkeys(validation, "validation")
