"""k-fold cross-validation: one training and one evaluation for each fold of a data list, and their scores together."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .common.angiograms.lists import folds_of
from .common.angiograms.scores import pool_folds

LAST = "last.pt"  # what an interrupted training goes on from
TRAINED = "trained.pt"  # its name once the training is complete
SUMMARY = "summary.json"  # the last file that an evaluation writes


def cross_validate(
    bundle_root: str | Path,
    dataset_dir: str | Path,
    output_dir: str | Path,
    training_configs: Sequence[str],
    evaluation_config: str,
    training_options: Mapping[str, Any] | None = None,
    evaluation_options: Mapping[str, Any] | None = None,
    folds: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Train without each fold in turn, score the fold that was left out, and pool the scores.

    Writes ``fold_<k>/model.pt``, ``metrics.csv`` and ``summary.json`` for each fold, and the last two for all together.
    Each training is a process of its own. What is complete is kept, and an interrupted training goes on where it
    stopped; the last state of a complete one is renamed to ``trained.pt``.

    Args:
        bundle_root: folder of the bundle.
        dataset_dir: folder of the data list, whose entries have a "fold".
        output_dir: folder to write to.
        training_configs: names of the config of the training and of its overlays, in ``configs``.
        evaluation_config: name of the config of the evaluation.
        training_options: what else to override in the trainings.
        evaluation_options: what to override in the evaluations.
        folds: those to run; None for all of the data list.

    Returns:
        The pooled summary.

    Raises:
        ValueError: If the data list has no folds, or not those asked for.
        RuntimeError: If a training or an evaluation fails; what it printed stands above.
    """
    root, out = Path(bundle_root).resolve(), Path(output_dir).resolve()
    known = folds_of(Path(dataset_dir) / "dataset.json")
    if folds is not None and (not isinstance(folds, Sequence) or not folds or not set(folds) <= set(known)):
        raise ValueError(f"folds must be a list of some of those of the data list, {known}, got {folds!r}")
    chosen = known if folds is None else list(folds)
    overlays = [str(root / "configs" / name) for name in training_configs]
    for fold in chosen:
        folder = out / f"fold_{fold}"
        if (folder / SUMMARY).is_file():
            continue
        common = {"dataset_dir": Path(dataset_dir).resolve(), "fold": fold, "output_dir": folder}
        common |= {"checkpoint": folder / "model.pt"}
        if not (folder / TRAINED).is_file():
            resume = {"resume": True} if (folder / LAST).is_file() else {}
            _run(root, "training", str(overlays), fold, {**(training_options or {}), **common, **resume})
            (folder / LAST).replace(folder / TRAINED)
        scored = {**(evaluation_options or {}), **common}
        _run(root, "evaluating", str(root / "configs" / evaluation_config), fold, scored)
    return pool_folds([out / f"fold_{fold}" for fold in chosen], out)


def _run(root: Path, run_id: str, config_file: str, fold: int, options: Mapping[str, Any]) -> None:
    """Run one workflow in a process of its own, so that nothing of one fold reaches the next."""
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", config_file]
    if subprocess.run([*command, "--bundle_root", str(root), *flags], cwd=root, check=False).returncode:
        raise RuntimeError(f"the {run_id} of fold {fold} failed: see its output above; run again to go on with it")
