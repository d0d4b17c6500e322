"""How much memory an inference may take: what is chosen to stay below a budget, and a refusal where nothing would.

A process has one memory, so a bundle has one budget, which the option ``memory_budget_gb`` sets when its inference
begins and lifts when that ends. On a CPU it limits the memory of the whole process, on a GPU that of its tensors there.
What the steps need was measured on a CPU, and is rounded up, so a little memory stays unused.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from .engines import release_engines
from .grids import read_grid

GB = 10**9
READING = 4.0  # volumes of 4 bytes a voxel, from the file to the crop around the heart, scaled
RESTORING = 2.6  # the same, from the network's grid to the mask and whatever else is written
PREVIEW = 3.0  # the same, more, for a picture, which needs the scan once more
ENGINE = 0.25 * GB  # what a first volume leaves behind for good, at most: the engine's code and plans, libraries
SPARE = 0.1 * GB  # for what is not counted: text, tables, pages between allocations
MAX_BATCH = 8  # windows on a GPU; more gain nothing
LEAST = 0.1  # GB; what a refusal names is rounded up to it

_statm = Path("/proc/self/statm")
_budget: _Budget | None = None


class Plan(NamedTuple):
    """How a volume's windows are run: how many at once, and where they are blended (None: where the volume is)."""

    batch: int
    blend_on: torch.device | None = None


@dataclass
class _Budget:
    """A limit, and what steps of different kinds take.

    Attributes:
        limit: bytes.
        device: where the network runs, and whose memory is limited.
        voxel_bytes: what a voxel of a window takes in the network.
        writing: volumes of 4 bytes a voxel that bringing the result back and writing it take.
        engine: what the first run of the network will add, 0 after it.
    """

    limit: float
    device: torch.device
    voxel_bytes: float
    writing: float
    engine: float = ENGINE

    def free(self) -> float:
        """Return the bytes that are left, a spare amount apart."""
        return self.limit - SPARE - _held(self.device)

    def least_gb(self, needed: float) -> float:
        """Return the smallest budget in GB, to a tenth, under which ``needed`` more bytes would fit now."""
        return math.ceil((self.limit - self.free() + needed) / GB / LEAST) * LEAST


def set_budget(
    gb: float | None,
    device: torch.device | str = "cpu",
    images: Iterable[Mapping[str, str | Path]] = (),
    voxel_bytes: float = 0.0,
    preview: bool = False,
) -> None:
    """Limit the memory of this process, and refuse images that cannot even be read within it.

    Args:
        gb: the budget in GB (10^9 bytes); None lifts it.
        device: where the network runs; of a GPU the memory there is limited, which torch itself then watches over.
        images: items of a data list, segmented one after another; the file in "image" is judged by its header.
        voxel_bytes: memory that a voxel of a window takes in the network, per window.
        preview: whether pictures will be drawn.

    Raises:
        ValueError: If the budget is not positive, too little for one of the images, or memory cannot be measured here.
    """
    global _budget
    before, _budget = _budget, None
    if before is not None and before.device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0, before.device)
    if gb is None:
        return
    if not isinstance(gb, int | float) or isinstance(gb, bool) or not 0 < gb < math.inf:
        raise ValueError(f"memory_budget_gb must be a positive number of GB, got {gb!r}")
    device = torch.device(device)
    if device.type == "cuda":
        device = device if device.index is not None else torch.device("cuda", torch.cuda.current_device())
        share = gb * GB / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(share, 1.0), device)
    elif not _statm.exists():
        raise ValueError(f"memory_budget_gb needs {_statm}, which {sys.platform} does not have: leave it out")
    budget = _Budget(gb * GB, device, voxel_bytes, RESTORING + PREVIEW * preview)
    for path in (Path(item["image"]) for item in images) if device.type == "cpu" else ():
        _afford(budget, READING * 4 * math.prod(read_grid(path).shape), f"reading {path}")
    _budget = budget


def plan_windows(
    inputs: Tensor, roi_size: Sequence[int], batch: int = 1, volumes: float = 2, movable: bool = True
) -> Plan:
    """Choose how many windows to run at once and where to blend them; without a budget what is asked for.

    Compiled networks of other windows are let go of where that makes the room that is needed.

    Args:
        inputs: the volume, ``(B, C, *spatial)``; the size of its file is taken from its metadata.
        roi_size: window edges in voxels.
        batch: windows at once, if there is no budget; with one the most on a CPU, where more are no faster.
        volumes: float volumes of the network's grid that blending needs.
        movable: whether the windows of a GPU can be blended on the CPU.

    Raises:
        ValueError: If the budget is too little for one window, or for bringing the result back to the file's grid.
    """
    if _budget is None:
        return Plan(batch)
    window, grid = math.prod(roi_size) * _budget.voxel_bytes, 4 * inputs[:, 0].numel()
    if _budget.device.type == "cuda":
        places = [(_budget.device, volumes * grid), (torch.device("cpu"), 0.0)][: 1 + movable]
        for place, blending in places:
            fitting = _fitting(_budget.free() - blending, window)
            if fitting >= 1:
                return _told(Plan(min(fitting, MAX_BATCH), place))
        _afford(_budget, window + places[-1][1], "a window of the network")
    needed = max(_budget.engine + window + volumes * grid, _budget.writing * 4 * _file_voxels(inputs) + grid)
    _make_room(_budget, needed)
    _afford(_budget, needed, "the network, or what follows it,")
    return _told(Plan(max(min(batch, _fitting(_budget.free() - _budget.engine - volumes * grid, window)), 1)))


def make_room(inputs: Tensor) -> None:
    """Let go of the compiled networks, kept for the next volume, where their memory is needed to write and to read.

    Args:
        inputs: the volume that the network has seen, ``(B, C, *spatial)``.
    """
    if _budget is not None and _budget.device.type == "cpu":
        _budget.engine = 0
        _make_room(_budget, max(_budget.writing, READING) * 4 * _file_voxels(inputs))


def slices_at_once(slice_bytes: float, result_bytes: float, most: int) -> int:
    """Choose how many slices of a volume to resample at once.

    Args:
        slice_bytes: what lies between, for each slice.
        result_bytes: the whole result.
        most: the fastest number.

    Raises:
        ValueError: If the budget is too little for the result and one slice.
    """
    if _budget is None or _budget.device.type != "cpu":
        return most
    _make_room(_budget, result_bytes + slice_bytes)
    _afford(_budget, result_bytes + slice_bytes, "resampling")
    return min(_fitting(_budget.free() - result_bytes, slice_bytes), most)


def _make_room(budget: _Budget, needed: float) -> None:
    """Release the engines if something does not fit."""
    if needed > budget.free():
        release_engines()
        gc.collect()
        if sys.platform == "linux":
            getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # glibc keeps what is freed; musl has no such function


def _fitting(free: float, each: float) -> int:
    """Return how often something fits."""
    return int(free // max(each, 1))


def _afford(budget: _Budget, needed: float, what: str) -> None:
    """Raise if something does not fit."""
    if needed > budget.free():
        raise ValueError(
            f"memory_budget_gb {budget.limit / GB:g} is too little: {what} needs {needed / GB:.1f} GB beside what is "
            f"in memory by then, so at least {budget.least_gb(needed):.1f}. Raise it, or cut the scan to the heart"
        )


def _told(plan: Plan) -> Plan:
    """Log a plan."""
    place = f", blended on {plan.blend_on}" if plan.blend_on else ""
    logging.getLogger(__name__).info("memory budget: %d windows at once%s", plan.batch, place)
    return plan


def _held(device: torch.device) -> float:
    """Return the bytes that are taken: by the whole process, or by its tensors on a GPU."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    return int(_statm.read_text().split()[1]) * float(os.sysconf("SC_PAGE_SIZE"))


def _file_voxels(inputs: Tensor) -> float:
    """Return the number of voxels of the file that a volume stems from, of the volume itself where that is unknown."""
    shape = inputs.meta.get("spatial_shape") if isinstance(inputs, MetaTensor) else None
    return float(inputs[:, 0].numel() if shape is None else np.prod(np.ravel(np.asarray(shape))[:3].astype(float)))
