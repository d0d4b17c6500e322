"""The data engine: a CCTA and its label map become a non-contrast CT of the same anatomy, with every draw recorded.

Volumes are in RAS, ``(X, Y, Z)``, with axial slices along Z; the pixels of a slice must be square.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from .common.tomography.scan import simulate_scan
from .engine_plaques import PlaqueLayer, PlaquePainter
from .repainting import Paint, add_texture, draw_paints, painted_regions, repaint, structure_table
from .resampling import TOLERANCE, ResampleSlicesd
from .structures import AORTA_IDS, CORONARY_ID, present_ids

ENGINE_VERSION = 1
"""Rises when the same seed gives other volumes."""

PHOTONS = {"reference": (1.0e4, 1.0e5), "beer_lambert": (2.0e4, 2.0e5)}  # the latter: ours, 5 to 25 HU
_MARGIN_PX = 32  # around the structures, where only their region is projected
_MAX_ASPECT = 1.01
_AIR_HU = -1024.0  # what lies below is the padding of a scanner, whose edge would draw streaks


@dataclass(frozen=True)
class EngineSettings:
    """What the data engine does; the defaults are the published values.

    Attributes:
        shift_probability: chance that a structure's value is shifted in a view.
        shift_hu: greatest shift, up or down.
        dilate_px: pixels by which structures grow before they are painted, one number or numbers by name; None for 2.
        coronary_last: paint the coronary arteries last, so that no chamber covers a part of them.
        texture_sd_hu: standard deviation of a smooth texture inside the painted structures.
        noise_model: "reference" or "beer_lambert", see :func:`.common.tomography.noise.add_photon_noise`.
        mode: "exact" projects and reconstructs every slice; "fast" adds equivalent noise.
        photons: range of the photons of a ray, of which every slice draws its own number: uniform for "reference",
            log-uniform for "beer_lambert"; None for the model's.
        electronic_sd: standard deviation of the read-out noise in photons, for "beer_lambert".
        region_only: project only the structures and 32 pixels around them.
        slice_thickness_mm: thickness of the new slices; None keeps those of the CCTA.
        slice_profile: how thin slices make thicker ones: "box" (their mean, before the noise) or "nearest".
        label_mode: label of a thick slice: "majority" or "max" of the thin ones.
        plaque_preset: "reference" or "clinical", see :func:`.common.plaque.draw_plaques`; "none" for no plaques.
        plaque_count: plaques of a view; None draws 0 to 15.
        plaque_stage: "post" paints them into the finished scan, sharp and free of noise; "pre" before it is taken, with
            values raised so that their peaks come out as drawn.

    Raises:
        ValueError: If a value is out of its range.
    """

    shift_probability: float = 0.5
    shift_hu: float = 200.0
    dilate_px: int | Mapping[str, int] | None = None
    coronary_last: bool = False
    texture_sd_hu: float = 0.0
    noise_model: str = "reference"
    mode: str = "exact"
    photons: Sequence[float] | None = None
    electronic_sd: float = 0.0
    region_only: bool = False
    slice_thickness_mm: float | None = None
    slice_profile: str = "box"
    label_mode: str = "majority"
    plaque_preset: str = "reference"
    plaque_count: int | None = None
    plaque_stage: str = "post"

    def __post_init__(self) -> None:
        structure_table(self.dilate_px, self.coronary_last)
        ResampleSlicesd("label", (1, 1, 1), "label", self.slice_profile, self.label_mode)
        for name, allowed in (
            ("noise_model", tuple(PHOTONS)),
            ("mode", ("exact", "fast")),
            ("plaque_preset", ("reference", "clinical", "none")),
            ("plaque_stage", ("post", "pre")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        for name in ("shift_probability", "shift_hu", "texture_sd_hu", "electronic_sd", "plaque_count"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.shift_probability > 1:
            raise ValueError(f"shift_probability must be at most 1, got {self.shift_probability}")
        if self.slice_thickness_mm is not None and self.slice_thickness_mm <= 0:
            raise ValueError(f"slice_thickness_mm must be positive, got {self.slice_thickness_mm}")
        given = PHOTONS[self.noise_model] if self.photons is None else self.photons
        if not isinstance(given, Sequence) or len(given) != 2 or not 1 <= given[0] <= given[1]:
            raise ValueError(f"photons must be two numbers, the lower one of at least 1, got {self.photons}")

    @property
    def photon_range(self) -> tuple[float, float]:
        """Lowest and highest number of photons of a ray."""
        low, high = PHOTONS[self.noise_model] if self.photons is None else self.photons
        return float(low), float(high)


@dataclass(frozen=True)
class View:
    """One synthetic scan, on the grid that :attr:`Engine.affine` describes.

    Attributes:
        image: int16 HU, ``(X, Y, Z)``.
        plaques: 0 none, 1 calcified, 2 soft, same shape.
        record: every draw: values of the structures, photons of the slices, plaques.
    """

    image: NDArray[np.int16]
    plaques: NDArray[np.uint8]
    record: dict[str, Any] = field(repr=False)


class Engine:
    """Makes views of one case. What views share is computed once: painted regions, vessel coordinates, thick labels.

    Args:
        ccta_hu: the contrast CT, ``(X, Y, Z)`` in RAS.
        ids: label map, same shape, see :func:`.structures.merge_structures`.
        affine: of both, from voxel to RAS in mm.
        settings: what to do.

    Attributes:
        affine: of the views.
        label: coronary arteries on the grid of the views, 0 and 1.
        structures: ids on the grid of the views.

    Raises:
        ValueError: If shapes differ, or the pixels of a slice are not square.
    """

    def __init__(
        self,
        ccta_hu: NDArray[np.floating],
        ids: NDArray[np.uint8],
        affine: NDArray[np.float64],
        settings: EngineSettings | None = None,
    ) -> None:
        self.settings = settings or EngineSettings()
        if ccta_hu.ndim != 3 or ccta_hu.shape != ids.shape:
            raise ValueError(f"ccta_hu and ids must have one shape (X, Y, Z), got {ccta_hu.shape} and {ids.shape}")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if max(spacing[:2]) > _MAX_ASPECT * min(spacing[:2]):
            raise ValueError(
                f"the pixels of an axial slice must be square, got {spacing[0]:.4g} x {spacing[1]:.4g} mm; resample "
                "the CT and its labels in the plane of the slices"
            )
        thickness = self.settings.slice_thickness_mm
        if thickness is not None and thickness < spacing[2] * (1 - TOLERANCE):
            raise ValueError(
                f"slice_thickness_mm must be at least that of the CT, {spacing[2]:.4g} mm, got {thickness}; null keeps "
                "the slices as they are"
            )
        self._spacing = spacing
        self._ccta_hu = ccta_hu
        self._table = structure_table(self.settings.dilate_px, self.settings.coronary_last)
        self._regions = painted_regions(ids, self._table)
        self._painted_ids = present_ids(self._regions)
        coronary = ids == CORONARY_ID
        self.label = self._thick(coronary.astype(np.uint8), "label")
        self.structures = self._thick(ids, "label")
        scale = ids.shape[2] / self.structures.shape[2]
        self._slab = round(scale)
        self.affine = affine @ np.diag([1, 1, scale, 1])
        self.affine[:3, 3] += affine[:3, 2] * (scale - 1) / 2
        self._painter = None
        if self.settings.plaque_preset != "none":
            self._painter = PlaquePainter(coronary, spacing, np.isin(ids, AORTA_IDS), self.settings.plaque_preset)

    def view(
        self, case: str, seed: int = 0, number: int = 0, workers: int = 1, device: str | torch.device | None = None
    ) -> View:
        """Make one view.

        Args:
            case: name of the case.
            seed: chooses, with the case and the number, all random numbers of the view.
            number: of the view.
            workers: threads over the slices; the view does not depend on them.
            device: where to project; None for the CPU.
        """
        depth = self.structures.shape[2]
        sequence = np.random.SeedSequence([seed, zlib.crc32(case.encode()), number])
        structures, plaques, *slices = map(np.random.default_rng, sequence.spawn(2 + depth))
        paints = draw_paints(structures, self._table, self.settings.shift_probability, self.settings.shift_hu)
        layer = self._draw_plaques(plaques, paints)
        before_scan = self.settings.plaque_stage == "pre"
        photons = np.array([self._draw_photons(rng) for rng in slices])
        image = self._scan(self._paint(paints, layer if before_scan else None), photons, slices, workers, device)
        kinds = np.zeros(self.structures.shape, np.uint8)
        if layer is not None:
            layer = layer.resampled(self._thick)
            kinds[layer.box] = layer.kinds
            if not before_scan:
                layer.lay_on(image)
        record = {
            "view": number,
            "structures": [paint.record() for paint in paints if paint.structure.id in self._painted_ids],
            "photons": photons.tolist(),
            "plaques": [] if layer is None else layer.table,
        }
        return View(as_int16(image), kinds, record)

    def _draw_plaques(self, rng: np.random.Generator, paints: list[Paint]) -> PlaqueLayer | None:
        """Draw the plaques of a view, on the grid of the CCTA."""
        if self._painter is None:
            return None
        vessel_hu = next(paint.hu for paint in paints if paint.structure.id == CORONARY_ID)
        surroundings_hu = vessel_hu if self.settings.plaque_stage == "pre" else None
        return self._painter.draw(rng, self.settings.plaque_count, surroundings_hu, self._slab)

    def _paint(self, paints: list[Paint], layer: PlaqueLayer | None) -> NDArray[np.float32]:
        """Return the volume that the scanner sees, on the grid of the views."""
        painted = repaint(self._ccta_hu, self._regions, paints)
        np.maximum(painted, _AIR_HU, out=painted)
        if layer is not None:
            layer.lay_on(painted)
        return self._thick(painted, "image")

    def _draw_photons(self, rng: np.random.Generator) -> float:
        """Draw the photons of a ray of one slice."""
        low, high = self.settings.photon_range
        if self.settings.noise_model == "reference":
            return float(rng.integers(int(low), int(high), endpoint=True))
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    def _scan(
        self,
        painted: NDArray[np.float32],
        photons: NDArray[np.float64],
        rngs: list[np.random.Generator],
        workers: int,
        device: str | torch.device | None,
    ) -> NDArray[np.float32]:
        """Take the scan of a painted volume."""
        if self.settings.texture_sd_hu > 0:
            add_texture(painted, self._thick(self._regions, "label"), rngs, self.settings.texture_sd_hu)
        return simulate_scan(
            painted,
            float(self._spacing[:2].mean()),
            photons,
            rngs,
            noise_model=self.settings.noise_model,
            mode=self.settings.mode,
            electronic_sd=self.settings.electronic_sd,
            region=self._region() if self.settings.region_only else None,
            device=device,
            workers=workers,
        )

    def _region(self) -> tuple[slice, slice] | None:
        """The structures with a margin in the slice."""
        box = []
        for axis in (0, 1):
            filled = np.flatnonzero((self._regions > 0).any((1 - axis, 2)))
            if not len(filled):
                return None
            last = min(int(filled[-1]) + 1 + _MARGIN_PX, self._regions.shape[axis])
            box.append(slice(max(int(filled[0]) - _MARGIN_PX, 0), last))
        return box[0], box[1]

    def _thick(self, volume: NDArray[Any], mode: str) -> NDArray[Any]:
        """Bring a volume, or a box of it, to thick slices, or return it as it is."""
        if self.settings.slice_thickness_mm is None:
            return volume
        spacing = (*self._spacing[:2].tolist(), self.settings.slice_thickness_mm)
        resample = ResampleSlicesd("volume", spacing, mode, self.settings.slice_profile, self.settings.label_mode)
        affine = torch.diag(torch.tensor([*self._spacing.tolist(), 1.0]))
        thick = resample({"volume": MetaTensor(torch.from_numpy(volume)[None], affine=affine)})["volume"]
        return np.asarray(thick[0].numpy())


def as_int16(volume: NDArray[np.floating]) -> NDArray[np.int16]:
    """Round to the nearest integer; what int16 cannot hold becomes its smallest or greatest value."""
    limits = np.iinfo(np.int16)
    rounded = np.empty_like(volume, np.int16)
    for z in range(volume.shape[-1]):  # slice by slice: copies of the volume would take more memory than the scan
        rounded[..., z] = np.clip(np.rint(volume[..., z]), limits.min, limits.max)
    return rounded
