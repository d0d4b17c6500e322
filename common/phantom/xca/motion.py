"""Heartbeat and breathing: how points of the heart move while a sequence is taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..heart import Heart


@dataclass(frozen=True)
class Motion:
    """The motion of one person during a sequence.

    Attributes:
        rate_bpm: heart rate.
        phase: share of the heart cycle that has passed at the first frame, in [0, 1).
        radial: relative loss of distance from the long axis at end systole.
        descent_mm: way of the base towards the apex at end systole.
        twist_deg: turn of the apex against the base at end systole.
        breath_mm: way of the heart between expiration and inspiration, towards the feet.
        breath_phase: share of the breathing cycle that has passed at the first frame.
        breath_s: duration of the breathing cycle.
    """

    rate_bpm: float
    phase: float
    radial: float
    descent_mm: float
    twist_deg: float
    breath_mm: float
    breath_phase: float
    breath_s: float

    def contraction(self, time_s: float) -> float:
        """Return how far the heart has contracted: 0 at end diastole, 1 at end systole."""
        cycle = (self.phase + time_s * self.rate_bpm / 60) % 1
        systole = 0.33 + 0.002 * self.rate_bpm  # contraction and relaxation, a larger share of short cycles
        return float(0.5 - 0.5 * np.cos(2 * np.pi * cycle / systole)) if cycle < systole else 0.0

    def breath(self, time_s: float) -> NDArray[np.float64]:
        """Return the displacement by breathing, ``(3,)`` RAS mm."""
        share = 0.5 - 0.5 * np.cos(2 * np.pi * (self.breath_phase + time_s / self.breath_s))
        return np.asarray(np.array([0.0, 0.25, -1.0]) * (self.breath_mm * share))

    def move(self, heart: Heart, points: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
        """Return where points of the heart are at a time.

        The heart shortens radially about its long axis, the base comes down to the apex, and the apex turns. The
        aortic root, held by the great vessels, takes part by a third.

        Args:
            heart: pose and size.
            points: places at end diastole in expiration, ``(N, 3)`` RAS mm.
            time_s: time since the first frame.
        """
        share = self.contraction(time_s)
        l_mm, s_mm, a_mm = heart.to_heart(points).T
        apex_mm, axis_mm = 80 * heart.scale, 14 * heart.scale
        root = np.array([-4.0, 16.0, -19.0]) * heart.scale
        free = np.clip(np.linalg.norm(heart.to_heart(points) - root, axis=1) / (45 * heart.scale), 0, 1)
        share_here = share * (0.33 + 0.67 * free * free * (3 - 2 * free))
        depth = np.clip(a_mm / apex_mm, -0.4, 1.0)
        turn = np.radians(self.twist_deg) * share_here * depth
        narrow = 1 - self.radial * share_here
        l_mm, s_mm = (l_mm - axis_mm) * narrow, s_mm * narrow
        moved = np.stack(
            [
                axis_mm + l_mm * np.cos(turn) - s_mm * np.sin(turn),
                l_mm * np.sin(turn) + s_mm * np.cos(turn),
                a_mm + self.descent_mm * share_here * (1 - np.maximum(depth, 0)),
            ],
            axis=1,
        )
        return heart.to_patient(moved) + self.breath(time_s)


def draw_motion(strength: float, rng: np.random.Generator) -> Motion:
    """Draw heart rate, contraction and breathing.

    Args:
        strength: size of contraction and breathing relative to the usual.
        rng: source of all randomness.
    """
    held = rng.random() < 0.6  # most sequences are taken in breath-hold
    return Motion(
        rate_bpm=float(rng.uniform(55, 100)),
        phase=float(rng.random()),
        radial=float(rng.uniform(0.1, 0.2)) * strength,
        descent_mm=float(rng.uniform(8, 14)) * strength,
        twist_deg=float(rng.uniform(5, 11)) * strength,
        breath_mm=float(rng.uniform(0, 1.5) if held else rng.uniform(4, 14)) * strength,
        breath_phase=float(rng.random()),
        breath_s=float(rng.uniform(3.0, 5.0)),
    )
