"""From a folder of contrast CTs to a data set of synthetic non-contrast CTs, case by case."""

from __future__ import annotations

import glob
import json
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from .common.datasets import SECTIONS
from .common.files import check_writable, replacing, write_json_file
from .common.sharding import checked_shard
from .engine import ENGINE_VERSION, Engine, EngineSettings
from .quality import QualityCheck, montage, summarize
from .sources import SourceCase, find_cases
from .structures import missing_structures, present_ids
from .volumes import read_case, write_volume


@dataclass(frozen=True)
class Job:
    """What determines the files of a case, and how to make them.

    Attributes:
        source: the case.
        folder: where to write.
        settings: of the engine.
        views: how many.
        seed: of all random numbers.
        threads: over the slices.
        device: where to project.
    """

    source: SourceCase
    folder: Path
    settings: EngineSettings
    views: int
    seed: int
    threads: int = 1
    device: str | None = None

    @property
    def request(self) -> dict[str, Any]:
        """What the files depend on, as plain data."""
        files = {key: _fingerprint(Path(path)) for key, path in self.source.files.items()}
        settings = asdict(self.settings)
        request = {
            "engine": ENGINE_VERSION,
            "seed": self.seed,
            "views": self.views,
            "settings": settings,
            "files": files,
        }
        return dict(json.loads(json.dumps(request)))

    @property
    def record_path(self) -> Path:
        """The file that is written last."""
        return self.folder / "cases" / f"{self.source.case}.json"

    @property
    def image_paths(self) -> list[Path]:
        """The synthetic scans."""
        return [self.folder / "images" / f"{self.source.case}_v{view}.nii.gz" for view in range(self.views)]

    @property
    def plaque_paths(self) -> list[Path]:
        """The maps of plaques."""
        return [self.folder / "plaques" / path.name for path in self.image_paths]

    @property
    def label_path(self) -> Path:
        """The coronary arteries, which all views share."""
        return self.folder / "labels" / f"{self.source.case}.nii.gz"

    @property
    def picture_path(self) -> Path:
        """The picture for the eye."""
        return self.folder / "report" / f"{self.source.case}.png"


def synthesize(
    dataset_dir: str | Path,
    output_dir: str | Path,
    settings: EngineSettings | None = None,
    views: int = 2,
    seed: int = 0,
    workers: int = 1,
    threads: int = 1,
    device: str | torch.device | None = None,
    structures_dir: str | Path | None = None,
    validation: float = 0.05,
    shard: int | None = None,
    shards: int | None = None,
) -> Path:
    """Render synthetic non-contrast CTs from contrast CTs, and write them as a data set.

    A case that is complete and was made from the same files, settings and seed is kept, so that an interrupted run goes
    on where it was. A case that cannot be rendered does not stop the others; it is named at the end.

    Args:
        dataset_dir: contrast CTs with labels and label maps, see :func:`.sources.find_cases`.
        output_dir: folder to write ``images/``, ``labels/``, ``plaques/``, ``cases/``, ``report/`` and
            ``dataset.json`` to; made when it is missing.
        settings: of the engine; None for the published ones.
        views: scans of each case, which differ in everything but the anatomy.
        seed: of all random numbers.
        workers: cases at the same time, each in its own process; the files do not depend on it.
        threads: slices at the same time, within a case; the files do not depend on it.
        device: where to project; None for the CPU.
        structures_dir: where the label maps lie, if not in ``dataset_dir``.
        validation: share of the cases for validation, where the folder has no sections of its own.
        shard: number of this process, from 0, which renders every ``shards``-th case; None for the rank under
            ``torchrun``.
        shards: processes or machines that share the cases and the output folder; None for those of ``torchrun``, else
            one.

    Returns:
        The path of the written ``dataset.json``, which lists the cases that are complete.

    Raises:
        FileNotFoundError: If a file or the cases are missing.
        ValueError: If an argument is out of range, or at the end if cases could not be rendered.
    """
    source, target = Path(dataset_dir), Path(output_dir)
    if min(views, workers, threads) < 1 or seed < 0:
        raise ValueError(
            "views, workers and threads must be at least 1 and seed at least 0, "
            f"got {views}, {workers}, {threads} and {seed}"
        )
    number, count = checked_shard(shard, shards)
    if source.resolve() == target.resolve():
        raise ValueError(f"output_dir must not be dataset_dir, {source}: its dataset.json would be overwritten")
    settings, place = settings or EngineSettings(), None if device is None else str(device)
    jobs = [
        Job(c, target, settings, views, seed, threads, place) for c in find_cases(source, structures_dir, validation)
    ]
    check_writable(target)
    mine = [job for job in jobs[number::count] if not _is_complete(job)]
    failures = _run(mine, workers)
    path = _list_complete(target, jobs, settings, seed)
    if failures:
        raise ValueError(
            f"{len(failures)} of {len(mine)} cases could not be rendered; the others are in {target}. "
            + " | ".join(f"{case}: {reason}" for case, reason in failures.items())
        )
    return path


def render_case(job: Job) -> list[str]:
    """Make one case and write its files, ``cases/<case>.json`` last.

    Returns:
        Names of the structures that have no label and keep their contrast.
    """
    _clear_leftovers(job)
    volumes = read_case(job.source.files)
    engine = Engine(volumes.ccta_hu, volumes.ids, volumes.affine, job.settings)
    check = QualityCheck(engine.structures)
    before = check if engine.structures is volumes.ids else QualityCheck(volumes.ids)
    shown: dict[str, NDArray[Any]] = {"contrast CT": volumes.ccta_hu}
    views = []
    for number, (image_path, plaque_path) in enumerate(zip(job.image_paths, job.plaque_paths, strict=True)):
        view = engine.view(job.source.case, job.seed, number, job.threads, job.device)
        write_volume(image_path, view.image, engine.affine, volumes.stored)
        write_volume(plaque_path, view.plaques, engine.affine, volumes.stored)
        views.append(view.record | {"quality": check.measure(view.image)})
        shown[f"view {number}"] = view.image
    write_volume(job.label_path, engine.label, engine.affine, volumes.stored)
    spacing = np.linalg.norm(engine.affine[:3, :3], axis=0).tolist()
    with replacing(job.picture_path) as temporary:
        Image.fromarray(montage(shown, engine.label, spacing, job.source.case)).save(temporary)
    missing = missing_structures(present_ids(volumes.ids))
    record = {
        "request": job.request,
        "grid": {"frame": "RAS", "shape": engine.label.shape, "spacing": spacing, "affine": engine.affine.tolist()},
        "missing_structures": missing,
        "contrast_ct": before.measure(volumes.ccta_hu),
        "views": views,
    }
    write_json_file(job.record_path, record)
    return missing


def _run(jobs: list[Job], workers: int) -> dict[str, str]:
    """Make cases, several at a time; return the reasons of those that failed."""
    failures, warned = {}, set()
    for job, result in tqdm(_results(jobs, workers), "synthetic CT", total=len(jobs), unit="case"):
        if isinstance(result, Exception):
            failures[job.source.case] = str(result)
            tqdm.write(f"{job.source.case}: {result}")
        elif result and tuple(result) not in warned:
            warned.add(tuple(result))
            warnings.warn(
                f"{job.source.case}: no label for {', '.join(result)}: what contrast is in them stays bright (cases "
                "with the same gap are not named again; report/report.json counts them)",
                stacklevel=3,
            )
    return failures


def _results(jobs: list[Job], workers: int) -> Iterator[tuple[Job, list[str] | ValueError | OSError]]:
    """Make cases and yield what became of them."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, _attempt(job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_attempt, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _attempt(job: Job) -> list[str] | ValueError | OSError:
    """Make a case; return the error if its files do not allow it."""
    try:
        return render_case(job)
    except (ValueError, OSError) as error:
        return error


def _is_complete(job: Job) -> bool:
    """Tell whether a case has been made from this request."""
    try:
        made = json.loads(job.record_path.read_text(encoding="ascii"))["request"]
    except (FileNotFoundError, KeyError, json.JSONDecodeError):
        return False
    files = [*job.image_paths, *job.plaque_paths, job.label_path, job.picture_path]
    return bool(made == job.request and all(file.is_file() for file in files))


def _list_complete(target: Path, jobs: list[Job], settings: EngineSettings, seed: int) -> Path:
    """Write the report and the data list of the cases that are complete; return the path of the list.

    Once more if a case was completed meanwhile: of two processes that end together, the one that writes last may have
    looked first.
    """
    listed: list[Job] | None = None
    while listed != (complete := [job for job in jobs if _is_complete(job)]):
        records = {job.source.case: json.loads(job.record_path.read_text("ascii")) for job in complete}
        report = summarize(records) | {"settings": asdict(settings), "seed": seed}
        write_json_file(target / "report" / "report.json", report)
        path = write_json_file(target / "dataset.json", _data_list(complete, settings))
        listed = complete
    return path


def _clear_leftovers(job: Job) -> None:
    """Remove the record of an earlier request, and what a killed run left under temporary names."""
    job.record_path.unlink(missing_ok=True)
    for path in [*job.image_paths, *job.plaque_paths, job.label_path, job.picture_path, job.record_path]:
        for leftover in path.parent.glob(f".*.{glob.escape(path.name)}"):
            if leftover.name.split(".")[1].isdigit():
                leftover.unlink(missing_ok=True)


def _fingerprint(path: Path) -> list[Any]:
    """Name, size and time of a file, or of the files in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]


def _data_list(jobs: Sequence[Job], settings: EngineSettings) -> dict[str, Any]:
    """Return a Decathlon data list of complete cases."""
    header = {
        "name": "synthetic non-contrast CT",
        "description": "Synthetic images, rendered from contrast CTs, whose licence governs their use.",
        "labels": {"0": "background", "1": "coronary lumen"},
        "plaque_labels": {"0": "none", "1": "calcified", "2": "soft"},
        "engine": ENGINE_VERSION,
        "settings": asdict(settings),
    }
    entries: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for job in jobs:
        views = [path.relative_to(job.folder).as_posix() for path in job.image_paths]
        label = job.label_path.relative_to(job.folder).as_posix()
        entry = {"image": views[0], "views": views, "label": label, "case": job.source.case}
        entries[job.source.section].append(entry)
    return header | entries
