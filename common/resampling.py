"""Resampling along the axes of a volume, one axis after another: what MONAI's ``Spacing`` gives, several times as fast.

MONAI looks every new voxel up by its three coordinates, on a grid three times as large as the volume. Where the new
axes are the old ones, as for a change of spacing, each axis can be interpolated on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import SpatialResample
from monai.utils import TraceKeys, get_equivalent_dtype
from numpy.typing import NDArray
from torch import Tensor

from .memory import slices_at_once

MODES = ("bilinear", "nearest")
TURN = 1e-3  # voxels; an axis that strays less from its old direction over the whole volume has not turned
SLAB = 8  # slices to resample at once; fewer where a budget of memory asks for it
STEPS = 5  # copies of a slab at one time, with the slice more that lies at its end
TIE = 6  # decimals of a position; of two voxels equally far the later is the nearest, whatever rounding says


class SeparableResample(SpatialResample):
    """MONAI's ``SpatialResample``, axis by axis where no axis turns; else, and for splines, MONAI's own.

    Linear interpolation agrees with MONAI's in double precision to 1e-6 of the range of values; the nearest voxel is
    the same, but where two are equally far. Border voxels go on beyond the ends. The inverse goes the same way.
    """

    def __call__(
        self,
        img: Tensor,
        dst_affine: Tensor | None = None,
        spatial_size: Any = None,
        mode: str | int | None = None,
        padding_mode: str | None = None,
        align_corners: bool | None = None,
        dtype: Any = None,
        lazy: bool | None = None,
    ) -> Tensor:
        """Return ``img``, ``(C, *spatial)``, resampled to ``dst_affine`` and ``spatial_size``, as float32."""
        mode = self.mode if mode is None else mode
        padding = self.padding_mode if padding_mode is None else padding_mode
        lines = None
        if isinstance(img, MetaTensor) and dst_affine is not None and not (self.lazy if lazy is None else lazy):
            ours = mode in MODES and padding == "border" and not img.requires_grad
            lines = _lines(img, dst_affine, spatial_size) if ours else None
        if lines is None or dst_affine is None or not isinstance(img, MetaTensor):
            return torch.as_tensor(
                super().__call__(img, dst_affine, spatial_size, mode, padding, align_corners, dtype, lazy)
            )
        undo = {
            "dtype": str(_torch_type(dtype or self.dtype or img.dtype)).removeprefix("torch."),
            "mode": mode,
            "padding_mode": padding,
            "align_corners": self.align_corners if align_corners is None else align_corners,
            "src_affine": img.affine,
        }
        meta = self.track_transform_meta(
            img,
            sp_size=[len(line) for line in lines],
            affine=torch.from_numpy(_between(img, dst_affine)),
            extra_info=undo,
            orig_size=tuple(img.shape[1:]),
            transform_info=self.get_transform_info(),
            lazy=False,
        )
        resampled = MetaTensor(resample_axes(img.as_tensor(), lines, str(mode)))
        return torch.as_tensor(resampled.copy_meta_from(meta))  # type: ignore[no-untyped-call]

    def inverse(self, data: Tensor) -> Tensor:
        """Return a volume on the grid that it had before the last call."""
        operation = self.pop_transform(data)
        undo = dict(operation[TraceKeys.EXTRA_INFO])
        affine = undo.pop("src_affine")
        undo["dtype"] = _torch_type(undo["dtype"])
        if undo["align_corners"] == TraceKeys.NONE:
            undo["align_corners"] = False
        with self.trace_transform(False):
            return self(data, dst_affine=affine, spatial_size=operation[TraceKeys.ORIG_SIZE], **undo)


def resample_axes(volume: Tensor, lines: Sequence[NDArray[np.float64]], mode: str) -> Tensor:
    """Resample the spatial axes of a volume.

    Args:
        volume: ``(C, *spatial)``.
        lines: for each spatial axis the old positions, in voxels, of its new voxels; the ends go on beyond the ends.
        mode: "bilinear" (linear along every axis; float32 then) or "nearest" (values are copied).

    Returns:
        ``(C, *(len(line) for line in lines))``, float32, its axes in the memory's order of ``volume``: to turn a
        NIfTI file's would take as long as the rest.
    """
    volume = volume.float() if volume.dtype == torch.bfloat16 else volume  # which NumPy does not have
    sizes, new = volume.shape[1:], [len(line) for line in lines]
    order = _memory_order(volume)
    # allocated by NumPy, which asks for large pages: to fill small ones takes as long as the nearest voxels
    whole = torch.from_numpy(np.empty([(len(volume), *new)[axis] for axis in order], np.float32)).to(volume.device)
    resampled = whole.permute(np.argsort(order).tolist())
    if mode == "nearest" and volume.device.type == "cpu":
        every = [np.arange(len(volume)), *(_nearest(line, size) for line, size in zip(lines, sizes, strict=True))]
        _pick(volume.permute(order).numpy(force=True), [every[axis] for axis in order], whole.numpy())
        return resampled
    outer = next(axis - 1 for axis in order if axis > 0)
    # the axes that shrink most go first, so that the others have less to do
    inner = sorted((axis for axis in range(len(new)) if axis != outer), key=lambda axis: new[axis] / sizes[axis])
    plane = prod(max(new[axis], sizes[axis]) for axis in inner) * max(sizes[outer] / new[outer], 1)
    bytes_each = max(4, volume.element_size())
    slab = slices_at_once(STEPS * bytes_each * len(volume) * plane, 4 * whole.numel(), SLAB)
    for first in range(0, new[outer], slab):  # what lies between stays in the cache
        line = np.clip(lines[outer][first : first + slab], 0, sizes[outer] - 1)
        low, high = int(line.min()), min(int(line.max()) + 2, sizes[outer])
        part = volume.narrow(outer + 1, low, high - low)
        for axis in inner:
            part = resample_axis(part, axis + 1, lines[axis], mode)
        part = resample_axis(part, outer + 1, line - low, mode)
        resampled.narrow(outer + 1, first, len(line)).copy_(part)
    return resampled


def resample_axis(volume: Tensor, axis: int, line: NDArray[np.float64], mode: str) -> Tensor:
    """Resample one axis; see :func:`resample_axes`.

    Args:
        volume: any number of axes.
        axis: which of them.
        line: old positions of the new voxels along it, in voxels.
        mode: "bilinear" or "nearest".
    """
    size = volume.shape[axis]
    if len(line) == size and np.array_equal(line, np.arange(size)):
        return volume
    order = _memory_order(volume)
    ordered, along = volume.permute(order), order.index(axis)
    if mode == "nearest":
        moved = _take(ordered, along, _nearest(line, size))
    else:
        at = np.clip(line, 0, size - 1)
        low = np.minimum(np.floor(at), max(size - 2, 0))
        share = torch.from_numpy((at - low).astype(np.float32)).to(volume.device)
        upper = _take(ordered, along, np.minimum(low + 1, size - 1)).float()
        moved = _take(ordered, along, low).float()
        moved = moved.lerp_(upper, share.reshape([-1 if other == along else 1 for other in range(volume.ndim)]))
    return moved.permute(np.argsort(order).tolist())


def _memory_order(volume: Tensor) -> list[int]:
    """Return the axes from the one whose steps in memory are largest to the innermost; those of one voxel first."""
    strides, sizes = volume.stride(), volume.shape
    return sorted(range(volume.ndim), key=lambda axis: (sizes[axis] > 1, -strides[axis]))


def _nearest(line: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Return the old voxels, of ``size``, that lie nearest to positions."""
    return np.floor(np.clip(line, 0, size - 1).round(TIE) + 0.5).astype(np.int64)


def _pick(volume: NDArray[Any], picks: Sequence[NDArray[np.int64]], out: NDArray[np.float32]) -> None:
    """Fill ``out`` with the voxels of a volume that are given for each axis, plane by plane."""
    *outer, rows, columns = picks
    inside = (rows[:, None] * volume.shape[-1] + columns).ravel()
    for place in np.ndindex(out.shape[:-2]):
        plane = volume[tuple(line[index] for line, index in zip(outer, place, strict=True))]
        # straight into the result, which takes "clip" instead of the check: no pick lies outside
        plane.reshape(-1).astype(np.float32, copy=False).take(inside, out=out[place].reshape(-1), mode="clip")


def _take(volume: Tensor, axis: int, line: NDArray[np.floating] | NDArray[np.int64]) -> Tensor:
    """Return the voxels at whole positions along an axis."""
    index = line.astype(np.int64)
    if volume.device.type == "cpu":  # along the innermost axis torch takes twenty times as long
        return torch.from_numpy(np.take(volume.numpy(force=True), index, axis))
    return volume.index_select(axis, torch.from_numpy(index).to(volume.device))


def _torch_type(dtype: Any) -> torch.dtype:
    """Return torch's word for a type."""
    found: torch.dtype = get_equivalent_dtype(dtype, Tensor)  # type: ignore[no-untyped-call]
    return found


def _lines(img: MetaTensor, dst_affine: Tensor, spatial_size: Any) -> list[NDArray[np.float64]] | None:
    """Return the old positions of the new voxels along each axis, None where an axis turns."""
    axes = img.ndim - 1
    if not isinstance(spatial_size, Sequence | np.ndarray | Tensor) or len(spatial_size) != axes:
        return None
    sizes = [int(size) for size in spatial_size]
    if min(sizes) < 1:
        return None
    between = _between(img, dst_affine)
    scale, turned = np.diag(between)[:-1], between[:-1, :-1] - np.diag(np.diag(between)[:-1])
    if (np.abs(turned) * sizes).max() > TURN:
        return None
    return [
        _snapped(np.arange(n) * step + start, n) for n, step, start in zip(sizes, scale, between[:-1, -1], strict=True)
    ]


def _between(img: MetaTensor, dst_affine: Tensor) -> NDArray[np.float64]:
    """Return the affine from new voxels to those of ``img``."""
    affines = img.affine.numpy(force=True), torch.as_tensor(dst_affine).numpy(force=True)
    old, new = (np.asarray(to_affine_nd(img.ndim - 1, affine), np.float64) for affine in affines)
    return np.asarray(np.linalg.solve(old, new), np.float64)


def _snapped(line: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return whole positions exactly, where rounding alone has moved them."""
    whole = np.arange(size, dtype=np.float64)
    return whole if np.allclose(line, whole, rtol=0, atol=TURN) else line
