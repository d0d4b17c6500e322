"""Phantom data sets on disk: images with exact labels, centerlines and every drawn parameter."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..centerline.branch import BRANCH_LABELS
from ..files import check_writable, write_json_file
from ..sharding import checked_shard
from .cases import is_complete, write_case
from .heart import HEART_LABELS
from .request import Request, checked_request


def write_dataset(
    out: str | Path,
    cases: int = 8,
    seed: int = 0,
    modality: str = "ccta",
    shape: Sequence[int] | None = None,
    spacing: Sequence[float] | float | None = None,
    difficulty: str = "default",
    orientation: str | None = None,
    background: str | None = None,
    heart_mask: str | None = None,
    validation: float = 0.15,
    test: float = 0.15,
    workers: int = 1,
    views: int = 1,
    frames: int | None = None,
    shard: int | None = None,
    shards: int | None = None,
) -> Path | None:
    """Write a data set of phantoms with exact truth; nothing is downloaded.

    A case depends on ``seed`` and its number only, so that the first cases of a larger set are those of a smaller one.
    A case that is complete and was made from the same arguments is kept, so that an interrupted run goes on. Several
    processes or machines can share the cases; whichever ends last writes the data list, that of a single run.

    Args:
        out: folder to write to; made when it is missing.
        cases: number of cases.
        seed: chooses the persons; sets with different seeds share none.
        modality: "ccta", contrast-enhanced coronary CT, or "ncct", non-contrast CT of the same persons as calcium
            scoring takes it, with calcium and its Agatston score; or "xca", X-ray sequences of one injected artery.
        shape: voxels along the three stored axes; None for volumes that hold the whole heart. For xca rows and columns;
            None for 512, 512.
        spacing: mm per voxel along them, or one number for all; None draws 0.33 to 0.5 mm as scanners do (ncct: 0.33 to
            0.42 mm in slices of 3 mm). Pixels of ncct must be square.
        difficulty: "easy", "default" or "hard": noise, contrast, artefacts and plaques.
        orientation: three letters for the stored axes, such as RAS or LPS; None draws them as scanners write them.
        background: CT in HU (NIfTI) to paint the vessels into; None renders the whole chest. Then ``spacing`` resamples
            a box around the heart, and shape and orientation follow the CT. For ccta only.
        heart_mask: mask of the heart in ``background`` (NIfTI).
        validation: share of the cases for the section "validation".
        test: share of the cases for the section "test".
        workers: processes that make cases at the same time; each needs up to 2 GB.
        views: renderings of every case that share anatomy, plaques and labels and differ in tissue values, dose and
            noise, for ncct only; two or more are named ``<case>_v0``, ``<case>_v1`` and so on.
        frames: frames of a sequence at 15 per second, for xca only; None for 12.
        shard: number of this process, from 0, which makes every ``shards``-th case; None for the rank under
            ``torchrun``.
        shards: processes that share the cases and the folder; None for those of ``torchrun``, else one.

    Returns:
        The path of the written ``dataset.json``; None while other processes have cases to make.

    Raises:
        ValueError: If an argument is out of range.
    """
    first = checked_request(
        cases, seed, modality, shape, spacing, difficulty, orientation, background, heart_mask, views, frames
    )
    if not (validation >= 0 and test >= 0 and validation + test <= 1):
        raise ValueError(
            f"validation and test must be shares of the cases, at most 1 in sum, got {validation} and {test}"
        )
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    number, count = checked_shard(shard, shards)
    folder = Path(out)
    check_writable(folder)
    requests = [replace(first, number=number) for number in range(cases)]
    name = "phantoms" if count == 1 else f"phantoms, shard {number} of {count}"
    _write_cases(folder, _missing(folder, requests[number::count]), workers, name)
    if missing := _missing(folder, requests):
        tqdm.write(f"{name}: done; others have {len(missing)} cases to make, the last one writes dataset.json")
        return None
    return write_json_file(folder / "dataset.json", _data_list(_sections(requests, validation, test), first))


def _missing(folder: Path, requests: list[Request]) -> list[Request]:
    """Return the cases that are not complete."""
    return [request for request in requests if not is_complete(folder, request)]


def _write_cases(folder: Path, requests: list[Request], workers: int, name: str) -> None:
    """Make cases, several at a time, with a progress bar of that name."""
    bar = partial(tqdm, total=len(requests), desc=name, unit="case")
    if workers == 1 or len(requests) < 2:
        for request in bar(requests):
            write_case(folder, request)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in bar(pool.map(partial(write_case, folder), requests)):
            pass


def _sections(requests: list[Request], validation: float, test: float) -> dict[str, list[Request]]:
    """Split cases in order: training first, test last."""
    n_test, n_validation = (round(share * len(requests)) for share in (test, validation))
    n_training = max(len(requests) - n_validation - n_test, 0)
    return {
        "training": requests[:n_training],
        "validation": requests[n_training : n_training + n_validation],
        "test": requests[n_training + n_validation :],
    }


def _data_list(sections: dict[str, list[Request]], request: Request) -> dict[str, Any]:
    """Return a Decathlon data list."""
    header = {
        "name": f"synthetic {request.modality} phantoms",
        "description": "Synthetic images with exact truth, no patient data.",
        "seed": request.seed,
        "difficulty": request.difficulty,
        "labels": {"0": "background", "1": "coronary lumen"},
        "branch_labels": {str(k): v for k, v in BRANCH_LABELS.items()},
    }
    if request.modality != "xca":
        header["heart_labels"] = {str(v): k for k, v in HEART_LABELS.items()}
    return header | {section: [_entry(request) for request in requests] for section, requests in sections.items()}


def _entry(request: Request) -> dict[str, Any]:
    """Return a case as data lists name it."""
    images = [f"images/{name}" for name in request.images]
    entry: dict[str, Any] = {
        "image": images[0],
        "label": f"labels/{request.case}.nii.gz",
        "centerline": f"centerlines/{request.case}.json",
        "case": request.case,
    }
    return entry | ({"views": images} if len(images) > 1 else {})
