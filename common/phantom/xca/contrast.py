"""Flow of contrast agent: how much of it a place along the artery holds at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VISIBLE = 0.3
"""Share of the full concentration from which on a lumen counts as filled, in every mask of a sequence."""


@dataclass(frozen=True)
class Bolus:
    """One injection; times count from the first frame.

    Attributes:
        arrival_s: when contrast passes the ostium; negative where it did so before the first frame.
        duration_s: how long it is injected.
        speed_mm_s: speed of the front along the vessels.
        washout_mm_s: speed of the clear blood behind it.
        rise_s: time from clear to full at the ostium; dispersion makes it longer on the way.
        fall_per_cm: relative loss of concentration for each cm of way.
    """

    arrival_s: float
    duration_s: float
    speed_mm_s: float
    washout_mm_s: float
    rise_s: float
    fall_per_cm: float

    def concentration(self, way_mm: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
        """Return the concentration relative to the full one.

        Args:
            way_mm: distances from the ostium along the tree, any shape.
            time_s: time since the first frame.

        Returns:
            Values in [0, 1], same shape.
        """
        rise = self.rise_s * (1 + way_mm / 150)
        wash_in = _ramp((time_s - self.arrival_s - way_mm / self.speed_mm_s) / rise)
        late = time_s - self.arrival_s - self.duration_s - way_mm / self.washout_mm_s
        wash_out = _ramp(late / (6 * rise))
        return np.asarray(wash_in * (1 - wash_out) * np.exp(-self.fall_per_cm * way_mm / 10))

    def in_catheter(self, time_s: float) -> float:
        """Return how much contrast the catheter holds, in [0, 1]."""
        before = _ramp(np.array((time_s - self.arrival_s + 0.15) / 0.1))
        return float(before * (1 - _ramp(np.array((time_s - self.arrival_s - self.duration_s) / 0.5))))


def draw_bolus(length_mm: float, span_s: float, rng: np.random.Generator) -> Bolus:
    """Draw an injection: some sequences begin before it, most while it fills the artery or when it has, a few late.

    Args:
        length_mm: way from the ostium to the end of the longest branch.
        span_s: duration of the sequence.
        rng: source of all randomness.
    """
    stage = str(rng.choice(["before", "filling", "full", "washout"], p=[0.2, 0.25, 0.45, 0.1]))
    speed, duration = float(rng.uniform(150, 320)), float(rng.uniform(1.8, 3.2))
    filled = length_mm / speed + 0.3
    arrival = {
        "before": rng.uniform(0.05, 0.4) * min(span_s, 1.2),
        "filling": -rng.uniform(0.1, 0.9) * filled,
        "full": -filled - rng.uniform(0, 1) * max(duration - filled - span_s / 2, 0.1),
        "washout": -duration - rng.uniform(-0.2, 0.3),
    }[stage]
    return Bolus(
        arrival_s=float(arrival),
        duration_s=duration,
        speed_mm_s=speed,
        washout_mm_s=speed * float(rng.uniform(0.5, 0.9)),
        rise_s=float(rng.uniform(0.08, 0.25)),
        fall_per_cm=float(rng.uniform(0.005, 0.025)),
    )


def _ramp(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a smooth step from 0 at 0 to 1 at 1."""
    share = np.clip(value, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))
