"""Phantom data sets on disk: images with exact labels, centerlines and every drawn parameter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..centerline.branch import BRANCH_LABELS
from ..centerline.writers import write_json, write_vtp
from ..files import check_writable, replacing
from ..plaque import Plaque
from .anatomy import Anatomy, draw_anatomy
from .background import fit_tree, read_background, render_on
from .canvas import ScanGrid
from .ccta import DIFFICULTIES, Protocol, Scan, draw_protocol, draw_tree_plaques, render_ccta
from .framing import draw_grid
from .heart import HEART_LABELS
from .records import grid_record, heart_record, thorax_record, tree_record

VERSION = 1
"""Rises when the same seed gives other images or labels."""

_FOLDERS = {"image": "images", "label": "labels", "branches": "branches", "heart": "hearts"}


@dataclass(frozen=True)
class Request:
    """What determines a case; see :func:`write_dataset`."""

    seed: int
    number: int
    modality: str
    shape: tuple[int, int, int] | None
    spacing: tuple[float, float, float] | None
    difficulty: str
    orientation: str | None
    background: str | None = None
    heart_mask: str | None = None
    version: int = VERSION

    @property
    def case(self) -> str:
        """Name of the case."""
        return f"{self.modality}_{self.seed}_{self.number:04d}"

    def rng(self, purpose: int) -> np.random.Generator:
        """Return the random numbers for one purpose, which depend on seed and number only."""
        return np.random.default_rng([self.seed, self.number, purpose])


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
) -> Path:
    """Write a data set of phantoms with exact truth; nothing is downloaded.

    A case depends on ``seed`` and its number only, so that the first cases of a larger set are those of a smaller one.
    A case that is complete and was made from the same arguments is kept, so that an interrupted run goes on.

    Args:
        out: folder to write to; made when it is missing.
        cases: number of cases.
        seed: chooses the persons; sets with different seeds share none.
        modality: "ccta", contrast-enhanced coronary CT.
        shape: voxels along the three stored axes; None for volumes that hold the whole heart.
        spacing: mm per voxel along them, or one number for all; None draws 0.33 to 0.5 mm as scanners do.
        difficulty: "easy", "default" or "hard": noise, contrast, artefacts and plaques.
        orientation: three letters for the stored axes, such as RAS or LPS; None draws them as scanners write them.
        background: CT in HU (NIfTI) to paint the vessels into; None renders the whole chest. Then ``spacing`` resamples
            a box around the heart, and shape and orientation follow the CT.
        heart_mask: mask of the heart in ``background`` (NIfTI).
        validation: share of the cases for the section "validation".
        test: share of the cases for the section "test".
        workers: processes that make cases at the same time; each needs up to 2 GB.

    Returns:
        The path of the written ``dataset.json``.

    Raises:
        ValueError: If an argument is out of range.
    """
    first = _checked_request(cases, seed, modality, shape, spacing, difficulty, orientation, background, heart_mask)
    if not (validation >= 0 and test >= 0 and validation + test <= 1):
        raise ValueError(
            f"validation and test must be shares of the cases, at most 1 in sum, got {validation} and {test}"
        )
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    folder = Path(out)
    check_writable(folder)
    requests = [replace(first, number=number) for number in range(cases)]
    missing = [request for request in requests if not _is_complete(folder, request)]
    bar = partial(tqdm, total=len(missing), desc="phantoms", unit="case")
    if workers == 1 or len(missing) < 2:
        for request in bar(missing):
            write_case(folder, request)
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for _ in bar(pool.map(partial(write_case, folder), missing)):
                pass
    sections = _sections([request.case for request in requests], validation, test)
    return _write_json(folder / "dataset.json", _data_list(sections, requests[0]))


def write_case(folder: Path, request: Request) -> None:
    """Make one case and write its files, ``cases/<case>.json`` last.

    Args:
        folder: the data set's folder.
        request: what determines the case.
    """
    anatomy = draw_anatomy(request.rng(0))
    difficulty = DIFFICULTIES[request.difficulty]
    plaques = draw_tree_plaques(anatomy.tree.branches, difficulty, request.rng(2))
    protocol = draw_protocol(difficulty, request.rng(3))
    scan, grid = _render(request, anatomy, plaques, protocol)
    for name, kind in _FOLDERS.items():
        _write_volume(folder / kind / f"{request.case}.nii.gz", getattr(scan, name), grid)
    write_vtp(folder / "centerlines" / f"{request.case}.vtp", scan.centerlines)
    write_json(folder / "centerlines" / f"{request.case}.json", scan.centerlines)
    record = {
        "request": asdict(request),
        "frame": "RAS",
        "grid": grid_record(grid),
        "heart": heart_record(anatomy.heart),
        "thorax": thorax_record(anatomy.thorax),
        **tree_record(anatomy.tree, plaques, scan.centerlines),
        "protocol": asdict(protocol),
        "tissue_hu": scan.tissue_hu,
        "lumen_voxels": int(scan.label.sum()),
    }
    _write_json(folder / "cases" / f"{request.case}.json", record)


def _render(request: Request, anatomy: Anatomy, plaques: Sequence[Plaque], protocol: Protocol) -> tuple[Scan, ScanGrid]:
    """Render a case, in a drawn chest or in a real background."""
    heart, tree = anatomy.heart, anatomy.tree
    if request.background is not None and request.heart_mask is not None:
        background = read_background(request.background, request.heart_mask, request.spacing)
        fitted = fit_tree(tree, heart, background)
        return render_on(background, fitted, plaques, protocol, request.rng(4)), background.grid
    points = np.concatenate([b.points for b in tree.branches])
    grid = draw_grid(points, request.rng(1), request.shape, request.spacing, request.orientation)
    return render_ccta(heart, anatomy.thorax, tree, plaques, protocol, grid, request.rng(4)), grid


def _checked_request(
    cases: int,
    seed: int,
    modality: str,
    shape: Sequence[int] | None,
    spacing: Sequence[float] | float | None,
    difficulty: str,
    orientation: str | None,
    background: str | None,
    heart_mask: str | None,
) -> Request:
    """Check the arguments of a data set and return the request for its first case."""
    if cases < 1 or seed < 0:
        raise ValueError(f"cases must be at least 1 and seed at least 0, got {cases} and {seed}")
    if modality != "ccta":
        raise ValueError(f"modality must be 'ccta', got {modality!r}")
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty must be one of {', '.join(DIFFICULTIES)}, got {difficulty!r}")
    sizes = _numbers(shape)
    if shape is not None and (len(sizes) != 3 or min(sizes) < 16 or any(v % 1 for v in sizes)):
        raise ValueError(f"shape must be three whole numbers of at least 16 voxels, such as 160,160,128, got {shape!r}")
    edges = _numbers(spacing) * (3 if isinstance(spacing, (int, float)) else 1)
    if spacing is not None and (len(edges) != 3 or not all(0.1 <= v <= 5 for v in edges)):
        raise ValueError(f"spacing must be one or three numbers from 0.1 to 5 mm, such as 0.4,0.4,0.5, got {spacing!r}")
    if orientation is not None and sorted(_axis(v) for v in orientation.upper()) != [0, 1, 2]:
        raise ValueError(f"orientation must name three different axes, such as RAS or LPS, got {orientation!r}")
    if (background is None) != (heart_mask is None):
        raise ValueError(f"background and heart_mask go together, got {background!r} and {heart_mask!r}")
    if background is not None and (shape is not None or orientation is not None):
        raise ValueError("shape and orientation follow from background: leave them out, or leave out background")
    return Request(
        seed=int(seed),
        number=0,
        modality=modality,
        shape=(int(sizes[0]), int(sizes[1]), int(sizes[2])) if sizes else None,
        spacing=(edges[0], edges[1], edges[2]) if edges else None,
        difficulty=difficulty,
        orientation=None if orientation is None else orientation.upper(),
        background=None if background is None else str(background),
        heart_mask=None if heart_mask is None else str(heart_mask),
    )


def _numbers(value: object) -> list[float]:
    """Return a number or a sequence of numbers as a list, an empty one for anything else."""
    values = value if isinstance(value, Sequence) else [value]
    numbers = [float(v) for v in values if isinstance(v, (int, float))]
    return numbers if len(numbers) == len(values) else []


def _axis(letter: str) -> int:
    """Return 0, 1, 2 for the letters of the axes x, y, z and -1 for others."""
    return next((k for k, pair in enumerate(("RL", "AP", "SI")) if letter in pair), -1)


def _is_complete(folder: Path, request: Request) -> bool:
    """Tell whether a case lies in ``folder`` and was made from this request."""
    try:
        record = json.loads((folder / "cases" / f"{request.case}.json").read_text(encoding="ascii"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    files = [folder / kind / f"{request.case}.nii.gz" for kind in _FOLDERS.values()]
    files += [folder / "centerlines" / f"{request.case}.{suffix}" for suffix in ("vtp", "json")]
    wanted = json.loads(json.dumps(asdict(request)))
    made = {key: record.get("request", {}).get(key) for key in wanted}  # an argument that was added later is None
    return bool(made == wanted and all(file.is_file() for file in files))


def _sections(names: list[str], validation: float, test: float) -> dict[str, list[str]]:
    """Split cases in order: training first, test last."""
    n_test, n_validation = (round(share * len(names)) for share in (test, validation))
    n_training = max(len(names) - n_validation - n_test, 0)
    return {
        "training": names[:n_training],
        "validation": names[n_training : n_training + n_validation],
        "test": names[n_training + n_validation :],
    }


def _data_list(sections: dict[str, list[str]], request: Request) -> dict[str, Any]:
    """Return a Decathlon data list."""
    header = {
        "name": f"synthetic {request.modality} phantoms",
        "description": "Synthetic images with exact truth, no patient data.",
        "seed": request.seed,
        "difficulty": request.difficulty,
        "labels": {"0": "background", "1": "coronary lumen"},
        "branch_labels": {str(k): v for k, v in BRANCH_LABELS.items()},
        "heart_labels": {str(v): k for k, v in HEART_LABELS.items()},
    }
    entries = {
        section: [
            {
                "image": f"images/{name}.nii.gz",
                "label": f"labels/{name}.nii.gz",
                "centerline": f"centerlines/{name}.json",
                "case": name,
            }
            for name in names
        ]
        for section, names in sections.items()
    }
    return header | entries


def _write_volume(path: Path, volume: NDArray[np.generic], grid: ScanGrid) -> None:
    """Write a NIfTI file."""
    image = nibabel.Nifti1Image(volume, grid.affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    image.set_qform(grid.affine, code=1)  # type: ignore[no-untyped-call]
    image.set_sform(grid.affine, code=1)  # type: ignore[no-untyped-call]
    with replacing(path) as temporary:
        nibabel.save(image, temporary)


def _write_json(path: Path, content: dict[str, Any]) -> Path:
    """Write a JSON file."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="ascii")
    return path
