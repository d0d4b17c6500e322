"""What shows only when all cases of a data set are seen together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .findings import SEVERITIES, CaseReport, Finding

FAR = 4.0  # times the median volume of the labels, or a quarter of it
MANY = 8  # labels, for their median to say something
RARE = 0.2  # share of cases without contrast in a set with contrast, or the other way round, that looks like a mistake


def compare_cases(
    reports: Sequence[CaseReport], sections: Mapping[str, str], groups: Mapping[str, str]
) -> list[Finding]:
    """Return what is the matter between cases.

    Args:
        reports: of the cases.
        sections: section of each case in the data list; those left out have none.
        groups: patient of each case that has one.
    """
    return [
        *_duplicates(reports, sections),
        *_split_patients(sections, groups),
        *_contrast(reports),
        *_volumes(reports),
        *_orientations(reports),
    ]


def summarize(reports: Sequence[CaseReport], sections: Mapping[str, str]) -> dict[str, Any]:
    """Return counts and ranges over the cases, as JSON holds them."""
    found: dict[str, Any] = {
        "cases": len(reports),
        "sections": dict(Counter(sections.values())),
        "left_out": [report.name for report in reports if not report.usable],
        "severities": {
            severity: sum(any(f.severity == severity for f in report.findings) for report in reports)
            for severity in SEVERITIES
        },
    }
    for key in ("orientation", "shape", "type", "contrast", "hounsfield", "format"):
        counts = Counter(_word(report.measures[key]) for report in reports if key in report.measures)
        if counts:
            found[key] = dict(counts.most_common())
    values = Counter(value for report in reports for value in report.measures.get("label_values", ()))
    if values:
        found["label_values"] = {f"{value:g}": values[value] for value in sorted(values)}
    for key, of in _RANGES.items():
        numbers = [value for report in reports for value in of(report.measures)]
        if numbers:
            found[key] = [round(float(value), 4) for value in (min(numbers), np.median(numbers), max(numbers))]
    return found


def _one(key: str) -> Callable[[Mapping[str, Any]], Iterable[float]]:
    return lambda measures: [measures[key]] if key in measures else []


_RANGES: dict[str, Callable[[Mapping[str, Any]], Iterable[float]]] = {
    "shortest_edge_mm": lambda measures: sorted(measures["spacing_mm"])[:1] if "spacing_mm" in measures else [],
    "longest_edge_mm": lambda measures: [max(measures["spacing_mm"])] if "spacing_mm" in measures else [],
    "lowest_value": lambda measures: measures.get("range", [])[:1],
    "highest_value": lambda measures: measures.get("range", [])[1:],
    "blood_hu": _one("blood_hu"),
    "lumen_hu": _one("lumen_hu"),
    "label_ml": _one("label_ml"),
    "label_share": _one("label_share"),
    "pieces": _one("pieces"),
}


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _duplicates(reports: Sequence[CaseReport], sections: Mapping[str, str]) -> list[Finding]:
    """Say which images, and which labels of different images, are the same."""
    found = []
    for cases in _alike((report.image_hash, report.name) for report in reports):
        spread = sorted({sections[case] for case in cases if case in sections})
        several = len(spread) > 1
        found.append(
            Finding(
                "error" if several else "warning",
                "duplicate image",
                f"the same image {len(cases)} times: {', '.join(cases)}" + (f", in {' and '.join(spread)}" * several),
                "remove all but one" + (", or name them one patient with --groups" if several else ""),
                cases,
            )
        )
    images = {report.name: report.image_hash for report in reports}
    for cases in _alike((report.label_hash, report.name) for report in reports):
        if len({images[case] for case in cases}) > 1:
            text = f"the same label for different images: {', '.join(cases)}"
            found.append(Finding("warning", "duplicate label", text, "was a file copied to the wrong name?", cases))
    return found


def _alike(hashes: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return the names that share a hash."""
    names: dict[str, list[str]] = {}
    for key, name in hashes:
        if key:
            names.setdefault(key, []).append(name)
    return [tuple(group) for group in names.values() if len(group) > 1]


def _split_patients(sections: Mapping[str, str], groups: Mapping[str, str]) -> list[Finding]:
    """Say which patients are in two sections."""
    members: dict[str, list[str]] = {}
    for case in sections:
        if case in groups:
            members.setdefault(groups[case], []).append(case)
    return [
        Finding(
            "error",
            "split patient",
            f"patient {group} is in {' and '.join(sorted({sections[case] for case in cases}))}: {', '.join(cases)}",
            "draw a split by patient with --test and --validation, or take these cases out of one section",
            tuple(cases),
        )
        for group, cases in members.items()
        if len({sections[case] for case in cases}) > 1
    ]


def _contrast(reports: Sequence[CaseReport]) -> list[Finding]:
    """Say which cases have contrast, or none, unlike nearly all others."""
    known = {report.name: report.measures["contrast"] != "none" for report in reports if "contrast" in report.measures}
    for rare, word, cure in (
        (False, "no contrast", "the CCTA bundles find nothing without; syncas_bundle is made for such scans"),
        (True, "contrast", "syncas_bundle expects scans without"),
    ):
        cases = tuple(name for name, contrast in known.items() if contrast is rare)
        if cases and len(cases) <= RARE * len(known):
            text = f"{len(cases)} of {len(known)} scans have {word}, unlike the others: {', '.join(cases[:20])}"
            return [Finding("warning", "contrast", text, cure, cases)]
    if known and not any(known.values()):
        text = "no scan has contrast (no compact region above 150 HU)"
        return [Finding("note", "contrast", text, "the CCTA bundles need it; syncas_bundle is made for such scans")]
    if len(set(known.values())) > 1:
        text = f"{sum(known.values())} of {len(known)} scans have contrast"
        return [Finding("warning", "contrast", text, "make a list for each kind: no bundle is made for both")]
    return []


def _volumes(reports: Sequence[CaseReport]) -> list[Finding]:
    """Say which labels are far larger or smaller than the others."""
    key = "label_ml" if any("label_ml" in report.measures for report in reports) else "label_share"
    sizes = {report.name: report.measures[key] for report in reports if report.measures.get(key)}
    if len(sizes) < MANY:
        return []
    median = float(np.median(list(sizes.values())))
    cases = tuple(name for name, size in sizes.items() if not median / FAR <= size <= median * FAR)
    if not cases:
        return []
    listed = ", ".join(f"{name} ({sizes[name] / median:.2g} times)" for name in cases[:20])
    text = f"labels more than {FAR:g} times larger or smaller than the median: {listed}"
    return [Finding("note", "unusual labels", text, "look at their pictures", cases)]


def _orientations(reports: Sequence[CaseReport]) -> list[Finding]:
    """Say that volumes are stored in different orientations."""
    counts = Counter(report.measures["orientation"] for report in reports if "orientation" in report.measures)
    if len(counts) < 2:
        return []
    listed = ", ".join(f"{axes} ({number})" for axes, number in counts.most_common())
    return [Finding("note", "orientations", f"axes are stored in different orientations: {listed}; loading turns all")]
