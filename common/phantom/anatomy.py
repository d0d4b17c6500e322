"""One random person: what all renderings of a phantom share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .heart import Heart, draw_heart
from .thorax import Thorax, draw_thorax
from .tree import CoronaryTree, draw_tree


@dataclass(frozen=True)
class Anatomy:
    """A heart, the coronary vessels on it and the chest around it, in the patient frame (RAS, mm)."""

    heart: Heart
    thorax: Thorax
    tree: CoronaryTree


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a person.

    Args:
        rng: source of all randomness.
    """
    heart = draw_heart(rng)
    tree = draw_tree(heart, rng)
    return Anatomy(heart, draw_thorax(heart, rng), tree)
