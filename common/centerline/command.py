"""The command ``python -m common centerline``: from a mask file to a centerline file and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation
from numpy.typing import NDArray
from PIL import Image

from ..files import check_writable, replacing
from ..grids import describe_difference, read_grid
from ..loading import LoadVolumed
from .branch import Branch
from .extract import extract_centerline
from .picture import tree_figure
from .tree import bifurcation_points, end_points, root_points
from .writers import WRITERS, writer_of


def centerline(mask: str, out: str, aorta: str | None = None, preview: bool = True) -> str:
    """Extract the centerline tree of a vessel mask, and write it with a picture beside it.

    Args:
        mask: vessel mask, 1 (or any value above 0.5) inside: NIfTI, NRRD or MetaImage.
        out: centerline file to write; the suffix chooses the format: .vtp (VTK poly-data for VMTK and 3D Slicer),
            .mrk.json (markups curves of 3D Slicer), .json, .csv, .gml (graph) or .txt (CAT08, one vessel only).
        aorta: mask of the aorta on the same grid. Vessels then begin where they touch it, else at their thickest end.
        preview: write the picture, under the name of the centerline file with the suffix .png.

    Returns:
        The figures of the tree, in lines.

    Raises:
        ValueError: If a file cannot be read, the mask is empty or holds no vessel, the masks lie on different grids, or
            the suffix is unknown.
        OSError: If a file is missing or cannot be written.
    """
    write = writer_of(out)  # a mistake in the name is told before the work
    check_writable(Path(out).parent)
    vessels, affine = _load(mask)
    if not vessels.any():
        raise ValueError(f"{mask} is empty: no voxel is above 0.5, so there is no centerline; nothing was written")
    wall = None
    if aorta is not None:
        if difference := describe_difference(read_grid(mask), read_grid(aorta)):
            raise ValueError(f"{aorta} does not lie on {mask}: {difference}; resample it (nearest neighbour)")
        wall = _load(aorta)[0]
    branches = extract_centerline(vessels, affine, wall)
    if not branches:
        raise ValueError(
            f"{mask} holds {int(vessels.sum())} voxels but no vessel long enough for a centerline; nothing was written"
        )
    write(out, branches)
    lines = [out, *_figures(branches)]
    if preview:
        picture = _picture_path(out)
        figure = tree_figure(vessels, affine, branches, title="   ".join([Path(mask).name, *_heading(branches)]))
        with replacing(picture) as temporary:
            Image.fromarray(figure).save(temporary)
        lines.insert(1, str(picture))
    return "\n".join(lines)


def _load(path: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """A mask with its axes towards right, front and top, and its affine."""
    volume = LoadVolumed("mask")({"mask": path})["mask"]
    if volume.ndim != 4 or volume.shape[0] != 1:
        raise ValueError(f"{path}: a mask with 3 axes is needed, got {tuple(volume.shape[1:])}")
    turned = cast(MetaTensor, Orientation("RAS", labels=None)(volume))
    return turned[0].numpy() > 0.5, np.asarray(turned.affine.numpy(), np.float64)


def _figures(branches: Sequence[Branch]) -> list[str]:
    """The figures of a tree, one in a line."""
    radius = np.concatenate([branch.radius_mm for branch in branches])
    figures = {
        "branches": f"{len(branches)}",
        "length": f"{sum(branch.length_mm for branch in branches):.1f} mm",
        "roots": f"{len(root_points(branches))}",
        "bifurcations": f"{len(bifurcation_points(branches))}",
        "ends": f"{len(end_points(branches))}",
        "radius": f"{radius.min():.2f} to {radius.max():.2f} mm, median {np.median(radius):.2f} mm",
    }
    return [f"{name:<14}{value}" for name, value in figures.items()]


def _heading(branches: Sequence[Branch]) -> list[str]:
    """The figures that head the picture."""
    roots, forks = len(root_points(branches)), len(bifurcation_points(branches))
    length = sum(branch.length_mm for branch in branches)
    total = f"{_count(len(branches), 'branch', 'branches')}, {length:.0f} mm"
    return [total, _count(roots, "root", "roots"), _count(forks, "bifurcation", "bifurcations")]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _picture_path(out: str) -> Path:
    """The name of the picture beside a centerline file."""
    path = Path(out)
    suffix = next(suffix for suffix in WRITERS if path.name.lower().endswith(suffix))
    return path.with_name(path.name[: -len(suffix)] + ".png")
