"""Step 3 of the data engine: plaques, drawn once for a view and laid on its volume before or after the scan."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

from .common.plaque import Plaque, draw_plaques
from .common.plaque_voxels import locate_in_vessel, paint_plaques

_MARGIN_PX = 5  # the blending of a plaque's border reaches 4 pixels
_BLEND_PX = 1.0
_SCAN_PX = 5.07 / np.sqrt(8 * np.log(2))  # sigma of blur, projection, reconstruction and blur together
_MAX_GAIN = 10.0  # of the value of a plaque so small that the scan would hide it

Resampler = Callable[[NDArray[Any], str], NDArray[Any]]


@dataclass(frozen=True)
class PlaqueLayer:
    """The plaques of one view: a volume becomes ``kept * volume + added`` inside a box, and stays as it is outside.

    Attributes:
        box: the part of every slice that holds the vessels.
        kept: share of the volume that stays, 0 to 1, ``(x, y, Z)``.
        added: HU, same shape.
        kinds: 0 none, 1 calcified, 2 soft, same shape.
        table: one row for each plaque, see :func:`.common.plaque_voxels.paint_plaques`, on the grid of the CCTA.
    """

    box: tuple[slice, slice]
    kept: NDArray[np.float32]
    added: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    table: list[dict[str, Any]]

    def lay_on(self, volume_hu: NDArray[np.float32]) -> None:
        """Put the plaques into a volume, ``(X, Y, Z)``, in place."""
        volume_hu[self.box] *= self.kept
        volume_hu[self.box] += self.added

    def resampled(self, resample: Resampler) -> PlaqueLayer:
        """Return the layer on other slices; ``resample`` takes a volume and "image" or "label"."""
        kept, added = (resample(volume, "image") for volume in (self.kept, self.added))
        return replace(self, kept=kept, added=added, kinds=resample(self.kinds, "label"))


class PlaquePainter:
    """Draws plaques for the coronary arteries of one case.

    Args:
        coronary: mask, ``(X, Y, Z)``.
        spacing: mm per voxel.
        aorta: mask from which the arteries arise, same shape; it may be empty.
        preset: "reference" or "clinical".
    """

    def __init__(
        self, coronary: NDArray[np.bool_], spacing: NDArray[np.float64], aorta: NDArray[np.bool_], preset: str
    ) -> None:
        vessel = locate_in_vessel(coronary, spacing.tolist(), aorta)
        low = np.maximum(vessel.index.min(0, initial=max(coronary.shape)) - _MARGIN_PX, 0)
        high = np.minimum(vessel.index.max(0, initial=0) + 1 + _MARGIN_PX, coronary.shape)
        self.preset = preset
        self.box = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
        self._origin = np.array([low[0], low[1], 0])
        shape = (*(int(n) for n in np.maximum(high - low, 0)[:2]), coronary.shape[2])
        self._vessel = replace(vessel, shape=shape, index=vessel.index - self._origin)

    def draw(
        self,
        rng: np.random.Generator,
        count: int | None = None,
        surroundings_hu: float | None = None,
        slab: int = 1,
    ) -> PlaqueLayer | None:
        """Draw the plaques of one view.

        Args:
            rng: source of randomness.
            count: how many; None draws 0 to 15.
            surroundings_hu: give the value of the vessel if a scan follows: then plaques are painted brighter (or
                darker) than drawn, so that their peaks have the drawn values after it, at most ten times as far from
                the vessel's value.
            slab: slices that will make one, which a scan averages too.

        Returns:
            The plaques; None if there are no vessels.
        """
        plaques = draw_plaques(rng, self._vessel.branches, self.preset, count)
        if not self._vessel.branches:
            return None
        painted = plaques
        if surroundings_hu is not None:
            painted = [self._before_scan(plaque, surroundings_hu, slab) for plaque in plaques]
        again = deepcopy(rng)  # the same texture on black and on white: what differs is the share that stays
        added, kinds, table = paint_plaques(np.zeros(self._vessel.shape, np.float32), self._vessel, painted, rng)
        kept = paint_plaques(np.ones(self._vessel.shape, np.float32), self._vessel, painted, again)[0] - added
        for row, plaque in zip(table, plaques, strict=True):
            row["painted_hu"], row["hu"] = row["hu"], plaque.hu
            if row["centre_voxel"] is not None:
                row["centre_voxel"] = (np.array(row["centre_voxel"]) + self._origin).tolist()
        return PlaqueLayer(self.box, np.clip(kept, 0, 1), added, kinds, table)

    def _before_scan(self, plaque: Plaque, surroundings_hu: float, slab: int) -> Plaque:
        """Raise the value of a plaque by what a scan will take from its peak."""
        vessel = self._vessel
        on_branch = np.flatnonzero(vessel.branch == plaque.branch)
        coordinates = (vessel.arc_mm[on_branch], vessel.angle_deg[on_branch], vessel.radius_fraction[on_branch])
        index = vessel.index[on_branch[plaque.contains(*coordinates)]]
        if not len(index):
            return plaque
        reach = np.array([10, 10, slab])  # more than four sigma
        inside = np.zeros(np.ptp(index, axis=0) + 1 + 2 * reach, np.float32)
        inside[tuple((index - index.min(0) + reach).T)] = 1
        share = np.minimum(2 * gaussian_filter(inside, (_BLEND_PX, _BLEND_PX, 0)), 1)  # as it is painted
        scanned = uniform_filter1d(gaussian_filter(share, (_SCAN_PX, _SCAN_PX, 0)), slab, axis=2)
        peak = float(scanned[inside > 0].max())
        gain = min(1 / peak, _MAX_GAIN)
        return replace(plaque, hu=surroundings_hu + gain * (plaque.hu - surroundings_hu))
