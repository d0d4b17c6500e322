"""Catheter, wires and leads: the catheter is a class of its own, the others are look-alikes without label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from ..anatomy import Anatomy
from ..courses import arc_length, resample
from ..heart import Heart
from .arteries import Vessel
from .carm import CArm

CATHETER_MM = {"5F": 0.83, "6F": 1.0, "7F": 1.17}
"""Outer radius by French size."""


@dataclass(frozen=True)
class Device:
    """Something radiopaque: a line with a radius.

    Attributes:
        kind: "catheter", "wire", "ecg", "pacemaker" or "sternum".
        points: ``(N, 3)`` RAS mm at end diastole.
        radius_mm: outer radius.
        inner_mm: radius of the channel, 0 for a solid one.
        per_mm: attenuation of its material.
        hold: share of the heart's motion that it follows, ``(N,)``.
    """

    kind: str
    points: NDArray[np.float64]
    radius_mm: float
    inner_mm: float
    per_mm: float
    hold: NDArray[np.float64]


def draw_catheter(anatomy: Anatomy, trunk: Vessel, rng: np.random.Generator) -> list[Device]:
    """Draw a guiding catheter from the ostium up the aorta, and now and then its way along the descending aorta.

    Args:
        anatomy: the person.
        trunk: the vessel that it is hooked into.
        rng: source of all randomness.
    """
    heart, scale = anatomy.heart, anatomy.heart.scale
    radius = float(rng.choice(list(CATHETER_MM.values()), p=[0.35, 0.5, 0.15]))
    depth = int(np.clip(rng.uniform(1, 7) / 0.5, 2, len(trunk.points) - 2))
    tip = heart.to_heart(trunk.points[: depth + 1])[::-1]
    middle = np.array([-6.0, 17.0, -22.0]) * scale
    inwards = middle - tip[-1]
    inwards /= np.linalg.norm(inwards)
    axis = np.array([-10.0, 55.0, -48.0]) / np.linalg.norm([10, 55, 48])
    wall = middle + inwards * rng.uniform(6, 11) * scale + axis * rng.uniform(12, 32) * scale
    low = tip[-1] + inwards * rng.uniform(6, 10) + axis * rng.uniform(-9, 4)
    aorta = heart.tubes["ascending_aorta"].points
    upwards = [aorta[4] + rng.normal(0, 4, 3), aorta[5] + rng.normal(0, 4, 3), aorta[5] + axis * 60 * scale]
    course = resample(np.array([*tip[:: max(depth // 2, 1)], tip[-1], low, wall, *upwards]), 1.0)
    arc = arc_length(course)
    material = float(rng.uniform(0.1, 0.35))
    inner = radius - float(rng.uniform(0.17, 0.28))
    devices = [Device("catheter", heart.to_patient(course), radius, inner, material, np.exp(-arc / 35))]
    if rng.random() < 0.45:  # from the groin, not from the wrist
        descent = anatomy.thorax.descending_aorta.points
        course = resample(descent + rng.normal(0, 2.0, descent.shape) + rng.normal(0, 3, 3), 2.0)
        devices.append(Device("catheter", course, radius, inner, material, np.zeros(len(course))))
    return devices


def draw_clutter(
    anatomy: Anatomy, vessels: list[Vessel], carm: CArm, expected: float, rng: np.random.Generator
) -> list[Device]:
    """Draw look-alikes: guide wire, leads of ECG and pacemaker, wires in the breast bone.

    Args:
        anatomy: the person.
        vessels: the injected artery.
        carm: the view, for things that lie somewhere on the skin.
        expected: expected number of kinds.
        rng: source of all randomness.
    """
    chances = {"wire": 0.3, "ecg": 0.3, "pacemaker": 0.2, "sternum": 0.2}
    devices: list[Device] = []
    drawn = {kind: rng.random() < min(share * expected, 0.9) for kind, share in chances.items()}
    if drawn["wire"]:
        devices.append(_guide_wire(vessels, rng))
    if drawn["ecg"]:
        devices += [_ecg_lead(carm, rng) for _ in range(int(rng.integers(1, 3)))]
    if drawn["pacemaker"]:
        devices.append(_pacemaker_lead(anatomy.heart, rng))
    if drawn["sternum"]:
        devices += _sternal_wires(anatomy, rng)
    return devices


def _guide_wire(vessels: list[Vessel], rng: np.random.Generator) -> Device:
    """Return a wire of 0.36 mm in one of the longer branches."""
    sizes = [int(v.label.any()) * len(v.points) for v in vessels]
    chain = [int(np.argmax(sizes * rng.random(len(sizes))))]
    points = vessels[chain[0]].points
    while vessels[chain[-1]].parent >= 0:
        chain.append(vessels[chain[-1]].parent)
        trunk = vessels[chain[-1]].points
        at = int(np.argmin(np.linalg.norm(trunk - points[0], axis=1)))
        points = np.concatenate([trunk[:at], points])
    points = points[: int(rng.uniform(0.6, 0.95) * len(points))]
    return Device("wire", points, 0.18, 0.0, float(rng.uniform(0.5, 1.2)), np.ones(len(points)))


def _ecg_lead(carm: CArm, rng: np.random.Generator) -> Device:
    """Return a cable on the skin that crosses the frame."""
    half = np.array(carm.shape[::-1]) * carm.pixel_at_isocentre_mm / 2
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    places = np.linspace(-1.5, 1.5, 6)[:, None] * along * half.max()
    places = places + rng.uniform(-0.8, 0.8) * half * along[::-1] * [1, -1] + rng.normal(0, 4, (6, 2))
    camera = np.column_stack([places * 1.13, np.full(6, carm.source_isocentre_mm + 100)])
    course = CubicSpline(np.arange(6), carm.to_patient(camera))(np.linspace(0, 5, 120))
    return Device("ecg", course, float(rng.uniform(0.5, 1.1)), 0.0, float(rng.uniform(0.04, 0.2)), np.zeros(120))


def _pacemaker_lead(heart: Heart, rng: np.random.Generator) -> Device:
    """Return a lead through the upper vena cava and the right atrium to the apex of the right ventricle."""
    stations = np.array(
        [(-30, 90, -110), (-30, 60, -90), (-34, 18, -58), (-36, -8, -30), (-24, -14, 5), (-14, -8, 35), (-10, 0, 55)]
    )
    course = resample(heart.to_patient((stations + rng.normal(0, 2.5, stations.shape)) * heart.scale), 1.0)
    hold = np.clip(arc_length(course) / arc_length(course)[-1] * 2 - 0.8, 0, 1)
    return Device("pacemaker", course, float(rng.uniform(0.6, 1.0)), 0.0, float(rng.uniform(0.15, 0.5)), hold)


def _sternal_wires(anatomy: Anatomy, rng: np.random.Generator) -> list[Device]:
    """Return closed loops of steel wire around the breast bone."""
    thorax = anatomy.thorax
    wires = []
    for height in np.arange(-60, 90, rng.uniform(22, 32)) + rng.uniform(-10, 10):
        turn = np.linspace(0, 2 * np.pi + 0.4, 60)
        x, y = 17 * np.cos(turn), thorax.half_depth_mm + 3 + 7 * np.sin(turn)
        loop = np.stack([x, y, height + 4 * np.sin(turn + rng.uniform(0, 6)) + rng.normal(0, 1)], axis=1)
        wires.append(Device("sternum", thorax.center_mm + loop, 0.4, 0.0, float(rng.uniform(0.4, 0.9)), np.zeros(60)))
    return wires
