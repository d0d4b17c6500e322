"""Scores of a data set: one CSV row for each case, a summary in JSON, and a table to read."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import replacing

Scores = Mapping[str, Mapping[str, float]]
"""What :func:`.metrics.score_case` returns, by case."""


def write_scores(
    scores: Scores,
    folder: str | Path,
    unmatched: Mapping[str, Sequence[str]] | None = None,
    notes: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> None:
    """Write ``metrics.csv`` and ``summary.json`` and print the summary.

    Args:
        scores: of every case, by its name; at least one.
        folder: where to write; made if it is absent.
        unmatched: files that had no partner, by the side they are on; goes into the summary.
        notes: what else the summary shall say, by name.
        quiet: print nothing.

    Raises:
        OSError: If a file cannot be written.
    """
    folder = Path(folder)
    partners = {side: list(names) for side, names in (unmatched or {}).items()}
    summary = summarize(scores) | {"without_partner": partners} | dict(notes or {})
    write_report(folder, ("case",), {(case,): row for case, row in scores.items()}, summary)
    if not quiet:
        print(f"{render(summary)}\n\nwritten: {folder / 'metrics.csv'}, {folder / 'summary.json'}", flush=True)


def write_report(
    folder: Path,
    names: Sequence[str],
    rows: Mapping[tuple[Any, ...], Mapping[str, float]],
    summary: Mapping[str, Any],
) -> None:
    """Write ``metrics.csv``, one row for each entry of ``rows``, and ``summary.json``, with NaN as nothing and as null.

    Args:
        folder: where to write; made if it is absent.
        names: columns in front of the scores, what a row is of.
        rows: the scores by the values of these columns; at least one, all of the same metrics.
        summary: what the JSON file shall hold.

    Raises:
        OSError: If a file cannot be written.
    """
    ordered = sorted(rows)
    with replacing(folder / "metrics.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*names, *rows[ordered[0]]])
        for key in ordered:
            table.writerow([*key, *map(_cell, rows[key].values())])
    with replacing(folder / "summary.json") as path:
        path.write_text(json.dumps(_without_nan(summary), indent=1) + "\n", encoding="utf-8")


def summarize(scores: Scores) -> dict[str, Any]:
    """Summarize the scores of a data set.

    Args:
        scores: of every case, by its name; at least one.

    Returns:
        * ``cases``: their number;
        * ``metrics``: for each metric ``mean``, ``sd`` (of the sample; NaN for one value), ``median`` and ``n``, the
          number of values. Only a recall by diameter can have fewer values than there are cases: a label without
          vessels of that diameter says nothing about it. Failures have values, and stay;
        * ``failures``: ``empty_prediction``, ``empty_label`` and ``missed_vessel`` (at least one component of the label
          without a predicted voxel), each with its number ``n`` and the ``cases``.
    """
    return {"cases": len(scores), "metrics": statistics(list(scores.values())), "failures": _failures(scores)}


def statistics(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return ``mean``, ``sd``, ``median`` and ``n`` of each metric over ``rows``, see :func:`summarize`."""
    return {name: _statistics(np.array([row[name] for row in rows])) for name in rows[0]}


def render(summary: Mapping[str, Any]) -> str:
    """Return the summary as a table of text."""
    lines = [render_statistics(summary["metrics"])]
    for failure, found in summary["failures"].items():
        listed = f": {', '.join(found['cases'])}" if found["cases"] else ""
        lines.append(f"{failure.replace('_', ' ')}: {found['n']} of {summary['cases']} cases{listed}")
    return "\n".join(lines)


def render_statistics(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Return the statistics of each metric as a table of text."""
    width = max(map(len, metrics))
    lines = [f"{'metric':{width}}  {'mean':>9}  {'sd':>9}  {'median':>9}  {'n':>4}"]
    for name, values in metrics.items():
        cells = "  ".join(f"{_short(values[key]):>9}" for key in ("mean", "sd", "median"))
        lines.append(f"{name:{width}}  {cells}  {values['n']:>4}")
    return "\n".join(lines)


def _statistics(values: NDArray[np.float64]) -> dict[str, float]:
    found = values[~np.isnan(values)]
    return {
        "mean": float(found.mean()) if len(found) else math.nan,
        "sd": float(found.std(ddof=1)) if len(found) > 1 else math.nan,
        "median": float(np.median(found)) if len(found) else math.nan,
        "n": len(found),
    }


def _failures(scores: Scores) -> dict[str, dict[str, Any]]:
    tests: dict[str, Callable[[Mapping[str, float]], bool]] = {
        "empty_prediction": lambda row: row["prediction_volume_mm3"] == 0,
        "empty_label": lambda row: row["label_volume_mm3"] == 0,
        "missed_vessel": lambda row: row["missed_components"] > 0,
    }
    cases = {failure: [case for case in sorted(scores) if failed(scores[case])] for failure, failed in tests.items()}
    return {failure: {"n": len(found), "cases": found} for failure, found in cases.items()}


def _cell(value: float) -> str:
    """Write a score: counts whole, however large."""
    if math.isnan(value):
        return ""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.6g}"


def _without_nan(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by null."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"
