"""One phantom on disk: its images, labels, centerlines and every drawn parameter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from ..centerline.branch import Branch
from ..centerline.writers import write_json, write_vtp
from ..files import replacing, write_json_file
from ..plaque import Plaque
from .anatomy import Anatomy, draw_anatomy
from .background import fit_tree, read_background, render_on
from .canvas import ScanGrid
from .ccta import DIFFICULTIES, Protocol, Scan, draw_protocol, draw_tree_plaques, render_ccta
from .framing import draw_grid
from .ncct import (
    IN_PLANE_MM,
    SLICE_MM,
    Exposure,
    Truth,
    calcium_scores,
    draw_exposure,
    render_tissue,
    scan_slices,
    slab_truth,
)
from .records import calcium_record, grid_record, heart_record, thorax_record, tree_record
from .request import FRAMES, Request
from .slabs import Slabs
from .xca.files import scene_record, sequence_files, write_sequence
from .xca.sequence import draw_scene, render_sequence

_FOLDERS = {"label": "labels", "branches": "branches", "heart": "hearts"}


def write_case(folder: Path, request: Request) -> None:
    """Make one case and write its files, ``cases/<case>.json`` last.

    Args:
        folder: the data set's folder.
        request: what determines the case.
    """
    record_file = folder / "cases" / f"{request.case}.json"
    record_file.unlink(missing_ok=True)  # an interrupted replacement must not pass as the case it replaces
    anatomy = draw_anatomy(request.rng(0))
    plaques = draw_tree_plaques(anatomy.tree.branches, DIFFICULTIES[request.difficulty], request.rng(2))
    write = {"ccta": _write_ccta, "ncct": _write_ncct, "xca": _write_xca}
    record = write[request.modality](folder, request, anatomy, plaques)
    write_json_file(record_file, record)


def is_complete(folder: Path, request: Request) -> bool:
    """Tell whether a case lies in ``folder`` and was made from this request."""
    try:
        record = json.loads((folder / "cases" / f"{request.case}.json").read_text(encoding="ascii"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    wanted = json.loads(json.dumps(asdict(request)))
    made = {key: record.get("request", {}).get(key) for key in wanted}  # an argument that was added later is None
    return bool(made == wanted and all(file.is_file() for file in _files(folder, request)))


def _files(folder: Path, request: Request) -> list[Path]:
    """Return the files that make a case complete, beside its record."""
    if request.modality == "xca":
        return sequence_files(folder, request.case, request.frames or FRAMES)
    kinds = [*_FOLDERS.values(), *(["calcium"] if request.modality == "ncct" else [])]
    files = [folder / "images" / name for name in request.images]
    files += [folder / kind / f"{request.case}.nii.gz" for kind in kinds]
    return files + [folder / "centerlines" / f"{request.case}.{suffix}" for suffix in ("vtp", "json")]


def _write_ccta(folder: Path, request: Request, anatomy: Anatomy, plaques: Sequence[Plaque]) -> dict[str, Any]:
    """Write the files of a contrast-enhanced scan; return its record."""
    protocol = draw_protocol(DIFFICULTIES[request.difficulty], request.rng(3))
    scan, grid = _render_ccta(request, anatomy, plaques, protocol)
    _write_volume(folder / "images" / request.images[0], scan.image, grid)
    _write_labels(folder, request, scan, grid)
    _write_centerlines(folder, request, scan.centerlines)
    return {
        **_case_record(request, anatomy, grid, scan.centerlines, plaques),
        "protocol": asdict(protocol),
        "tissue_hu": scan.tissue_hu,
        "lumen_voxels": int(scan.label.sum()),
    }


def _render_ccta(
    request: Request, anatomy: Anatomy, plaques: Sequence[Plaque], protocol: Protocol
) -> tuple[Scan, ScanGrid]:
    """Render a case, in a drawn chest or in a real background."""
    heart, tree = anatomy.heart, anatomy.tree
    if request.background is not None and request.heart_mask is not None:
        background = read_background(request.background, request.heart_mask, request.spacing)
        fitted = fit_tree(tree, heart, background)
        return render_on(background, fitted, plaques, protocol, request.rng(4)), background.grid
    points = np.concatenate([b.points for b in tree.branches])
    grid = draw_grid(points, request.rng(1), request.voxels, request.spacing, request.orientation)
    return render_ccta(heart, anatomy.thorax, tree, plaques, protocol, grid, request.rng(4)), grid


def _write_ncct(folder: Path, request: Request, anatomy: Anatomy, plaques: Sequence[Plaque]) -> dict[str, Any]:
    """Write the files of all views of a non-contrast scan; return its record."""
    branches = anatomy.tree.branches
    points = np.concatenate([b.points for b in branches])
    grid = draw_grid(
        points,
        request.rng(1),
        request.voxels,
        request.spacing,
        request.orientation,
        IN_PLANE_MM,
        SLICE_MM,
        tilted=False,
    )
    slabs = Slabs.of(grid)
    exposures: list[Exposure] = []
    for view, name in enumerate(request.images):
        exposures.append(draw_exposure(slabs.slices, request.difficulty, request.rng(5, view)))
        tissue, heart, arteries = render_tissue(anatomy, plaques, exposures[view].tissue_hu, slabs, request.rng(4))
        noise = [request.rng(6, view, k) for k in range(slabs.slices)]
        image = scan_slices(tissue, slabs, exposures[view].photons, noise)
        _write_volume(folder / "images" / name, image, grid)
        if view == 0:
            truth = slab_truth(anatomy, plaques, heart, arteries, slabs)
            scores = calcium_scores(image, tissue, truth, slabs)
    _write_labels(folder, request, truth, grid)
    _write_volume(folder / "calcium" / f"{request.case}.nii.gz", truth.calcium, grid)
    _write_centerlines(folder, request, branches)
    record = _case_record(request, anatomy, grid, branches, plaques)
    for plaque, volume_mm3 in zip(record["plaques"], truth.plaque_mm3, strict=True):
        plaque["volume_mm3"] = volume_mm3
    return record | {
        "protocol": {"slice_mm": slabs.thickness_mm, "views": [asdict(exposure) for exposure in exposures]},
        "calcium": calcium_record(record["plaques"], scores),
        "lumen_voxels": int(truth.label.sum()),
    }


def _write_xca(folder: Path, request: Request, anatomy: Anatomy, plaques: Sequence[Plaque]) -> dict[str, Any]:
    """Write the files of an X-ray sequence; return its record."""
    frames = request.frames or FRAMES
    rngs = [request.rng(7), request.rng(8), request.rng(9)]
    scene = draw_scene(anatomy, plaques, request.difficulty, request.pixels, frames, rngs)
    angiogram = render_sequence(anatomy, scene, frames, request.rng(10), request.rng(11))
    write_sequence(folder, request.case, angiogram, scene)
    return {
        "request": asdict(request),
        "frame": "RAS",
        "heart": heart_record(anatomy.heart),
        "thorax": thorax_record(anatomy.thorax),
        **tree_record(anatomy.tree, plaques, anatomy.tree.branches),
        **scene_record(scene, angiogram),
    }


def _write_labels(folder: Path, request: Request, truth: Scan | Truth, grid: ScanGrid) -> None:
    """Write the label maps of a case."""
    for name, kind in _FOLDERS.items():
        _write_volume(folder / kind / f"{request.case}.nii.gz", getattr(truth, name), grid)


def _case_record(
    request: Request, anatomy: Anatomy, grid: ScanGrid, centerlines: Sequence[Branch], plaques: Sequence[Plaque]
) -> dict[str, Any]:
    """Return what the records of all modalities say."""
    return {
        "request": asdict(request),
        "frame": "RAS",
        "grid": grid_record(grid),
        "heart": heart_record(anatomy.heart),
        "thorax": thorax_record(anatomy.thorax),
        **tree_record(anatomy.tree, plaques, centerlines),
    }


def _write_centerlines(folder: Path, request: Request, centerlines: Sequence[Branch]) -> None:
    """Write the centerlines of a case."""
    write_vtp(folder / "centerlines" / f"{request.case}.vtp", centerlines)
    write_json(folder / "centerlines" / f"{request.case}.json", centerlines)


def _write_volume(path: Path, volume: NDArray[np.generic], grid: ScanGrid) -> None:
    """Write a NIfTI file."""
    image = nibabel.Nifti1Image(volume, grid.affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    image.set_qform(grid.affine, code=1)  # type: ignore[no-untyped-call]
    image.set_sform(grid.affine, code=1)  # type: ignore[no-untyped-call]
    with replacing(path) as temporary:
        nibabel.save(image, temporary)
