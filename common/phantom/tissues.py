"""Hounsfield values of the tissues of a chest, with and without contrast medium."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

_Draw = Callable[[np.random.Generator, Mapping[str, float]], float]


@dataclass(frozen=True)
class TissueRule:
    """How the value of a tissue is drawn.

    Attributes:
        draw: mean value from the source of randomness and the values that were drawn before.
        texture_sd_hu: standard deviation of the texture.
        texture_share: the same as a share of the mean value, added to it.
    """

    draw: _Draw
    texture_sd_hu: float = 0.0
    texture_share: float = 0.0


class Tissues:
    """Mean values of the tissues of one scan, each drawn when it is first asked for.

    Args:
        rules: a rule for each tissue, ``CONTRAST`` or ``NATIVE``.
        rng: source of randomness; textures are drawn from it in between.
        drawn: values that are known beforehand.
    """

    def __init__(self, rules: Mapping[str, TissueRule], rng: np.random.Generator, drawn: Mapping[str, float]) -> None:
        self.rules = rules
        self.rng = rng
        self.drawn = dict(drawn)

    def hu(self, name: str) -> float:
        """Return the mean value of a tissue."""
        if name not in self.drawn:
            self.drawn[name] = float(self.rules[name].draw(self.rng, self.drawn))
        return self.drawn[name]

    def texture_sd_hu(self, name: str) -> float:
        """Return the standard deviation of a tissue's texture."""
        rule = self.rules[name]
        return rule.texture_sd_hu + rule.texture_share * self.hu(name) if rule.texture_share else rule.texture_sd_hu


def _constant(hu: float) -> _Draw:
    return lambda _rng, _drawn: hu


def _normal(mean: float, sd: float) -> _Draw:
    return lambda rng, _drawn: rng.normal(mean, sd)


def _uniform(low: float, high: float) -> _Draw:
    return lambda rng, _drawn: rng.uniform(low, high)


def _like(other: str, mean: float, sd: float) -> _Draw:
    """The value of another tissue, plus a difference that is drawn."""
    return lambda rng, drawn: drawn[other] + rng.normal(mean, sd)


_BOTH = {
    "fat": TissueRule(_normal(-92, 6), 8),
    "lung": TissueRule(_normal(-860, 20), 35),
    "pericardium": TissueRule(_constant(20)),
    "spinal_canal": TissueRule(_constant(30)),
}

CONTRAST: Mapping[str, TissueRule] = _BOTH | {
    "lung_vessels": TissueRule(lambda _, drawn: 0.6 * drawn["aorta"]),
    "liver": TissueRule(_normal(100, 10), 10),
    "disc": TissueRule(_constant(85)),
    "oesophagus": TissueRule(_constant(42)),
    "vessel_wall": TissueRule(_constant(50)),
    "aortic_wall": TissueRule(_constant(55)),
    "atrial_wall": TissueRule(_constant(85)),
    "descending_aorta": TissueRule(_like("aorta", -10, 8)),
    "myocardium": TissueRule(_uniform(85, 125), 6),
    "right_heart": TissueRule(lambda rng, drawn: drawn["aorta"] * float(rng.uniform(0.35, 0.75)), texture_share=0.16),
    "superior_vena_cava": TissueRule(
        lambda rng, drawn: drawn["right_heart"] * float(rng.choice([0.8, 1.6])), texture_share=0.12
    ),
    "inferior_vena_cava": TissueRule(lambda _, drawn: 0.5 * drawn["right_heart"] + 50, 20),
    "right_pulmonary_artery": TissueRule(lambda _, drawn: drawn["right_heart"] * 1.02),
    "pulmonary_trunk": TissueRule(lambda _, drawn: drawn["right_heart"] * 1.05),
    "left_atrium": TissueRule(lambda rng, drawn: drawn["aorta"] + float(rng.uniform(0, 30))),
    "left_ventricle": TissueRule(_like("aorta", -5, 10)),
}
"""An arterial scan: ``aorta`` is given, everything that holds blood follows from it."""

_POOL = TissueRule(lambda rng, drawn: drawn["aorta"] + float(np.clip(rng.normal(0, 0.5), -1, 1)), 1)

NATIVE: Mapping[str, TissueRule] = {
    "aorta": TissueRule(lambda rng, _: float(np.clip(rng.normal(40, 2), 36, 44))),
    **_BOTH,
    "lung_vessels": _POOL,
    "liver": TissueRule(_normal(57, 4), 4),
    "disc": TissueRule(_normal(75, 4)),
    "oesophagus": TissueRule(_normal(38, 2)),
    "vessel_wall": TissueRule(_like("aorta", 1, 1)),
    "aortic_wall": TissueRule(_like("aorta", 2, 1)),
    "atrial_wall": TissueRule(_like("aorta", 4, 1)),
    "descending_aorta": _POOL,
    "myocardium": TissueRule(lambda rng, _: float(np.clip(rng.normal(50, 2), 46, 54)), 2),
    "right_heart": _POOL,
    "superior_vena_cava": _POOL,
    "inferior_vena_cava": _POOL,
    "right_pulmonary_artery": _POOL,
    "pulmonary_trunk": _POOL,
    "left_atrium": _POOL,
    "left_ventricle": _POOL,
    "coronary_veins": _POOL,
    "coronary_lumen": _POOL,
    "coronary_wall": TissueRule(_like("aorta", 0, 0.5)),
}
"""A scan without contrast medium: all blood is alike (35 to 45 HU), muscle a little denser.

The values of the SynCAS data engine (blood 35 to 40, myocardium 50, liver 55 HU) with a small spread among persons:
blood follows the haematocrit, so all pools of one person share its value within 1 HU.
"""
