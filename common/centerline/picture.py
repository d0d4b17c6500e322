"""One picture of a centerline tree in its mask, to see at a glance whether it is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from ..grids import spacing_mm
from ..preview import INK, PAPER, VIEWS, View
from .branch import BRANCH_LABELS, Branch
from .frames import voxel_coordinates
from .graphs import OTHER
from .tree import bifurcation_points, end_points, root_points

WIDTH_PX = 1600
PANEL_HEIGHT_PX = 900  # at most
MAX_PX_PER_MM = 16.0  # a lone short vessel is not blown up to the full width
MARGIN_MM = 6.0
# of Okabe and Ito's palette, which colour-blind people can tell apart, brightened for a dark ground
COLOURS = (
    *((86, 180, 233), (240, 170, 40), (0, 190, 140), (240, 228, 66), (230, 110, 50), (215, 135, 185)),
    *((120, 150, 255), (170, 220, 120), (255, 130, 140), (110, 225, 225), (200, 165, 110), (190, 150, 255)),
)
NUMBERED = len(COLOURS)
"""So many branches, the longest, are numbered and listed."""
UNNUMBERED = (165, 165, 165)
ROOT, FORK, END = (255, 255, 255), (255, 255, 255), (150, 150, 150)
_NEARER = {0: -1, 1: 1, 2: -1}  # of two points on an axis, the viewer is nearer to the one with the larger product
_FINE = 2  # drawn larger and then reduced, so that lines are smooth
_GAP, _TOP, _FOOT, _ROW = 12, 52, 44, 26  # px


def tree_figure(
    mask: NDArray[np.bool_], affine: ArrayLike, branches: Sequence[Branch], title: str = ""
) -> NDArray[np.uint8]:
    """Draw a mask from three sides in grey, its centerline tree in colours, and ostia, bifurcations and ends.

    Args:
        mask: ``(X, Y, Z)`` with its axes towards right, front and top, at least one voxel.
        affine: from voxel to RAS mm, ``(4, 4)``.
        branches: branches in RAS mm, at least one.
        title: heads the picture.

    Returns:
        ``(height, width, 3)``; the longest branches are numbered, and listed with length and radius.

    Raises:
        ValueError: If the mask has not three axes or is empty, or there is no branch.
    """
    mask = np.asarray(mask, bool)
    if mask.ndim != 3 or not mask.any() or not branches:
        raise ValueError(f"a mask (X, Y, Z) and a branch are needed, got shape {mask.shape}, {len(branches)} branches")
    matrix = np.asarray(affine, np.float64)
    scene = _Scene(mask, matrix, branches)
    panels = [_panel(scene, view) for view in VIEWS]
    rank = scene.rank
    rows = -(-min(len(branches), NUMBERED) // 4)
    height = max(panel.height for panel in panels)
    size = (WIDTH_PX * _FINE, _FINE * (_TOP + _FOOT + rows * _ROW + 2 * _GAP) + height)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_FINE * _GAP, _FINE * _TOP // 2), title, INK, _font(22), anchor="lm")
    left = _FINE * _GAP
    for view, panel in zip(VIEWS, panels, strict=True):
        sheet.paste(panel, (left, _FINE * _TOP))
        _letters(draw, view, (left, _FINE * _TOP, panel.width, panel.height))
        left += panel.width + _FINE * _GAP
    below = _FINE * (_TOP + _GAP) + height
    _list(draw, branches, rank, below)
    _legend(draw, size[1] - _FINE * _FOOT // 2, scene.px_per_mm)
    return np.asarray(sheet.resize((size[0] // _FINE, size[1] // _FINE), Image.Resampling.LANCZOS))


class _Scene:
    """Mask and tree in mm along the image's axes, cut to a common box."""

    def __init__(self, mask: NDArray[np.bool_], affine: NDArray[np.float64], branches: Sequence[Branch]) -> None:
        self.spacing = spacing_mm(affine)
        self.lines = [self._place(branch.points, affine) for branch in branches]
        self.marks = [
            self._place(points, affine)
            for points in (end_points(branches), bifurcation_points(branches), root_points(branches))
        ]
        filled = [np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        margin = np.ceil(MARGIN_MM / self.spacing).astype(int)
        self.first = np.array([voxels[0] for voxels in filled]) - margin
        self.last = np.array([voxels[-1] for voxels in filled]) + margin
        box = tuple(slice(voxels[0], voxels[-1] + 1) for voxels in filled)
        self.mask = np.pad(mask[box], [(side, side) for side in margin])
        self.extent_mm = self.mask.shape * self.spacing
        gaps = (len(VIEWS) + 1) * _GAP
        across = sum(self.extent_mm[_kept(view)[0]] for view in VIEWS)
        high = max(self.extent_mm[_kept(view)[1]] for view in VIEWS)
        self.px_per_mm = _FINE * float(min((WIDTH_PX - gaps) / across, PANEL_HEIGHT_PX / high, MAX_PX_PER_MM))
        longest = np.argsort([-branch.length_mm for branch in branches])
        self.rank = {int(index): rank for rank, index in enumerate(longest)}

    def _place(self, points: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
        return voxel_coordinates(points, affine) * self.spacing

    def pixels(self, points: NDArray[np.float64], view: View) -> list[tuple[float, float]]:
        """Where points (mm along the image's axes) are on a panel; both of its axes run from high to low."""
        high = (self.last + 0.5) * self.spacing
        kept = list(_kept(view))
        return [tuple(point) for point in ((high - points)[:, kept] * self.px_per_mm).tolist()]

    def size(self, view: View) -> tuple[int, int]:
        """Width and height of a panel in px."""
        across, down = (round(float(self.extent_mm[axis] * self.px_per_mm)) for axis in _kept(view))
        return max(across, 1), max(down, 1)


def _panel(scene: _Scene, view: View) -> Image.Image:
    """One projection."""
    thickness = scene.mask.sum(view.axis) * scene.spacing[view.axis]
    grey = 18 + 100 * (1 - np.exp(-thickness / 1.5))  # thin vessels are seen, thick ones do not glare
    picture = Image.fromarray(np.ascontiguousarray(grey[::-1, ::-1].T, np.float32))
    smooth = np.array(picture.resize(scene.size(view), Image.Resampling.BILINEAR))
    panel = Image.fromarray(np.repeat(smooth.astype(np.uint8)[..., None], 3, axis=2))
    draw = ImageDraw.Draw(panel)
    nearness = [_NEARER[view.axis] * float(line[:, view.axis].mean()) for line in scene.lines]
    for index in np.argsort(nearness):
        points = scene.pixels(scene.lines[index], view)
        draw.line(points, PAPER, 4 * _FINE, joint="curve")  # a dark rim, to tell what passes in front
        draw.line(points, _colour(scene.rank[int(index)]), 2 * _FINE, joint="curve")
    ends, forks, roots = (scene.pixels(points, view) for points in scene.marks)
    for places, mark in ((ends, _end), (forks, _fork), (roots, _root)):
        for place in places:
            mark(draw, place)
    _numbers(draw, scene, view)
    return panel


def _numbers(draw: ImageDraw.ImageDraw, scene: _Scene, view: View) -> None:
    """Write the number of a long branch beside its middle, or further along where another number is."""
    taken: list[tuple[float, float]] = []
    for index, rank in sorted(scene.rank.items(), key=lambda item: item[1]):
        if rank >= NUMBERED:
            break
        places = scene.pixels(scene.lines[index], view)
        spots = [places[round(share * (len(places) - 1))] for share in (0.5, 0.65, 0.35, 0.8, 0.2, 0.95)]
        free = [spot for spot in spots if all(np.hypot(*np.subtract(spot, other)) > 26 * _FINE for other in taken)]
        x, y = (free or spots)[0]
        taken.append((x, y))
        radius = 10 * _FINE
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), PAPER, _colour(rank), 2 * _FINE)
        draw.text((x, y), str(rank + 1), INK, _font(13), anchor="mm")


def _root(draw: ImageDraw.ImageDraw, place: tuple[float, float]) -> None:
    x, y = place
    r = 8 * _FINE
    draw.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], ROOT, PAPER, 2 * _FINE)


def _fork(draw: ImageDraw.ImageDraw, place: tuple[float, float]) -> None:
    x, y = place
    r = 4.5 * _FINE
    draw.ellipse((x - r, y - r, x + r, y + r), FORK, PAPER, _FINE)


def _end(draw: ImageDraw.ImageDraw, place: tuple[float, float]) -> None:
    x, y = place
    r = 4.5 * _FINE
    draw.ellipse((x - r, y - r, x + r, y + r), PAPER, END, 2 * _FINE)


def _letters(draw: ImageDraw.ImageDraw, view: View, place: tuple[int, int, int, int]) -> None:
    """Name a panel and its four sides."""
    left, upper, width, height = place
    middle, centre, inset = left + width // 2, upper + height // 2, 6 * _FINE
    spots = ((left + inset, centre, "lm"), (left + width - inset, centre, "rm"), (middle, upper + inset, "mt"))
    for letter, (x, y, anchor) in zip(view.letters, (*spots, (middle, upper + height - inset, "mb")), strict=True):
        draw.text((x, y), letter, INK, _font(16), anchor=anchor, stroke_width=2 * _FINE, stroke_fill=PAPER)
    draw.text((left + inset, upper + inset), view.name, INK, _font(16), stroke_width=2 * _FINE, stroke_fill=PAPER)


def _list(draw: ImageDraw.ImageDraw, branches: Sequence[Branch], rank: dict[int, int], top: int) -> None:
    """Say how long and wide the numbered branches are."""
    for index, place in rank.items():
        if place >= NUMBERED:
            continue
        branch = branches[index]
        name = "" if branch.label == OTHER else f"{BRANCH_LABELS[branch.label]}  "
        text = (
            f"{name}{branch.length_mm:.0f} mm   radius {branch.radius_mm.max():.1f} to {branch.radius_mm.min():.1f} mm"
        )
        column, row = place % 4, place // 4
        x = _FINE * (_GAP + 14) + column * (WIDTH_PX - 2 * _GAP) * _FINE // 4
        y = top + _FINE * (row * _ROW + _ROW // 2)
        radius = 10 * _FINE
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), PAPER, _colour(place), 2 * _FINE)
        draw.text((x, y), str(place + 1), INK, _font(13), anchor="mm")
        draw.text((x + 18 * _FINE, y), text, INK, _font(15), anchor="lm")


def _legend(draw: ImageDraw.ImageDraw, y: int, px_per_mm: float) -> None:
    """Say what the marks mean, and how long 20 mm are."""
    x = _FINE * (_GAP + 14)
    for mark, text in ((_root, "root (ostium)"), (_fork, "bifurcation"), (_end, "end")):
        mark(draw, (x, y))
        draw.text((x + 18 * _FINE, y), text, INK, _font(15), anchor="lm")
        x += round(_font(15).getlength(text)) + 54 * _FINE
    right = (WIDTH_PX - _GAP) * _FINE
    draw.line((right - 20 * px_per_mm, y, right, y), INK, 4 * _FINE)
    draw.text((right - 20 * px_per_mm - 10 * _FINE, y), "20 mm", INK, _font(15), anchor="rm")


def _colour(rank: int) -> tuple[int, int, int]:
    return COLOURS[rank] if rank < NUMBERED else UNNUMBERED


def _kept(view: View) -> tuple[int, int]:
    """The axes that run across and down the picture."""
    across, down = (axis for axis in range(3) if axis != view.axis)
    return across, down


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _FINE)
