"""Centerline files of every kind, read into branches in RAS mm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..grids import Grid
from .branch import Branch
from .frames import FRAMES, check_frame, transformed
from .gml_files import read_gml
from .json_files import read_json, read_markups
from .table_files import read_cat08, read_csv
from .tree import check_tree
from .vtk_files import read_vtk


class Format(NamedTuple):
    """How files of a suffix are read, and their frame where they do not tell it."""

    read: Callable[[Path], tuple[list[Branch], str | None]]
    frame: str


def read_centerline(
    path: str | Path, frame: str | None = None, grid: Grid | None = None, mask: NDArray[np.bool_] | None = None
) -> list[Branch]:
    """Read a centerline tree.

    The suffix names the format, and where neither ``frame`` nor the file tells its frame, the format does:

    * ``.vtp``, ``.vtk``: VTK poly-data of VMTK, ASOCA, ImageCAS-X or ours, in LPS. ASOCA's own is in ``asoca_vtp``;
    * ``.gml``: graph, as made of ASOCA's files by HCATNetwork (these keep ``asoca_vtp``) or by us; LPS;
    * ``.txt``: one vessel of the Rotterdam challenge (CAT08), LPS;
    * ``.csv``: table with a header, RAS;
    * ``.mrk.json``: curves of 3D Slicer, which tell their frame;
    * ``.json``: ours, RAS.

    Args:
        path: the file.
        frame: one of :data:`.frames.FRAMES`, instead of the file's.
        grid: grid of the image, needed for the frames ``voxel`` and ``asoca_vtp``. With it, half of the centerline must
            lie in the image.
        mask: vessels on that grid. With it, 90 % of the points must lie in the mask or within two voxels of it: a file
            in another frame than believed, a mirror image, is refused.

    Returns:
        Branches in RAS mm, parents first. Radii are 0 where the file has none. Only our JSON may hold no branch.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If a VTK file meets an installation without ``vtk``.
        ValueError: If the suffix is unknown, the file is damaged or no centerline, has a single point or one that is
            not finite, or does not lie where it should; the message names the frame in which it would.
    """
    path = Path(path)
    form = next((form for suffix, form in FORMATS.items() if path.name.lower().endswith(suffix)), None)
    if form is None:
        raise ValueError(f"{path}: the suffix of a centerline file must be one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such centerline file")
    branches, declared = form.read(path)
    check_tree(branches, str(path))
    frame = frame or declared or form.frame
    if frame not in FRAMES:
        raise ValueError(f"{path}: the frame must be one of {', '.join(FRAMES)}, got {frame!r}")
    if branches and grid is not None:
        check_frame(np.concatenate([branch.points for branch in branches]), frame, grid, mask, str(path))
    elif mask is not None and grid is None:
        raise ValueError("a mask says where it lies by its grid: pass grid, common.grids.read_grid(mask file), too")
    return transformed(branches, frame, grid)


FORMATS = {
    ".vtp": Format(lambda path: (read_vtk(path), None), "lps"),
    ".vtk": Format(lambda path: (read_vtk(path), None), "lps"),
    ".gml": Format(read_gml, "lps"),
    ".txt": Format(lambda path: (read_cat08(path), None), "lps"),
    ".csv": Format(read_csv, "ras"),
    ".mrk.json": Format(read_markups, "lps"),
    ".json": Format(read_json, "ras"),
}
"""Formats by suffix, a longer suffix before its own end."""
