"""What lies around the heart in a chest CT: lungs, diaphragm, fat, spine, ribs, sternum, descending aorta, gullet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .heart import Heart
from .shapes import Array, Tube, smooth_union


@dataclass(frozen=True)
class Thorax:
    """The chest around one heart, in the patient frame (RAS, mm).

    Attributes:
        center_mm: middle of the rib cage at the level of the heart, ``(3,)``.
        half_width_mm: inner half width of the rib cage.
        half_depth_mm: inner half depth of the rib cage.
        dome_mm: height of the diaphragm's dome below the heart's origin (positive number).
        descending_aorta: the vessel as a tube.
        oesophagus: the gullet as a tube.
        ribs: one tube for each rib.
        lung_vessels: contrast-filled vessels of both lungs.
    """

    center_mm: NDArray[np.float64]
    half_width_mm: float
    half_depth_mm: float
    dome_mm: float
    descending_aorta: Tube
    oesophagus: Tube
    ribs: tuple[Tube, ...]
    lung_vessels: tuple[Tube, ...]

    def cage(self, points: Array) -> Array:
        """Return signed distances to the inside of the rib cage."""
        p = points - self.center_mm.astype(np.float32)
        level = np.sqrt((p[:, 0] / self.half_width_mm) ** 2 + (p[:, 1] / self.half_depth_mm) ** 2)
        return np.asarray((level - 1) * self.half_depth_mm, np.float32)

    def abdomen(self, points: Array) -> Array:
        """Return signed distances to everything below the diaphragm."""
        p = points - self.center_mm.astype(np.float32)
        sag = ((p[:, 0] - 35) / 175) ** 2 * 45 + (p[:, 1] / 100) ** 2 * 45
        return np.asarray((p[:, 2] + self.dome_mm + sag) * 0.85, np.float32)

    def mediastinum(self, points: Array, pericardium: Array) -> Array:
        """Return signed distances to the space between the lungs, given those to the pericardium."""
        p = points - self.center_mm.astype(np.float32)
        slab = np.abs(p[:, 0] - 0.12 * np.abs(p[:, 2])) - 8 - 0.12 * np.abs(p[:, 1])
        upper = np.hypot((p[:, 0]) / 1.3, (p[:, 1] + 6) / 1.5) - 28 + 0.9 * np.maximum(28 - p[:, 2], 0)
        result = smooth_union(pericardium - 1.0, np.asarray(slab, np.float32), 18)
        result = smooth_union(result, np.asarray(upper, np.float32), 12)
        aorta = self.descending_aorta.distance(points) - 4
        return smooth_union(result, aorta, 12)

    def vertebrae(self, points: Array) -> dict[str, Array]:
        """Return signed distances to vertebral bodies, processes, discs and the canal."""
        p = points - self.center_mm.astype(np.float32)
        x, y, z = p[:, 0], p[:, 1] + self.half_depth_mm - 14, p[:, 2]
        body = np.hypot(x / 1.15, y) - 16 + 1.2 * np.cos(2 * np.pi * z / 24)
        height = np.abs((z + 7) % 24 - 12)
        arch = np.maximum(np.hypot(x / 1.2, y + 23) - 13, np.abs(x) - 18)
        spinous = np.maximum(np.abs(x) - 4, np.maximum(np.abs(y + 42) - 14, 9 - height))
        return {
            "bone": np.asarray(np.minimum(np.maximum(body, 2.5 - height), np.minimum(arch, spinous)), np.float32),
            "disc": np.asarray(np.maximum(body + 0.5, height - 2.5), np.float32),
            "canal": np.asarray(np.hypot(x / 1.1, y + 23.5) - 8, np.float32),
        }

    def sternum(self, points: Array) -> Array:
        """Return signed distances to the breast bone."""
        p = points - self.center_mm.astype(np.float32)
        x = np.maximum(np.abs(p[:, 0]) - 11, 0)
        return np.asarray(np.hypot(x, p[:, 1] - self.half_depth_mm - 3) - 5.5, np.float32)


def draw_thorax(heart: Heart, rng: np.random.Generator) -> Thorax:
    """Draw a chest that fits around ``heart``.

    Args:
        heart: the heart; its pericardium must fit between sternum and spine.
        rng: source of all randomness.

    Returns:
        The chest in the patient frame.
    """
    scale = heart.scale
    width, depth = float(rng.uniform(118, 138)), float(rng.uniform(82, 92)) * max(scale, 0.95)
    center = heart.origin_mm + np.array([rng.uniform(8, 16), rng.uniform(-9, -4), 0.0]) * scale
    spine = center + np.array([0, 14 - depth, 0])
    heights = np.arange(-130, 131, 20.0)
    aside = np.array([rng.normal(0, 2), rng.normal(0, 2), 0])
    aorta = spine + aside + np.stack([-22 + 3 * np.sin(heights / 60), np.full_like(heights, 16.0), heights], axis=1)
    gullet = spine + np.stack([-4 - 0.04 * heights, np.full_like(heights, 27.0), heights], axis=1)
    return Thorax(
        center,
        width,
        depth,
        float(rng.uniform(38, 46)) * scale,
        Tube(aorta, np.full(len(heights), rng.uniform(10.5, 13))),
        Tube(gullet, np.full(len(heights), 6.0)),
        tuple(_ribs(center, width, depth, rng)),
        tuple(_lung_vessels(heart, rng)),
    )


def _ribs(center: NDArray[np.float64], width: float, depth: float, rng: np.random.Generator) -> list[Tube]:
    """Return ribs that slope down from the spine to the front."""
    phase = rng.uniform(0, 26)
    ribs = []
    for side in (-1, 1):
        for first in np.arange(-90, 150, 26.0) + phase:
            angle = np.linspace(-80, 76, 14)
            x = side * (width + 4) * np.cos(np.radians(angle))
            y = (depth + 4) * np.sin(np.radians(angle))
            z = first - 38 * (angle + 80) / 156
            ribs.append(Tube(center + np.stack([x, y, z], axis=1), np.full(14, rng.uniform(4.5, 5.5))))
    return ribs


def _lung_vessels(heart: Heart, rng: np.random.Generator) -> list[Tube]:
    """Return vessels that fan out from both hila."""
    vessels = []
    for name in ("left_upper_vein", "left_lower_vein", "right_upper_vein", "right_lower_vein"):
        base = heart.to_patient(heart.tubes[name].points)[1]
        side = -1.0 if name.startswith("left") else 1.0
        for _ in range(10):
            heading = np.array([side * rng.uniform(0.2, 1), rng.uniform(-0.6, 1.3), rng.uniform(-1.2, 0.8)])
            points = [base + rng.normal(0, 6, 3) + [side * 12, 0, 0]]
            for _ in range(9):
                heading = heading / np.linalg.norm(heading) + rng.normal(0, 0.22, 3)
                points.append(points[-1] + heading / np.linalg.norm(heading) * 11)
            vessels.append(Tube(np.asarray(points), np.linspace(rng.uniform(2.2, 4.2), 0.5, 10)))
    return vessels
