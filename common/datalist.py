"""A data list out of the folders that a data set comes in, with a report of what was found."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .datasets import SECTIONS
from .files import check_writable, write_json_file
from .layouts.binary import binarized
from .layouts.case import PUBLISHED, Case, Collection
from .layouts.nnunet_export import export_nnunet
from .layouts.table import AUTO, LAYOUTS, MODALITIES, choose_layout, describe_layouts, modality_of
from .lint.findings import CaseReport, Finding
from .lint.pool import inspect_cases
from .lint.report import Report, write_report
from .lint.whole import compare_cases, summarize
from .splits import check_named, fold_of_each, sections_of, some

EXPORTS = ("nnunet",)
LISTED = 5  # names that are printed of many


def datalist(
    root: str,
    out: str,
    layout: str = AUTO,
    folds: str | int | None = None,
    validation: float | None = None,
    test: float | None = None,
    split: str | None = None,
    groups: str | None = None,
    seed: int = 0,
    modality: str = AUTO,
    binary: bool = False,
    export: str | None = None,
    workers: int = 2,
) -> None:
    """Write the data list of a folder of labelled images, and a report of what is wrong with them.

    Nothing in ROOT is changed. The list names files inside its own folder relative to it, others by whole paths; beside
    it go the report, OUT without .json and with _lint.html and _lint.json. Cases that cannot be loaded are left out.
    Layouts: see the error for an unknown one. The cases go into sections by the first of these that applies:
    --folds; --test; the publishers' split; --validation; else all are for training.

    Args:
        root: folder of the data set, as it was unpacked.
        out: JSON file to write; masks that have to be drawn from polygons go to <out>_masks/ beside it.
        layout: auto, imagecas, imagecas-x, asoca, cat08, totalsegmentator, nnunet, dca1, arcade, xcad or pairs.
        folds: for cross-validation: a number of folds; a JSON file [{"name": ..., "fold": ..., "group": ...}, ...]; or
            published, for those of nnU-Net. All cases then go to "training" with their fold.
        validation: share of the training cases that goes to "validation".
        test: share of all cases that goes to "test".
        split: which of the publishers' splits, where there are several: Split-2 of ImageCAS, "fold 3" of nnU-Net.
        groups: JSON file {"case": "patient", ...}: cases of one patient stay together.
        seed: of the random choice of folds, validation and test.
        modality: ct or xca (X-ray angiograms), where the format does not tell.
        binary: for a label of other values than 0 and 1 (of a CT or a still), write (label > 0) to <out>_masks/ beside,
            and list that.
        export: nnunet, to write nnUNet_raw/Dataset500_<name> beside OUT too, of links to the files.
        workers: processes that check cases; each needs 1.1 GB where volumes are 512 x 512 x 275.

    Raises:
        ValueError: If the folder is in no known layout or in several, no case can be loaded, a case is in no fold or
            group, or options contradict each other.
        OSError: If a file is absent or cannot be written.
    """
    target = Path(out)
    _check_options(target, folds, validation, test, modality, export)
    if binary and target.resolve().is_relative_to(Path(root).resolve()):
        raise ValueError(f"masks would be written beside {target}, inside the data set; give an --out elsewhere")
    check_writable(target.parent)
    name, why = choose_layout(Path(root), layout)
    print(f"layout: {name}, by {why}")
    masks = target.with_name(f"{target.stem}_masks")  # not "masks": beside it may lie the list of another data set
    found = LAYOUTS[name].collect(Path(root), masks)
    if not found.cases:
        raise ValueError(f"{root}, read as {name}, has no labelled image; {describe_layouts()}")
    plan = _plan(found, folds, validation, test, split, groups, seed)
    kind = modality_of(found.cases[0].image) if modality == AUTO else modality
    cases = inspect_cases(found.cases, kind, workers)
    plan = plan.only({case.name for case in cases if case.usable})
    if binary:
        found.cases = _binarized(found.cases, cases, masks, kind)
    facts = {"folder": str(root), "layout": f"{name}, by {why}", "modality": kind, "split": plan.origin}
    findings = [*_about_folder(found, plan), *compare_cases(cases, plan.places(), plan.groups)]
    report = Report(Path(root).resolve().name, facts, cases, plan.sections, findings)
    page = target.with_name(f"{target.stem}_lint.html")
    write_report(page, report)
    if not plan.sections:
        raise ValueError(f"no case of {root} can be loaded; {page} says why")
    entries = _entries(found.cases, plan, target.parent)
    write_json_file(target, {"name": f"{report.name} ({name})", **entries})
    print(f"{_printed(report)}\nwritten: {target}, {page}")
    if export is not None:
        listed = [case for case in found.cases if case.name in plan.sections]
        values = {case.name: case.measures.get("label_values", []) for case in cases if case.name in plan.sections}
        folder = export_nnunet(target.parent, report.name, listed, plan.sections, plan.folds, values)
        print(f"exported: {folder}")


class Plan(NamedTuple):
    """Where the cases go.

    Attributes:
        sections: section of each case in the list.
        folds: fold of each case, where there are folds.
        groups: patient of each case that has one.
        origin: what the sections come from, in words.
    """

    sections: dict[str, str]
    folds: dict[str, int]
    groups: dict[str, str]
    origin: str

    def only(self, names: set[str]) -> Plan:
        """Return the plan for some of its cases."""
        return self._replace(sections={name: part for name, part in self.sections.items() if name in names})

    def places(self) -> dict[str, str]:
        """Return the fold of each case, or else its section: what must not share a patient."""
        return {n: f"fold {self.folds[n]}" if n in self.folds else part for n, part in self.sections.items()}


def _check_options(
    target: Path,
    folds: str | int | None,
    validation: float | None,
    test: float | None,
    modality: str,
    export: str | None,
) -> None:
    """Raise unless the options make sense together."""
    if target.suffix != ".json":
        raise ValueError(f"out must be the JSON file to write, such as data/dataset.json, got {target}")
    for name, share in (("validation", validation), ("test", test)):
        if share is not None and not 0 <= share < 1:
            raise ValueError(f"{name} must be a share from 0 to below 1, got {share}")
    if folds is not None and (validation is not None or test is not None):
        raise ValueError("folds and a share for validation or test were given: with folds all cases are for training")
    if modality not in (AUTO, *MODALITIES):
        raise ValueError(f"modality must be auto, ct or xca, got {modality!r}")
    if export not in (None, *EXPORTS):
        raise ValueError(f"export must be one of {', '.join(EXPORTS)}, got {export!r}")


def _plan(
    found: Collection,
    folds: str | int | None,
    validation: float | None,
    test: float | None,
    split: str | None,
    groups: str | None,
    seed: int,
) -> Plan:
    """Give each case its section, and its fold where there are folds."""
    names = [case.name for case in found.cases]
    known = {case.name: case.group for case in found.cases if case.group is not None}
    if groups is not None:
        if isinstance(folds, str) and folds != PUBLISHED:
            raise ValueError("groups and a fold file were given; the fold file has the groups, leave out --groups")
        known = _read_groups(names, groups)
    if folds is not None:
        held, more = fold_of_each(names, folds, known, seed, found.splits)
        return Plan({n: "training" if n in held else "test" for n in names}, held, known | more, f"folds ({folds})")
    name, published = _published(found, split)
    sections = sections_of(names, published, known, validation, test, seed)
    taken = test is None and bool(published)
    if taken and validation and "validation" in published.values():
        raise ValueError(
            f"the published split ({name}) has a validation section, so none is drawn: leave out --validation, or draw "
            "the test too, with --test"
        )
    drawn = [f"{share:g} for {part}" for part, share in (("test", test), ("validation", validation)) if share]
    parts = [f"the publishers' ({name})"] if taken else []
    parts += [f"drawn by patient, {' and '.join(drawn)}, seed {seed}"] if drawn else []
    if not parts:
        parts = ["none: all cases are for training; draw a split with --validation 0.1 --test 0.2, or --folds 5"]
    return Plan(sections, {}, known, "; ".join(parts))


def _published(found: Collection, split: str | None) -> tuple[str, dict[str, str]]:
    """Return name and sections of the publishers' split that is asked for, the first by default."""
    if split is None:
        return next(iter(found.splits.items()), ("", {}))
    if split not in found.splits:
        known = ", ".join(found.splits) or "none"
        raise ValueError(f"split must be one of the published splits ({known}), got {split!r}")
    return split, found.splits[split]


def _read_groups(names: Sequence[str], path: str) -> dict[str, str]:
    """Read the patient of each case."""
    try:
        known = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(known, dict):
        raise ValueError(f'{path} must hold {{"case": "patient", ...}}, got a {type(known).__name__}')
    check_named(names, known, path)
    return {name: str(known[name]) for name in names}


def _binarized(cases: Sequence[Case], reports: Sequence[CaseReport], folder: Path, modality: str) -> list[Case]:
    """Write the masks of labels with other values than 0 and 1, and note it in their reports."""
    found = list(cases)
    for index, report in enumerate(reports):
        values = report.measures.get("label_values", [])
        is_sequence = modality == "xca" and len(report.measures["shape"]) > 2  # pictures hold stills
        if report.usable and not is_sequence and not set(values) <= {0, 1}:
            found[index] = binarized(cases[index], folder, modality)
            report.findings = [finding for finding in report.findings if finding.check != "label values"]
            report.add("note", "label values", f"the list names a mask of (label > 0), {found[index].label}")
            report.measures["label_values"] = [0, 1]
    return found


def _about_folder(found: Collection, plan: Plan) -> list[Finding]:
    """Return what the layout says."""
    findings = [Finding("note", "data set", note) for note in found.notes]
    if found.unmatched:
        text = f"{len(found.unmatched)} files have no partner: {some(found.unmatched, LISTED)}"
        findings.append(Finding("warning", "without partner", text, "they are not in the list; is a file missing?"))
    if plan.folds or not found.splits:
        return findings
    outside = tuple(case.name for case in found.cases if case.name not in plan.sections)
    published = {name for split in found.splits.values() for name in split}
    outside = tuple(name for name in outside if name not in published)
    if outside:
        text = f"{len(outside)} cases are in no published split: {some(outside)}"
        findings.append(Finding("note", "left out", text, "draw a split of all cases with --test", outside))
    return findings


def _entries(cases: Sequence[Case], plan: Plan, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the sections of the list, "training" always and others where they have cases."""
    found: dict[str, list[dict[str, Any]]] = {
        name: [] for name in SECTIONS if name == "training" or name in plan.sections.values()
    }
    for case in cases:
        if case.name not in plan.sections:
            continue
        entry: dict[str, Any] = {"image": _named(case.image, folder)}
        entry |= {"label": _named(case.label, folder)} if case.label is not None else {}
        entry["case"] = case.name
        for key, value in case.extras.items():
            several = isinstance(value, tuple)
            entry[key] = [_named(path, folder) for path in value] if several else value
            if isinstance(value, Path):
                entry[key] = _named(value, folder)
        entry |= {"fold": plan.folds[case.name]} if case.name in plan.folds else {}
        group = plan.groups.get(case.name, case.name)
        found[plan.sections[case.name]].append(entry | ({"group": group} if group != case.name else {}))
    return found


def _named(path: Path, folder: Path) -> str:
    """Return a path as the list names it: inside the list's folder relative to it. Links are not followed."""
    whole, base = Path(os.path.abspath(path)), Path(os.path.abspath(folder))  # noqa: PTH100
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else str(whole)


def _printed(report: Report) -> str:
    """Return the report in a few lines."""
    counts = Counter(report.sections.values())
    summary = summarize(report.cases, report.sections)
    lines = [
        f"split: {report.facts['split']}",
        f"cases: {', '.join(f'{counts[name]} {name}' for name in SECTIONS if counts[name]) or 'none'}",
    ]
    if sizes := summary.get("shape"):
        listed = [f"{size} ({number})" for size, number in sizes.items()]
        lines.append(f"sizes: {some(listed, LISTED)}")
    for finding in report.grouped():
        named = f" [{len(finding.cases)}: {some(finding.cases, LISTED)}]" if finding.cases else ""
        lines.append(f"{finding.severity}: {finding.check}{named}: {finding.text}")
    if summary["left_out"]:
        lines.append(f"left out of the list ({len(summary['left_out'])}): {some(summary['left_out'])}")
    return "\n".join(lines)
