"""A data list out of the folders that a data set comes in, with a report of what was found."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .angiograms.folds import draw_cases, make_folds, read_folds
from .angiograms.layouts import LAYOUTS, Case, Collection
from .angiograms.lists import common_size
from .angiograms.masks import read_masks
from .files import check_writable, write_json_file

AUTO = "auto"
LISTED = 10  # names of unmatched files that are printed


def datalist(
    root: str,
    out: str,
    layout: str = AUTO,
    folds: str | int | None = None,
    validation: float | None = None,
    test: float | None = None,
    groups: str | None = None,
    seed: int = 0,
) -> None:
    """Write the data list of a folder of labelled images, and print what is in it.

    Nothing in ROOT is changed. The list names files inside its own folder relative to it, others by whole paths.
    Layouts: see the error for an unknown one. The cases go into sections by the first of these that applies:
    --folds; --test; the publishers' split; --validation; else all are for training.

    Args:
        root: folder of the data set, as it was unpacked.
        out: JSON file to write; masks that have to be drawn from polygons go to masks/ beside it.
        layout: auto, dca1, arcade, xcad or pairs.
        folds: for cross-validation: a number of folds, or a JSON file [{"name": ..., "fold": ..., "group": ...}, ...].
            All cases then go to "training" with their fold.
        validation: share of the training cases that goes to "validation".
        test: share of all cases that goes to "test".
        groups: JSON file {"case": "patient", ...}: cases of one patient stay together.
        seed: of the random choice of folds, validation and test.

    Raises:
        ValueError: If the folder is in no known layout or in several, an image and its label differ in size or place, a
            case is in no fold or group, or folds and shares were both given.
        OSError: If a file is absent or cannot be written.
    """
    target = Path(out)
    if target.suffix != ".json":
        raise ValueError(f"out must be the JSON file to write, such as data/dataset.json, got {out}")
    for name, share in (("validation", validation), ("test", test)):
        if share is not None and not 0 <= share < 1:
            raise ValueError(f"{name} must be a share from 0 to below 1, got {share}")
    if folds is not None and (validation is not None or test is not None):
        raise ValueError("folds and a share for validation or test were given: with folds all cases are for training")
    check_writable(target.parent)
    name = _choose(Path(root), layout)
    found = LAYOUTS[name].collect(Path(root), target.parent / "masks")
    if not found.cases:
        raise ValueError(f"{root}, read as {name}, has no labelled image; {_layouts()}")
    report = _report(found)  # before anything is written: it checks each case
    known = _groups_of(found.cases, groups)
    sections = _by_fold(found.cases, folds, known, seed) if folds is not None else None
    if sections is None:
        sections = _by_share(found, known, validation, test, seed)
    entries = {section: [_entry(case, target.parent) for case in cases] for section, cases in sections.items()}
    write_json_file(target, {"name": f"{Path(root).resolve().name} ({name})", **entries})
    counts = ", ".join(f"{len(cases)} {section}" for section, cases in sections.items())
    print(f"layout: {name} ({LAYOUTS[name].description})\ncases: {counts}\n{report}\nwritten: {target}")


def _choose(root: Path, layout: str) -> str:
    """Return the name of the layout that a folder is in."""
    if not root.is_dir():
        raise NotADirectoryError(f"there is no folder {root}")
    if layout not in (AUTO, *LAYOUTS):
        raise ValueError(f"layout must be auto or one of {', '.join(LAYOUTS)}, got {layout!r}; {_layouts()}")
    fitting = [name for name, known in LAYOUTS.items() if known.recognise(root)]
    if layout == AUTO and len(fitting) == 1:
        return fitting[0]
    if layout in fitting:
        return layout
    if layout == AUTO and fitting:
        raise ValueError(f"{root} looks like {' and '.join(fitting)}; choose one with --layout; {_layouts()}")
    raise ValueError(f"{root} does not look like {'any known layout' if layout == AUTO else layout}; {_layouts()}")


def _layouts() -> str:
    return "layouts are: " + "; ".join(f"{name}: {layout.description}" for name, layout in LAYOUTS.items())


def _groups_of(cases: Sequence[Case], groups: str | None) -> dict[str, str] | None:
    """Read the patient of each case."""
    if groups is None:
        return None
    try:
        known = json.loads(Path(groups).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"cannot read {groups}: {error}") from error
    if not isinstance(known, dict):
        raise ValueError(f'{groups} must hold {{"case": "patient", ...}}, got a {type(known).__name__}')
    _check_named(cases, known, groups)
    return {case["case"]: str(known[case["case"]]) for case in cases}


def _by_fold(
    cases: Sequence[Case], folds: str | int, groups: dict[str, str] | None, seed: int
) -> dict[str, list[Case]]:
    """Give each case its fold, of a file or drawn; all go to "training"."""
    names = [case["case"] for case in cases]
    if isinstance(folds, int):
        labels = None if groups is None else [groups[name] for name in names]
        drawn = make_folds(names, folds, seed, groups=labels)
        known: dict[str, dict[str, Any]] = {name: {"fold": fold} for name, fold in zip(names, drawn, strict=True)}
        for name, group in (groups or {}).items():
            known[name]["group"] = group
    elif groups is not None:
        raise ValueError("groups and a fold file were given; the fold file has the groups, leave out --groups")
    else:
        known = read_folds(folds)
        _check_named(cases, known, folds)
    return {"training": [case | known[case["case"]] for case in cases]}


def _by_share(
    found: Collection, groups: dict[str, str] | None, validation: float | None, test: float | None, seed: int
) -> dict[str, list[Case]]:
    """Put the cases into sections: those of the publishers, or shares drawn in whole groups."""
    grouped = groups or {}
    cases = [case | ({"group": grouped[case["case"]]} if grouped else {}) for case in found.cases]
    section = {case["case"]: "training" for case in cases} if test is not None or not found.official else found.official
    for name, share in (("test", test), ("validation", validation)):
        rest = [case["case"] for case in cases if section[case["case"]] == "training"]
        if share and (name == "test" or name not in section.values()):
            whole = len(cases) if name == "test" else len(rest)
            drawn = draw_cases({case: grouped.get(case, case) for case in rest}, round(share * whole), seed)
            section = section | dict.fromkeys(drawn, name)
    return {
        name: [case for case in cases if section[case["case"]] == name]
        for name in ("training", "validation", "test")
        if name == "training" or name in section.values()
    }


def _check_named(cases: Sequence[Case], known: dict[str, Any], source: str) -> None:
    """Raise if a file about cases leaves some out, and say which of its names are none of theirs."""
    names = {case["case"] for case in cases}
    missing = sorted(names - known.keys())
    if missing:
        raise ValueError(
            f"{source} leaves out {len(missing)} of {len(names)} cases ({_some(missing)}); add them, by the names of "
            "their images without suffix"
        )
    if known.keys() - names:
        print(f"in {source} but not in the data set: {_some(sorted(known.keys() - names))}")


def _entry(case: Case, folder: Path) -> Case:
    """Return a case as the list names it: files inside the list's folder relative to it."""
    entry = dict(case)
    for key in ("image", "label"):
        path, base = case[key].resolve(), folder.resolve()
        entry[key] = path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
    return entry


def _report(found: Collection) -> str:
    """Check each case, and say what a user should know before training."""
    sizes: Counter[str] = Counter()
    shares: dict[str, float] = {}
    files: dict[str, list[str]] = {}
    for case in found.cases:
        size = common_size(case)
        sizes[f"{size.width} x {size.height}" + (f" x {size.frames}" if size.frames > 1 else "")] += 1
        shares[case["case"]] = float(read_masks(case["label"]).mean())
        if case["image"].is_file():
            digest = hashlib.sha256(case["image"].read_bytes()).hexdigest()
            files.setdefault(digest, []).append(case["case"])
    values = list(shares.values())
    empty = [case for case, share in shares.items() if share == 0]
    lines = [
        f"sizes: {', '.join(f'{size} ({number})' for size, number in sizes.most_common())}",
        f"label share: mean {np.mean(values):.3%}, {min(values):.3%} to {max(values):.3%}",
        *([f"labels without vessel: {_some(empty)}"] if empty else []),
        *(f"the same image twice: {', '.join(cases)}" for cases in files.values() if len(cases) > 1),
        *([f"without partner ({len(found.unmatched)}): {_some(found.unmatched)}"] if found.unmatched else []),
        *found.notes,
    ]
    return "\n".join(lines)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
