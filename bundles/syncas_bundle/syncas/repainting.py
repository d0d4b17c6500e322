"""Step 1 of the data engine: every structure of a CCTA painted with one value, as if there were no contrast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from .disks import dilate_in_slices
from .structures import CORONARY_ID, STRUCTURES, Structure

_TEXTURE_PX = 1.0
_TEXTURE_GAIN = 2 * np.sqrt(np.pi) * _TEXTURE_PX  # white noise loses this factor when it is smoothed in the slice


@dataclass(frozen=True)
class Paint:
    """The value of one structure in one view.

    Attributes:
        structure: what is painted.
        shift_hu: what was added to its base value.
    """

    structure: Structure
    shift_hu: float

    @property
    def hu(self) -> float:
        """The value it is painted with."""
        return self.structure.base_hu + self.shift_hu

    def record(self) -> dict[str, object]:
        """Return it as plain data."""
        return asdict(self.structure) | {"shift_hu": self.shift_hu, "hu": self.hu}


def structure_table(dilate_px: int | Mapping[str, int] | None = None, coronary_last: bool = False) -> list[Structure]:
    """Return the rows of the structure table in the order of painting.

    Args:
        dilate_px: pixels by which structures grow in the slice: for all of them, or by name; None for 2.
        coronary_last: paint the coronary arteries last, so that no chamber covers a part of them.

    Raises:
        ValueError: If a name is not in the table or a number is negative.
    """
    names = [structure.name for structure in STRUCTURES]
    given = dict(dilate_px) if isinstance(dilate_px, Mapping) else {}
    if isinstance(dilate_px, int):
        given = dict.fromkeys((name for name in names if name != "heart_tissue"), dilate_px)
    unknown = sorted(set(given) - set(names))
    if unknown or any(not isinstance(value, int) or value < 0 for value in given.values()):
        raise ValueError(
            f"dilate_px must be a whole number of at least 0, or such numbers by name, got {dilate_px!r}; the names "
            f"are {', '.join(names)}"
        )
    rows = [Structure(s.id, s.name, s.base_hu, s.filled, given.get(s.name, s.dilate_px)) for s in STRUCTURES]
    return sorted(rows, key=lambda row: coronary_last and row.id == CORONARY_ID)


def painted_regions(ids: NDArray[np.uint8], table: list[Structure]) -> NDArray[np.uint8]:
    """Which structure covers which voxel, once all of them have grown and been painted in order.

    Args:
        ids: ids of the structures, ``(X, Y, Z)`` with axial slices along Z.
        table: structures in the order of painting.

    Returns:
        Ids of the same shape, 0 where nothing is painted.
    """
    regions = np.zeros_like(ids)
    boxes = find_objects(ids, max_label=int(ids.max(initial=0)))
    for structure in table:
        box = boxes[structure.id - 1] if structure.id <= len(boxes) else None
        if box is not None:
            grown = _grown_box(box, structure.dilate_px, ids.shape)
            regions[grown][dilate_in_slices(ids[grown] == structure.id, structure.dilate_px)] = structure.id
    return regions


def draw_paints(
    rng: np.random.Generator, table: list[Structure], shift_probability: float = 0.5, shift_hu: float = 200.0
) -> list[Paint]:
    """Draw one value for every structure.

    Args:
        rng: source of randomness.
        table: the structures; those that a volume lacks are drawn too, so that the others do not depend on them.
        shift_probability: chance that a structure's value is shifted.
        shift_hu: greatest shift, up or down.
    """
    paints = {}
    for structure in sorted(table, key=lambda row: row.id):
        shifted, amount = rng.random() < shift_probability, rng.uniform(-shift_hu, shift_hu)
        paints[structure.id] = Paint(structure, float(amount) if shifted else 0.0)
    return [paints[structure.id] for structure in table]


def repaint(ccta_hu: NDArray[np.floating], regions: NDArray[np.uint8], paints: list[Paint]) -> NDArray[np.float32]:
    """Return a CT whose painted regions have the values of their structures.

    Args:
        ccta_hu: ``(X, Y, Z)``.
        regions: see :func:`painted_regions`, same shape.
        paints: values of all structures in it.
    """
    values = np.zeros(256, np.float32)
    for paint in paints:
        values[paint.structure.id] = paint.hu
    painted = np.array(ccta_hu, np.float32)
    for z in range(painted.shape[2]):  # slice by slice: a whole volume of values would be as large as the CT
        np.copyto(painted[..., z], values[regions[..., z]], where=regions[..., z] > 0)
    return painted


def add_texture(
    painted: NDArray[np.float32], regions: NDArray[np.uint8], rngs: list[np.random.Generator], sd_hu: float
) -> None:
    """Add smooth noise to the painted regions, in place.

    Args:
        painted: ``(X, Y, Z)``.
        regions: nonzero where to add, same shape.
        rngs: source of randomness of every slice.
        sd_hu: standard deviation of what is added.
    """
    for z, rng in enumerate(rngs):
        white = rng.standard_normal(painted.shape[:2], np.float32)
        texture = sd_hu * _TEXTURE_GAIN * gaussian_filter(white, _TEXTURE_PX, mode="wrap")
        painted[..., z] += np.where(regions[..., z] > 0, texture, 0).astype(np.float32)


def _grown_box(box: tuple[slice, ...], margin: int, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """A box with a margin in the slice."""
    margins = (margin, margin, 0)
    return tuple(slice(max(b.start - m, 0), min(b.stop + m, n)) for b, m, n in zip(box, margins, shape, strict=True))
