"""Scores of vessel masks of angiograms: by frame, by sequence, pooled over all pixels, and over folds."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from ..files import check_writable
from ..metrics import score_shape
from ..score_handler import ScoreHandler, binary_mask
from ..score_report import render_statistics, statistics, write_report
from .masks import read_masks
from .motion import consecutive_dice

COUNTS = ("true_positives", "false_positives", "false_negatives")
UNREFINED = "unrefined"  # in front of the scores of the masks before refinement
COLUMNS = ("case", "frame")

Frame = tuple[str, int]
"""The case and the number of a frame."""
Rows = Mapping[Frame, Mapping[str, float]]
"""Scores of frames: those of :func:`score_frame` and more, all of the same metrics."""


def score_frame(pred: NDArray[np.bool_], label: NDArray[np.bool_]) -> dict[str, float]:
    """Score the mask of one frame.

    Args:
        pred: predicted mask, ``(H, W)``.
        label: reference mask, same shape.

    Returns:
        Values by name:

        * ``dice``, ``iou``, ``recall`` (the detection rate DR), ``precision``, and ``fnr``, which is 1 - recall;
        * ``cldice``, ``topology_precision``, ``topology_sensitivity``, see :func:`.metrics.cldice`;
        * ``components`` and ``label_components``, 8-connected, and ``betti0_error``, by how many they differ;
        * ``true_positives``, ``false_positives`` and ``false_negatives`` in pixels.

        Two empty masks score 1 (``fnr`` 0), one empty mask scores 0 (``fnr`` 1).

    Raises:
        ValueError: If the shapes differ.
    """
    pred, label = np.asarray(pred, dtype=bool), np.asarray(label, dtype=bool)
    shape = score_shape(pred, label)
    both = int(np.count_nonzero(pred & label))
    numbers = (both, int(np.count_nonzero(pred)) - both, int(np.count_nonzero(label)) - both)
    counts = dict(zip(COUNTS, map(float, numbers), strict=True))
    overlap = {name: shape.pop(name) for name in ("dice", "recall", "precision")}
    dice = overlap.pop("dice")
    return {"dice": dice, "iou": dice / (2 - dice), **overlap, "fnr": 1 - overlap["recall"], **shape, **counts}


class FrameScores(ScoreHandler[Frame]):
    """Handler that scores what a ``SupervisedEvaluator`` predicts for angiograms, frame by frame.

    For ``val_handlers``, before a ``StatsHandler``. After postprocessing every item must hold the binary masks "pred"
    and "label", ``(T, H, W)``, and may hold the masks before a refinement. Writes ``metrics.csv``, one row for each
    frame, and ``summary.json`` (see :func:`summarize_frames`). The means over frames and, as ``pooled_dice`` and so on,
    the pooled values go to ``engine.state.metrics``. With several processes it belongs to each of them; the first one
    gathers the scores and writes.

    Args:
        output_dir: folder for metrics.csv and summary.json.
        quiet: write, but do not print.
        raw_key: item that holds the mask before refinement; not scored where it is absent.

    Attributes:
        notes: what else the summary shall say, by name.
    """

    def __init__(self, output_dir: str | Path, quiet: bool = False, raw_key: str = UNREFINED) -> None:
        super().__init__(output_dir, quiet)
        self.raw_key = raw_key

    def score_item(self, case: str, item: dict[str, Any]) -> None:
        """Score each frame of one item.

        A frame that is an item of its own (see ``each_frame`` of :func:`.lists.load_angiogram_list`) counts to the
        sequence that the item names.

        Raises:
            ValueError: If the masks are not ``(T, H, W)`` of 0 and 1 and of one shape, or other scores of a frame of
                this name are known.
        """
        masks = {key: _mask(item[key], key, case) for key in ("pred", "label", self.raw_key) if key in item}
        label = masks.pop("label")
        columns = [_scores_of(masks["pred"], label, case)]
        if self.raw_key in masks:
            raw = _scores_of(masks[self.raw_key], label, case)
            columns.append([{f"{UNREFINED}_{name}": value for name, value in row.items()} for row in raw])
        steady = consecutive_dice(label)
        columns.append([{"label_consistency": value} for value in (np.nan, *steady)])
        sequence = str(item.get("sequence", case))
        for frame, *parts in zip(_frame_numbers(item, len(label)), *columns, strict=True):
            self.add((sequence, frame), {name: value for part in parts for name, value in part.items()})

    def report(self, scores: dict[Frame, dict[str, float]]) -> dict[str, float]:
        """Write and print the scores of all frames, and return their means and the pooled values."""
        summary = summarize_frames(scores)
        if idist.get_rank() == 0:
            write_frame_scores(scores, self.output_dir, summary | self.notes, self.quiet)
        means = {name: values["mean"] for name, values in summary["metrics"].items()}
        return means | {f"pooled_{name}": value for name, value in summary["pooled"].items()}


def summarize_frames(rows: Rows) -> dict[str, Any]:
    """Summarize the scores of a data set.

    Args:
        rows: scores of each frame.

    Returns:
        * ``frames``: their number;
        * ``metrics``: over frames, ``mean``, ``sd`` (of the sample), ``median`` and ``n`` of each metric;
        * ``pooled``: dice, iou, recall, precision and fnr of the pixels of all frames together;
        * ``sequences``: their number ``n``, the same ``metrics`` over the means of sequences (a still is one), and
          these means and the number of ``frames`` of each sequence by ``cases``;
        * ``failures``: ``empty_prediction`` and ``empty_label``, each with its number ``n`` and the frames, as text;
        * ``unrefined``, where these masks are known: their ``metrics``, ``pooled`` values and ``sequences``.
    """
    prefix = f"{UNREFINED}_"
    refined = {f: {n: v for n, v in row.items() if not n.startswith(prefix)} for f, row in rows.items()}
    raw = {f: {n.removeprefix(prefix): v for n, v in row.items() if n.startswith(prefix)} for f, row in rows.items()}
    known = {UNREFINED: _block(raw)} if any(raw.values()) else {}
    return {"frames": len(rows)} | _block(refined) | {"failures": _failures(refined)} | known


def write_frame_scores(rows: Rows, folder: str | Path, summary: Mapping[str, Any], quiet: bool = False) -> None:
    """Write ``metrics.csv`` and ``summary.json`` and print the summary.

    Args:
        rows: scores of each frame; at least one.
        folder: where to write; made if it is absent.
        summary: see :func:`summarize_frames`.
        quiet: print nothing.

    Raises:
        OSError: If a file cannot be written.
    """
    folder = Path(folder)
    write_report(folder, COLUMNS, rows, summary)
    if not quiet:
        files = f"written: {folder / 'metrics.csv'}, {folder / 'summary.json'}"
        print(f"{render_frames(summary)}\n\n{files}", flush=True)


def render_frames(summary: Mapping[str, Any]) -> str:
    """Return the summary of frames as text: a table, the pooled values, and the failures."""
    lines = [render_statistics(summary["metrics"]), f"pooled over pixels: {_listed(summary['pooled'])}"]
    if UNREFINED in summary:
        lines.append(f"pooled before refinement: {_listed(summary[UNREFINED]['pooled'])}")
    for failure, found in summary["failures"].items():
        listed = f": {', '.join(found['frames'])}" if found["frames"] else ""
        lines.append(f"{failure.replace('_', ' ')}: {found['n']} of {summary['frames']} frames{listed}")
    return "\n".join(lines)


def score_pictures(pred: Path, label: Path) -> dict[str, float]:
    """Score the mask of a still in a picture file, see :func:`score_frame` and :func:`.masks.read_masks`.

    Raises:
        ValueError: If a file cannot be read, or the sizes differ.
    """
    masks = read_masks(pred), read_masks(label)
    if masks[0].shape != masks[1].shape:
        raise ValueError(
            f"{pred} has (T, H, W) = {masks[0].shape}, but {label} {masks[1].shape}; predict in the size of the image"
        )
    return score_frame(masks[0][0], masks[1][0])


def pool_folds(folders: Sequence[str | Path], out: str | Path, quiet: bool = False) -> dict[str, Any]:
    """Combine the scores of the test folds of a cross-validation.

    Writes ``metrics.csv`` with the frames of all folds, and ``summary.json``.

    Args:
        folders: the output folder of each fold's evaluation, with the ``metrics.csv`` of :class:`FrameScores`.
        out: folder to write to; made if it is absent.
        quiet: write, but do not print.

    Returns:
        What :func:`summarize_frames` says of all frames together, and ``folds``: their number ``n``; for ``metrics``
        and ``pooled``, the mean and sd (of the sample) of each fold's mean and of each fold's pooled value, and of
        ``unrefined`` the same; ``each``, the pooled values by folder.

    Raises:
        FileNotFoundError: If a folder has no scores.
        ValueError: If there is no folder, a frame is in two folds, or the folds have other metrics.
        OSError: If ``out`` cannot be written.
    """
    if not folders:
        raise ValueError("folders must name the output folder of each fold's evaluation, got none")
    check_writable(out)
    folds = {str(folder): _read_rows(Path(folder) / "metrics.csv") for folder in folders}
    rows: dict[Frame, dict[str, float]] = {}
    for folder, found in folds.items():
        common = rows.keys() & found.keys()
        if common:
            raise ValueError(f"{_name(min(common))} in {folder} is in another fold too; is a folder given twice?")
        rows |= found
    if len({tuple(row) for row in rows.values()}) > 1:
        raise ValueError(f"the folds in {', '.join(folds)} were scored with different metrics; evaluate them anew")
    parts = [summarize_frames(found) for found in folds.values()]
    each = {folder: part["pooled"] for folder, part in zip(folds, parts, strict=True)}
    summary = summarize_frames(rows) | {"folds": _over_folds(parts) | {"each": each}}
    write_frame_scores(rows, out, summary, quiet)
    return summary


def _scores_of(pred: NDArray[np.bool_], label: NDArray[np.bool_], case: str) -> list[dict[str, float]]:
    """Score each frame of ``(T, H, W)``, with the Dice between its mask and that of the frame before."""
    if pred.shape != label.shape:
        raise ValueError(
            f"case {case!r}: the predicted masks are (T, H, W) = {pred.shape}, those of the label {label.shape}; undo "
            "resizing and padding before scoring"
        )
    steady = (np.nan, *consecutive_dice(pred))
    frames = zip(pred, label, steady, strict=True)
    return [score_frame(p, t) | {"consistency": float(value)} for p, t, value in frames]


def _mask(mask: Tensor, key: str, case: str) -> NDArray[np.bool_]:
    if not isinstance(mask, Tensor) or mask.ndim != 3:
        raise ValueError(
            f"{key!r} of case {case!r} must be masks (T, H, W), got {type(mask).__name__} {tuple(np.shape(mask))}"
        )
    return binary_mask(mask.numpy(force=True), f"{key} of case {case!r}")


def _frame_numbers(item: Mapping[str, Any], count: int) -> list[int]:
    """Return the numbers of an item's frames within their source, where it knows them; else 0, 1, ..."""
    if count == 1 and item.get("frame") is not None:
        return [int(item["frame"])]
    for key in ("label", "pred"):
        numbers = item[key].meta.get("frames", ()) if isinstance(item[key], MetaTensor) else ()
        if len(numbers) == count:
            return [int(number) for number in numbers]
    return list(range(count))


def _block(rows: Rows) -> dict[str, Any]:
    """Summarize some scores of all frames, without the failures."""
    sequences: dict[str, list[Mapping[str, float]]] = {}
    for case, frame in sorted(rows):
        sequences.setdefault(case, []).append(rows[case, frame])
    metrics = _metrics(list(rows.values()))
    means = {
        case: {name: values["mean"] for name, values in statistics(own).items() if name in metrics}
        for case, own in sequences.items()
    }
    cases = {case: {"frames": len(sequences[case])} | mean for case, mean in means.items()}
    return {
        "metrics": metrics,
        "pooled": _pooled(rows.values()),
        "sequences": {"n": len(sequences), "metrics": statistics(list(means.values())), "cases": cases},
    }


def _metrics(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the statistics of each metric, without the counts and without what no frame has (stills: consistency)."""
    return {name: values for name, values in statistics(rows).items() if name not in COUNTS and values["n"]}


def _pooled(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the scores of all pixels together."""
    both, false, missed = (sum(column) for column in zip(*([row[n] for n in COUNTS] for row in rows), strict=True))

    def share(part: float, whole: float) -> float:
        return part / whole if whole else float(false == missed)

    recall = share(both, both + missed)
    return {
        "dice": share(2 * both, 2 * both + false + missed),
        "iou": share(both, both + false + missed),
        "recall": recall,
        "precision": share(both, both + false),
        "fnr": 1 - recall,
    }


def _failures(rows: Rows) -> dict[str, dict[str, Any]]:
    empty = {"empty_prediction": "false_positives", "empty_label": "false_negatives"}
    found = {
        failure: [_name(frame) for frame in sorted(rows) if rows[frame]["true_positives"] + rows[frame][other] == 0]
        for failure, other in empty.items()
    }
    return {failure: {"n": len(frames), "frames": frames} for failure, frames in found.items()}


def _over_folds(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and sd over folds of their means and pooled values."""
    means = [{name: values["mean"] for name, values in part["metrics"].items()} for part in parts]
    names = [name for name in means[0] if all(name in mean for mean in means)]
    found: dict[str, Any] = {
        "n": len(parts),
        "metrics": _mean_and_sd([{name: mean[name] for name in names} for mean in means]),
        "pooled": _mean_and_sd([part["pooled"] for part in parts]),
    }
    if all(UNREFINED in part for part in parts):
        raw = _over_folds([part[UNREFINED] for part in parts])
        found[UNREFINED] = {name: raw[name] for name in ("metrics", "pooled")}
    return found


def _mean_and_sd(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {name: {key: values[key] for key in ("mean", "sd")} for name, values in statistics(rows).items()}


def _read_rows(path: Path) -> dict[Frame, dict[str, float]]:
    """Read the scores of frames from ``metrics.csv``."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; evaluate this fold first")
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if not {*COLUMNS, *COUNTS} <= set(table.fieldnames or ()):
            raise ValueError(f"{path} has the columns {table.fieldnames}; it is not what FrameScores writes")
        rows = list(table)
    if not rows:
        raise ValueError(f"{path} has no row; evaluate this fold anew")
    return {
        (row["case"], int(row["frame"])): {n: float(v) if v else np.nan for n, v in row.items() if n not in COLUMNS}
        for row in rows
    }


def _name(frame: Frame) -> str:
    return f"frame {frame[1]} of {frame[0]}"


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
