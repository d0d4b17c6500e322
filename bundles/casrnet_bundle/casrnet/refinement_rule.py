"""The limits by which a segmentation is refined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

SIDE = 512
"""Shorter side in pixels of the image that the limits are stated for."""

MIN_TRACE = 3
"""Pixels of a vessel's end below which it has no direction."""


@dataclass(frozen=True)
class RefinementRule:
    """What counts as a speck, as a gap to close and as a false positive, in an image with a shorter side of 512 pixels.

    Args:
        speck_area: pixels below which a component is deleted before gaps are looked at.
        min_area: pixels below which a component is deleted in the end.
        max_gap: most background pixels on a patch line; 0 for no patch lines.
        max_angle_deg: largest angle between a patch line and a vessel's end that it touches.
        angle_weight: pixels of gap that are as bad as an angle of 90 degrees.
        trace: pixels from which the direction and the width of a vessel's end are taken, at least 3 in any image.
        max_width: largest width of a patch line in pixels, at least 1 in any image.
        min_gap_prob: least mean probability of vessel on a gap; 0 asks for none.
        min_rel: share of the largest component's area below which a component is deleted in the end.

    Raises:
        ValueError: If a limit is out of range.

    Source:
        Ours. CASR-Net's publication names contour-based removal and patch lines, but neither rules nor numbers.
    """

    speck_area: float = 20
    min_area: float = 100
    max_gap: float = 25
    max_angle_deg: float = 45
    angle_weight: float = 10
    trace: float = 10
    max_width: float = 15
    min_gap_prob: float = 0
    min_rel: float = 0

    def __post_init__(self) -> None:
        for name in ("speck_area", "min_area", "max_gap", "angle_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name, highest in (("max_angle_deg", 180), ("min_gap_prob", 1), ("min_rel", 1)):
            if not 0 <= getattr(self, name) <= highest:
                raise ValueError(f"{name} must be in 0..{highest}, got {getattr(self, name)}")
        if not self.trace >= MIN_TRACE or not self.max_width >= 1:
            raise ValueError(
                f"trace must be at least {MIN_TRACE} and max_width at least 1, got {self.trace} and {self.max_width}"
            )

    def scaled_to(self, shape: Sequence[int]) -> RefinementRule:
        """Return the rule for an image of another size: lengths in proportion to its shorter side, areas to its square.

        Args:
            shape: rows and columns of the image.
        """
        share = min(shape) / SIDE
        return replace(
            self,
            speck_area=self.speck_area * share**2,
            min_area=self.min_area * share**2,
            max_gap=self.max_gap * share,
            angle_weight=self.angle_weight * share,
            trace=max(self.trace * share, MIN_TRACE),
            max_width=max(self.max_width * share, 1),
        )
