"""A raw folder of nnU-Net v2 made of links, so that a data set is trained there without a copy of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..centerline.branch import BRANCH_LABELS
from ..files import check_writable, replacing, write_json_file
from .case import Case
from .nnunet import SPLITS

# what nnU-Net's readers (NibabelIO, SimpleITKIO, NaturalImage2DIO) take; MetaImage only in one file
ENDINGS = (".nii.gz", ".nrrd", ".mha", ".png", ".bmp", ".tif")
FIRST = 500  # nnU-Net finds a data set by its number, which two must not share; those from 500 are free


def export_nnunet(
    parent: Path,
    name: str,
    cases: Sequence[Case],
    sections: Mapping[str, str],
    folds: Mapping[str, int],
    values: Mapping[str, Sequence[float]],
) -> Path:
    """Write ``<parent>/nnUNet_raw/Dataset500_<name>`` with links to the images and labels.

    Where another data set has the number 500, it is the next one that is free.

    Args:
        parent: folder to write to.
        name: of the data set.
        cases: all that are in the data list.
        sections: section of each; those of "test" go to imagesTs and labelsTs.
        folds: fold of each case, of cross-validation; else "validation" is the one fold there is.
        values: label values of each case.

    Returns:
        The folder, with dataset.json and, where there are folds or a validation section, splits_final.json, which
        belongs to ``nnUNet_preprocessed/Dataset500_<name>``.

    Raises:
        ValueError: If the files are not of one format that nnU-Net reads, or labels have values that it refuses.
        OSError: If links cannot be made, or a file lies where one should be.
    """
    ending = _ending(cases)
    classes = _classes(values)
    folder = _folder(parent / "nnUNet_raw", re.sub("[^A-Za-z0-9]+", "", name) or "Coronary")
    links = {}
    for case in cases:
        part = "Ts" if sections[case.name] == "test" else "Tr"
        if case.label is not None:
            links[folder / f"images{part}" / f"{case.name}_0000{ending}"] = case.image
            links[folder / f"labels{part}" / f"{case.name}{ending}"] = case.label
    for link in links:
        if link.exists() and not link.is_symlink():
            raise FileExistsError(f"{link} is a file, not a link of an earlier export: move it away, it would be lost")
    _remove_links(folder)
    for link, target in links.items():
        _link(link, target)
    training = [case.name for case in cases if sections[case.name] != "test"]
    content = {
        "channel_names": {"0": "CT" if ending in ENDINGS[:3] else "XA"},
        "labels": {"background": 0} | {_class_name(value, classes): value for value in classes},
        "numTraining": len(training),
        "file_ending": ending,
    }
    write_json_file(folder / "dataset.json", content)
    (folder / SPLITS).unlink(missing_ok=True)
    if splits := _splits(training, sections, folds):
        with replacing(folder / SPLITS) as temporary:
            temporary.write_text(json.dumps(splits, indent=1), encoding="ascii")
    return folder


def _folder(parent: Path, name: str) -> Path:
    """Return the folder of a data set: the one of its name, else with the first number that none has."""
    numbers = {path.name.partition("_")[2]: path for path in sorted(parent.glob("Dataset[0-9][0-9][0-9]_*"))}
    taken = {path.name.partition("_")[0] for path in numbers.values()}
    free = next(f"Dataset{n}" for n in range(FIRST, FIRST + len(taken) + 1) if f"Dataset{n}" not in taken)
    return numbers.get(name, parent / f"{free}_{name}")


def _ending(cases: Sequence[Case]) -> str:
    """Return the suffix that all files have."""
    files = [path for case in cases for path in (case.image, case.label) if path is not None]
    found = {next((e for e in ENDINGS if path.name.lower().endswith(e)), path.suffix or "a folder") for path in files}
    if len(found) != 1 or not found <= set(ENDINGS):
        raise ValueError(
            f"nnU-Net reads images and labels of one format, one of {', '.join(ENDINGS)}; these are "
            f"{', '.join(sorted(found))}: convert them first"
        )
    return found.pop()


def _classes(values: Mapping[str, Sequence[float]]) -> list[int]:
    """Return the classes 1 ... n of all labels."""
    found = sorted({value for listed in values.values() for value in listed} - {0})
    highest = max(found, default=1)
    if not all(float(value).is_integer() and 0 < value <= len(BRANCH_LABELS) for value in found):
        raise ValueError(
            f"nnU-Net needs labels 0, 1, 2, ... without gaps, these hold {', '.join(f'{value:g}' for value in found)}; "
            "--binary True writes masks of (label > 0), and links those"
        )
    return list(range(1, int(highest) + 1))


def _class_name(value: int, classes: Sequence[int]) -> str:
    return "coronary" if len(classes) == 1 else BRANCH_LABELS[value]


def _splits(training: Sequence[str], sections: Mapping[str, str], folds: Mapping[str, int]) -> list[dict[str, object]]:
    """Return nnU-Net's splits, one for each fold."""
    held = {name: folds[name] for name in training if name in folds}
    if not held:
        held = {name: 0 for name in training if sections[name] == "validation"}
    return [
        {
            "train": [name for name in training if held.get(name) != fold],
            "val": [name for name in training if held.get(name) == fold],
        }
        for fold in sorted(set(held.values()))
    ]


def _remove_links(folder: Path) -> None:
    """Remove what an earlier export left: a case that is for the test now would stay with the training."""
    for link in folder.glob("*T[rs]/*"):
        if link.is_symlink():
            link.unlink()


def _link(link: Path, target: Path) -> None:
    check_writable(link.parent)
    try:
        link.symlink_to(os.path.abspath(target))  # noqa: PTH100  # resolve() would follow a link of the user's
    except OSError as error:
        raise OSError(f"cannot link {link} to {target} ({error}): this file system, or Windows, forbids it") from error
