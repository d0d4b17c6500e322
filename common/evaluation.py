"""Scoring predicted masks against reference masks: of two folders, or at the end of a MONAI evaluator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import nibabel
import numpy as np
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from numpy.typing import NDArray
from tqdm import tqdm

from .files import check_writable
from .grids import NIFTI_SUFFIXES, VOLUME_SUFFIXES, Grid, case_name, describe_difference, read_grid, spacing_mm
from .loading import DAMAGED, LoadVolumed
from .metrics import score_case
from .score_report import summarize, write_scores

POSTFIXES = ("_seg", "_label")  # not part of a case's name: ours for predictions, others' for labels


def evaluate(pred: str, ref: str, out: str, workers: int = 1) -> None:
    """Score every predicted mask of a folder against the reference mask of its case.

    Writes OUT/metrics.csv (one row for each case) and OUT/summary.json (mean, sd, median and n of each metric,
    failures, files without partner), and prints the summary. Cases are matched by file name without suffix and without
    "_seg" or "_label": 12_seg.nii.gz belongs to 12.nii.gz. The metrics are defined in common/metrics.py.

    Args:
        pred: folder of predicted masks (NIfTI, NRRD, MetaImage) of 0 and 1.
        ref: folder of reference masks of 0 and 1, each on the grid of its prediction.
        out: folder to write to; made if it is absent.
        workers: cases scored at the same time; each needs 0.5 GB where volumes are 512 x 512 x 275.

    Raises:
        ValueError: If no file has a partner, two files of a folder are of one case, a file cannot be read or holds
            other values than 0 and 1, or a prediction lies on another grid than its reference.
        OSError: If a folder does not exist, or ``out`` cannot be written.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    predictions, references = _masks_by_case(pred), _masks_by_case(ref)
    cases = sorted(predictions.keys() & references.keys())
    unmatched = {
        "pred": [predictions[case].name for case in sorted(predictions.keys() - references.keys())],
        "ref": [references[case].name for case in sorted(references.keys() - predictions.keys())],
    }
    if not cases:
        raise ValueError(
            f"no file in {pred} has the case name of one in {ref} ({_some(unmatched['pred'])} against "
            f"{_some(unmatched['ref'])}); a prediction is named like its reference, with or without _seg"
        )
    grids = {case: _common_grid(case, read_grid(predictions[case]), read_grid(references[case])) for case in cases}
    check_writable(out)
    for folder, names in ((pred, unmatched["pred"]), (ref, unmatched["ref"])):
        if names:
            print(f"without partner, not scored, in {folder}: {', '.join(names)}")

    def score(case: str) -> dict[str, float]:
        return _score(_read_mask(predictions[case]), _read_mask(references[case]), grids[case])

    with ThreadPoolExecutor(workers) as pool:  # threads do: reading, distances and thinning release the interpreter
        jobs = tqdm(pool.map(score, cases), "scoring", len(cases), unit="case")  # after an error the rest is cancelled
        scores = dict(zip(cases, jobs, strict=True))
    write_scores(scores, out, unmatched)


class VesselScores:
    """Handler that scores what a ``SupervisedEvaluator`` predicts, and writes and prints it as :func:`evaluate` does.

    For ``val_handlers``, before a ``StatsHandler``. After postprocessing every item must hold the binary masks "pred"
    and "label", ``(1, *spatial)``, on one grid, that of the label's file. The means go to ``engine.state.metrics``.
    With several processes it belongs to each of them; the first one gathers the scores and writes.

    Args:
        output_dir: folder for metrics.csv and summary.json.
        quiet: write, but do not print.

    Attributes:
        notes: what else the summary shall say, by name.
    """

    def __init__(self, output_dir: str | Path, quiet: bool = False) -> None:
        self.output_dir = Path(output_dir)
        self.quiet = quiet
        self.notes: dict[str, Any] = {}
        self._scores: dict[str, dict[str, float]] = {}

    def attach(self, engine: Engine) -> None:
        """Score each iteration of ``engine``, write at the end of its epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def start(self) -> None:
        """Forget earlier cases, and make sure that the results can be written."""
        self._scores = {}
        check_writable(self.output_dir)

    def score(self, case: str, pred: MetaTensor, label: MetaTensor) -> dict[str, float]:
        """Score one case and return what :func:`.metrics.score_case` returns.

        Args:
            case: its name.
            pred: predicted mask of 0 and 1, ``(1, *spatial)``.
            label: reference mask, on the same grid.

        Raises:
            ValueError: If they are not two such masks, or another case of this name had other scores.
        """
        masks = {"pred": pred, "label": label}
        grid = _common_grid(case, *(_grid_of(mask, key, case) for key, mask in masks.items()))
        arrays = [_binary(mask[0].numpy(force=True), f"{key} of case {case!r}") for key, mask in masks.items()]
        scores = _score(arrays[0], arrays[1], grid)
        self._add(case, scores)
        return scores

    def finish(self) -> dict[str, float]:
        """Gather the scores of all processes, write and print them, and return the mean of each metric.

        Raises:
            ValueError: If there was no case.
        """
        if idist.get_world_size() > 1:
            parts = cast("list[dict[str, dict[str, float]]]", idist.all_gather(self._scores))
            for case, scores in (row for part in parts for row in part.items()):
                self._add(case, scores)
        if not self._scores:
            raise ValueError("there was no case to score: is the data list's section empty?")
        if idist.get_rank() == 0:
            write_scores(self._scores, self.output_dir, notes=self.notes, quiet=self.quiet)
        metrics = summarize(self._scores)["metrics"]
        return {name: statistics["mean"] for name, statistics in metrics.items()}

    def _start(self, _engine: Engine) -> None:
        self.start()

    def _score(self, engine: Engine) -> None:
        for case, item in items_of(engine):
            self.score(case, item["pred"], item["label"])

    def _finish(self, engine: Engine) -> None:
        engine.state.metrics.update(self.finish())

    def _add(self, case: str, scores: dict[str, float]) -> None:
        """Keep the scores of a case; a sampler that pads the last round gives the same case to two processes."""
        known = self._scores.setdefault(case, scores)
        if not np.array_equal(list(known.values()), list(scores.values()), equal_nan=True):
            raise ValueError(f'two cases are named {case!r}; give each its own "case" in the data list')


def items_of(engine: Engine) -> list[tuple[str, dict[str, Any]]]:
    """Return the items of an evaluator's present batch, input and output together, each with the name of its case.

    Args:
        engine: a ``SupervisedEvaluator`` after an iteration.

    Raises:
        ValueError: If its output is not a list of items with "pred" and "label", or an item has no name.
    """
    batch, output = engine.state.batch, engine.state.output
    if not isinstance(output, list) or not all({"pred", "label"} <= item.keys() for item in output):
        raise ValueError(
            "scoring needs the evaluator's output as a list of items with 'pred' and 'label' (decollate=True, labels "
            "in the data list and loaded)"
        )
    inputs = batch if isinstance(batch, list) else [{}] * len(output)
    items = [{**given, **item} for given, item in zip(inputs, output, strict=True)]
    return [(str(item.get("case") or _case_of(item["label"])), item) for item in items]


def _masks_by_case(folder: str) -> dict[str, Path]:
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"there is no folder {folder}")
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(VOLUME_SUFFIXES):
            continue
        case = case_name(path)
        for postfix in POSTFIXES:
            case = case.removesuffix(postfix)
        if case in found:
            raise ValueError(f"{found[case].name} and {path.name} in {folder} are both of case {case!r}; remove one")
        found[case] = path
    return found


def _common_grid(case: str, prediction: Grid, label: Grid) -> Grid:
    difference = describe_difference(prediction, label)
    if difference:
        raise ValueError(
            f"case {case!r}: prediction and reference lie on different grids (image: the prediction, label: the "
            f"reference): {difference}; predict on the grid of the reference, or resample the prediction to it"
        )
    return label


def _score(prediction: NDArray[np.bool_], label: NDArray[np.bool_], grid: Grid) -> dict[str, float]:
    return score_case(prediction, label, spacing_mm(grid.affine)[: label.ndim].tolist())


def _read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a file of 0 and 1 in the type it is stored in; MONAI's reader would make 64-bit floats of it."""
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        try:
            image: Any = nibabel.load(path)
            voxels = np.asanyarray(image.dataobj)
        except DAMAGED as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"cannot read {path}; is it complete? Write it again (the reader says: {reason})"
            ) from error
        voxels = voxels[..., 0] if voxels.shape[3:] == (1,) else voxels
    else:
        voxels = LoadVolumed("mask")({"mask": path})["mask"][0].numpy()
    return _binary(voxels, str(path))


def _binary(voxels: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Return where ``voxels`` is 1, and raise unless the rest is 0."""
    mask = voxels == 1
    if np.count_nonzero(voxels) != np.count_nonzero(mask):  # NaN counts as nonzero
        values = np.unique(voxels[(voxels != 0) & ~mask])[:10].tolist()
        raise ValueError(
            f"{name}: a mask is 0 and 1, but it holds {values} as well; write (mask > 0) as 1 if that is meant"
        )
    return np.asarray(mask)


def _case_of(label: MetaTensor) -> str:
    name = label.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(label, MetaTensor) else None
    if not name:
        raise ValueError('an item has neither "case" nor a label that knows its file; add "case" to the data list')
    return case_name(str(name))


def _grid_of(mask: MetaTensor, key: str, case: str) -> Grid:
    if not isinstance(mask, MetaTensor) or len(mask) != 1:
        raise ValueError(
            f"{key!r} of case {case!r} must be a MetaTensor (1, *spatial), whose affine gives the spacing, got a "
            f"{type(mask).__name__} {tuple(mask.shape)}"
        )
    return Grid(tuple(mask.shape[1:]), mask.affine.numpy(force=True).astype(np.float64))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "no volume"
