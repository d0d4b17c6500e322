"""Geometry of a C-arm: where a point of the patient appears on the detector, the usual views, the framing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

VIEWS: Mapping[str, Sequence[tuple[float, float]]] = {
    "left": ((-30, -25), (-10, 35), (40, 25), (45, -30), (0, -30), (0, 35), (-30, 25), (-30, 0), (88, 0)),
    "right": ((40, 0), (30, 22), (-30, 0), (0, 30), (-30, 15), (45, 5), (88, 0)),
}
"""Working views of each coronary artery as positioner angles: primary (LAO positive), secondary (cranial positive)."""

FIELD_MM = (110.0, 220.0)
"""Least and greatest edge of the part of the detector that is read."""


@dataclass(frozen=True)
class CArm:
    """A point source, a flat detector, and the patient at the isocentre between them (patient frame RAS, mm).

    The *camera frame* has its origin in the source and the axes u (columns, rightwards), v (rows, downwards) and w
    (towards the detector). As on every angiography screen one looks from the detector at the patient: without angles
    the patient's left is on the right side of the image.

    Attributes:
        primary_deg: positioner primary angle, LAO positive, RAO negative.
        secondary_deg: positioner secondary angle, cranial positive, caudal negative.
        isocentre_mm: the point of the patient that the central ray passes, ``(3,)``.
        source_detector_mm: distance from source to detector.
        source_isocentre_mm: distance from source to isocentre.
        pixel_mm: edge of a pixel on the detector.
        shape: rows and columns.
    """

    primary_deg: float
    secondary_deg: float
    isocentre_mm: NDArray[np.float64]
    source_detector_mm: float
    source_isocentre_mm: float
    pixel_mm: float
    shape: tuple[int, int]

    @property
    def axes(self) -> NDArray[np.float64]:
        """Columns u, v, w in the patient frame, ``(3, 3)``."""
        a, b = np.radians([self.primary_deg, self.secondary_deg])
        u = np.array([-np.cos(a), -np.sin(a), 0.0])
        v = -np.array([np.sin(a) * np.sin(b), -np.cos(a) * np.sin(b), np.cos(b)])
        w = np.array([-np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), np.sin(b)])
        return np.stack([u, v, w], axis=1)

    @property
    def pixel_at_isocentre_mm(self) -> float:
        """Edge of a pixel where the heart is."""
        return self.pixel_mm * self.source_isocentre_mm / self.source_detector_mm

    def to_camera(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map ``(N, 3)`` mm from the patient frame to the camera frame."""
        turned = (points - self.isocentre_mm) @ self.axes
        return np.asarray(turned + np.array([0.0, 0.0, self.source_isocentre_mm]))

    def to_patient(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map ``(N, 3)`` mm from the camera frame to the patient frame."""
        from_isocentre = points - np.array([0.0, 0.0, self.source_isocentre_mm])
        return np.asarray(from_isocentre @ self.axes.T + self.isocentre_mm)

    def project(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where points of the patient appear.

        Args:
            points: ``(N, 3)`` RAS mm.

        Returns:
            Pixel coordinates (column, row) of the points, ``(N, 2)``, pixel centres at whole numbers; and how many
            pixels one mm across the ray measures there, ``(N,)``.
        """
        camera = self.to_camera(points)
        scale = self.source_detector_mm / (camera[:, 2] * self.pixel_mm)
        middle = np.array([(self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2])
        return camera[:, :2] * scale[:, None] + middle, scale


def draw_carm(points: NDArray[np.float64], artery: str, shape: tuple[int, int], rng: np.random.Generator) -> CArm:
    """Draw a view of an artery, panned and zoomed so that the artery fills most of the frame.

    Args:
        points: the artery, ``(N, 3)`` RAS mm.
        artery: "left" or "right".
        shape: rows and columns.
        rng: source of all randomness.
    """
    views = VIEWS[artery]
    primary, secondary = np.array(views[int(rng.integers(len(views)))]) + rng.normal(0, 4, 2).clip(-9, 9)
    carm = CArm(
        primary_deg=round(float(primary), 1),
        secondary_deg=round(float(secondary), 1),
        isocentre_mm=(points.min(axis=0) + points.max(axis=0)) / 2,
        source_detector_mm=round(float(rng.uniform(950, 1100))),
        source_isocentre_mm=750.0,
        pixel_mm=1.0,
        shape=shape,
    )
    fill = rng.uniform(0.72, 1.15)
    shift = rng.uniform(-0.06, 0.06, 2)
    for _ in range(2):  # panning changes the perspective a little
        pixels, _ = carm.project(points)
        low, high = np.percentile(pixels, (1, 99), axis=0)
        middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
        offset = ((low + high) / 2 - middle + shift * (high - low)) * carm.pixel_at_isocentre_mm
        carm = replace(carm, isocentre_mm=carm.isocentre_mm + carm.axes[:, :2] @ offset)
    pixel_mm = float(((high - low) / (fill * np.array(shape[::-1]))).max())
    smallest, largest = (edge / max(shape) for edge in FIELD_MM)
    return replace(carm, pixel_mm=round(float(np.clip(pixel_mm, smallest, largest)), 6))
