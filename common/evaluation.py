"""Scoring predicted masks against reference masks: of two folders, or at the end of a MONAI evaluator."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import nibabel
import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from tqdm import tqdm

from .angiograms.scores import score_pictures, summarize_frames, write_frame_scores
from .angiograms.sources import angiogram_case_name, is_frame_file
from .files import check_writable
from .grids import NIFTI_SUFFIXES, VOLUME_SUFFIXES, Grid, case_name, describe_difference, read_grid, spacing_mm
from .loading import DAMAGED, LoadVolumed
from .metrics import score_case
from .score_handler import ScoreHandler, binary_mask
from .score_report import summarize, write_scores

POSTFIXES = ("_seg", "_label")  # not part of a case's name: ours for predictions, others' for labels


def evaluate(pred: str, ref: str, out: str, workers: int = 1) -> None:
    """Score every predicted mask of a folder against the reference mask of its case.

    Writes OUT/metrics.csv (one row for each case) and OUT/summary.json (mean, sd, median and n of each metric,
    failures, files without partner), and prints the summary. Cases are matched by file name without suffix and without
    "_seg" or "_label": 12_seg.nii.gz belongs to 12.nii.gz. The metrics are defined in common/metrics.py, those of
    pictures (PNG, PGM, BMP, JPEG, TIFF), the frames of angiograms, in common/angiograms/scores.py.

    Args:
        pred: folder of predicted masks (NIfTI, NRRD, MetaImage) of 0 and 1, or, where there is none, of pictures.
        ref: folder of reference masks of the same kind, each on the grid of its prediction.
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
    pictures = _are_pictures(predictions, references)
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
    pairs = {case: (predictions[case], references[case]) for case in cases}
    score = score_pictures if pictures else _volume_scorer(pairs)
    check_writable(out)
    for folder, names in ((pred, unmatched["pred"]), (ref, unmatched["ref"])):
        if names:
            print(f"without partner, not scored, in {folder}: {', '.join(names)}")

    with ThreadPoolExecutor(workers) as pool:  # threads do: reading, distances and thinning release the interpreter
        jobs = tqdm(pool.map(score, *zip(*pairs.values(), strict=True)), "scoring", len(cases), unit="case")
        scores = dict(zip(cases, jobs, strict=True))  # after an error the rest is cancelled
    if pictures:
        frames = {(case, 0): row for case, row in scores.items()}
        write_frame_scores(frames, out, summarize_frames(frames) | {"without_partner": unmatched})
    else:
        write_scores(scores, out, unmatched)


class VesselScores(ScoreHandler[str]):
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
        arrays = [binary_mask(mask[0].numpy(force=True), f"{key} of case {case!r}") for key, mask in masks.items()]
        scores = _score(arrays[0], arrays[1], grid)
        self.add(case, scores)
        return scores

    def score_item(self, case: str, item: dict[str, Any]) -> None:
        """Score one item of a batch, see :meth:`score`."""
        self.score(case, item["pred"], item["label"])

    def report(self, scores: dict[str, dict[str, float]]) -> dict[str, float]:
        """Write and print the scores of all cases, and return the mean of each metric."""
        if idist.get_rank() == 0:
            write_scores(scores, self.output_dir, notes=self.notes, quiet=self.quiet)
        return {name: values["mean"] for name, values in summarize(scores)["metrics"].items()}


def _masks_by_case(folder: str) -> dict[str, Path]:
    """Return the volumes of a folder or, if it has none, the pictures."""
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"there is no folder {folder}")
    files = [path for path in sorted(Path(folder).iterdir()) if not path.name.startswith(".")]
    masks = [path for path in files if path.name.lower().endswith(VOLUME_SUFFIXES)]
    found: dict[str, Path] = {}
    for path in masks or filter(is_frame_file, files):
        case = case_name(path) if masks else angiogram_case_name(path)
        for postfix in POSTFIXES:
            case = case.removesuffix(postfix)
        if case in found:
            raise ValueError(f"{found[case].name} and {path.name} in {folder} are both of case {case!r}; remove one")
        found[case] = path
    return found


def _are_pictures(*sides: dict[str, Path]) -> bool:
    """Say whether the masks of both folders are pictures; raise if only those of one are."""
    kinds = {is_frame_file(path) for side in sides for path in side.values()}
    if len(kinds) > 1:
        raise ValueError("one folder has volumes, the other pictures; both must hold masks of one kind")
    return True in kinds


def _volume_scorer(pairs: dict[str, tuple[Path, Path]]) -> Callable[[Path, Path], dict[str, float]]:
    """Return what scores a prediction and its reference; all grids are compared at once, before the work starts."""
    grids = {p: _common_grid(case, read_grid(p), read_grid(r)) for case, (p, r) in pairs.items()}
    return lambda p, r: _score(_read_mask(p), _read_mask(r), grids[p])


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
    return binary_mask(voxels, str(path))


def _grid_of(mask: MetaTensor, key: str, case: str) -> Grid:
    if not isinstance(mask, MetaTensor) or len(mask) != 1:
        raise ValueError(
            f"{key!r} of case {case!r} must be a MetaTensor (1, *spatial), whose affine gives the spacing, got a "
            f"{type(mask).__name__} {tuple(mask.shape)}"
        )
    return Grid(tuple(mask.shape[1:]), mask.affine.numpy(force=True).astype(np.float64))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "no volume"
