"""Frames of centerline files, and the check that a centerline lies in the vessels of its image, not in a mirror."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..grids import Grid
from .branch import Branch

FRAMES = ("ras", "lps", "voxel", "asoca_vtp")
"""``ras`` and ``lps`` in mm; ``voxel`` indices of the image; ``asoca_vtp``: what ASOCA's poly-data holds."""

INSIDE_SHARE = 0.9
"""So much of a centerline must lie in the mask, else the frame is wrong."""
LEAST_SHARE = 0.5
"""So much of it must lie in the image where there is no mask."""
LEAST_SEEN = 0.1
"""So much of it must lie in the image where there is a mask; the image may be cut out of a larger one."""
DILATION_VOXELS = 2
"""By so much the mask is dilated for that: a centerline may be drawn a little further than the mask."""

Points = NDArray[np.float64]

_LPS = np.diag([-1.0, -1.0, 1.0])


def to_ras(points: Points, frame: str, grid: Grid | None = None) -> Points:
    """Return points in RAS mm.

    Args:
        points: ``(N, 3)`` in ``frame``.
        frame: one of ``FRAMES``.
        grid: grid of the image; the frames ``voxel`` and ``asoca_vtp`` need it. It may be the one of the file or that
            of the volume turned to RAS for ``asoca_vtp``, but must be the one that is indexed for ``voxel``.

    Returns:
        ``(N, 3)`` RAS mm.

    Raises:
        ValueError: If the frame is unknown, its grid is missing, or ``asoca_vtp`` meets an oblique image.

    Source:
        ASOCA's frame as reduced from HearticDatasetManager, https://github.com/AAMIASoftwares-research: with the LPS
        origin O of an image whose direction is the identity, the LPS point is (x + 2 O_x, y + 2 O_y, z).
    """
    if frame == "voxel":
        affine = _needed(grid, frame).affine
        return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])
    return np.asarray((points + _offset_lps(frame, grid)) @ _axes(frame))


def from_ras(points: Points, frame: str, grid: Grid | None = None) -> Points:
    """Return RAS points in another frame, the inverse of :func:`to_ras` with the same arguments and errors."""
    if frame == "voxel":
        return voxel_coordinates(points, _needed(grid, frame).affine)
    return np.asarray(points @ _axes(frame) - _offset_lps(frame, grid))


def voxel_coordinates(points: Points, affine: NDArray[np.float64]) -> Points:
    """Return RAS points ``(N, 3)`` in voxels of an image whose affine, ``(4, 4)``, leads from voxel to RAS mm."""
    return np.asarray((points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T)


def share_inside(points: Points, grid: Grid, mask: NDArray[np.bool_] | None = None) -> float:
    """Return the share of points in the image, or in a mask dilated by two voxels along each axis.

    Args:
        points: ``(N, 3)`` RAS mm, at least one.
        grid: grid of the image.
        mask: vessels on that grid; without it, the whole image counts.
    """
    voxels = np.round(voxel_coordinates(points, grid.affine)).astype(np.int64)
    if mask is None:
        return float(_in_image(voxels, grid.shape).all(axis=1).mean())
    inside = np.zeros(len(points), bool)
    reach = range(-DILATION_VOXELS, DILATION_VOXELS + 1)
    for step in product(reach, repeat=3):  # a few thousand look-ups; dilating the whole mask would take seconds
        moved = voxels + step
        valid = _in_image(moved, grid.shape).all(axis=1)
        inside[valid] |= mask[tuple(moved[valid].T)]
    return float(inside.mean())


def check_frame(
    points: Points, frame: str, grid: Grid, mask: NDArray[np.bool_] | None = None, name: str = "centerline"
) -> None:
    """Make sure that a centerline lies where its frame says.

    Args:
        points: all points as the file holds them, ``(N, 3)``.
        frame: the frame that they are believed to be in.
        grid: grid of the image.
        mask: vessels on that grid. With it, at least 90 % of the points must lie inside or within two voxels; where
            the image is cut out of a larger one, 90 % of those in the image, a tenth of all at least. Without it, at
            least half of the points must lie in the image. More than a tenth outside the image gives a warning.
        name: what the message calls the centerline, usually its file.

    Raises:
        ValueError: If they do not; it names the frame in which they would.
    """
    if mask is not None and mask.shape != grid.shape:
        raise ValueError(f"mask must lie on the grid of the image, got shape {mask.shape} and {grid.shape}")
    if mask is not None and not mask.any():
        raise ValueError(f"{name}: the mask to check it against is empty; check the mask, or read without one")
    ras = to_ras(points, frame, grid)
    share = share_inside(ras, grid, mask)
    if share >= INSIDE_SHARE:
        return
    others = {other: _share_in_frame(points, other, grid, mask) for other in FRAMES if other != frame}
    best = max(others, key=lambda other: others[other])
    seen = share_inside(ras, grid)
    if mask is not None and seen >= LEAST_SEEN and share >= INSIDE_SHARE * seen and share > others[best]:
        warnings.warn(
            f"{name}: only {seen:.0%} of the points lie in the image; is it cut out of a larger one?", stacklevel=2
        )
        return
    if mask is None and share >= LEAST_SHARE:
        fits = others[best] >= INSIDE_SHARE
        cure = f"in the frame {best!r} {others[best]:.0%} do, pass frame={best!r}?" if fits else "is that its frame?"
        warnings.warn(
            f"{name}: only {share:.0%} of the points lie in the image in the frame {frame!r}; {cure}", stacklevel=2
        )
        return
    if mask is None:
        where = f"with {1 - share:.0%} of its points" if share else "wholly"
        found = f"{name} lies {where} outside its image (shape {grid.shape}) in the frame {frame!r}"
    else:
        found = (
            f"{name} does not lie in the mask: {share:.0%} of its points do in the frame {frame!r}, "
            f"but at least {INSIDE_SHARE:.0%} must (mask dilated by {DILATION_VOXELS} voxels)"
        )
    if others[best] >= INSIDE_SHARE:
        raise ValueError(f"{found}. It fits in the frame {best!r} ({others[best]:.0%}): pass frame={best!r}")
    raise ValueError(
        f"{found}, and none of the other frames fits (best: {best!r} with {others[best]:.0%}): "
        "is it the centerline of this case, and complete?"
    )


def transformed(branches: Sequence[Branch], frame: str, grid: Grid | None = None) -> list[Branch]:
    """Return branches with their points taken from ``frame`` to RAS mm; arguments and errors as :func:`to_ras`.

    Radii are kept: they are mm in every frame.
    """
    return [Branch(to_ras(b.points, frame, grid), b.radius_mm, b.label, b.parent, b.parent_point) for b in branches]


def _axes(frame: str) -> NDArray[np.float64]:
    """The turn between a frame in mm and RAS; it is its own inverse."""
    if frame not in FRAMES:
        raise ValueError(f"frame must be one of {', '.join(FRAMES)}, got {frame!r}")
    return np.eye(3) if frame == "ras" else _LPS


def _offset_lps(frame: str, grid: Grid | None) -> NDArray[np.float64]:
    """What is added to a point before it is turned."""
    if frame != "asoca_vtp":
        return np.zeros(3)
    grid = _needed(grid, frame)
    turn = _LPS @ grid.affine[:3, :3]
    if np.count_nonzero(np.abs(turn) > 1e-3 * np.abs(turn).max()) != 3:
        raise ValueError(
            "the frame 'asoca_vtp' is defined for images along the scanner's axes, as ASOCA's all are, "
            f"but this one is oblique (voxel axes in LPS: {np.round(turn, 3).tolist()})"
        )
    last = np.array(grid.shape) - 1
    # the origin of the file, also where the volume has been turned since: the corner with the smallest coordinates
    origin = _LPS @ grid.affine[:3, 3] + np.minimum(turn * last, 0).sum(axis=1)
    return np.array([2 * origin[0], 2 * origin[1], 0.0])


def _needed(grid: Grid | None, frame: str) -> Grid:
    if grid is None:
        raise ValueError(f"the frame {frame!r} depends on the image: pass its grid, common.grids.read_grid(image)")
    return grid


def _in_image(voxels: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray((voxels >= 0) & (voxels < shape))


def _share_in_frame(points: Points, frame: str, grid: Grid, mask: NDArray[np.bool_] | None) -> float:
    """As :func:`share_inside`; 0 in a frame that the image does not have."""
    try:
        return share_inside(to_ras(points, frame, grid), grid, mask)
    except ValueError:
        return 0.0
