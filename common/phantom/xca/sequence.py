"""One angiographic sequence of a phantom: drawn, rendered frame by frame, with the truth of every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ...plaque import Plaque
from ..anatomy import Anatomy
from .arteries import Vessel, draw_artery, injected_artery
from .background import Background, paint_background
from .carm import CArm, draw_carm
from .contrast import VISIBLE, Bolus, draw_bolus
from .detector import aperture, expose
from .instruments import Device, draw_catheter, draw_clutter
from .motion import Motion, draw_motion
from .quality import DIFFICULTIES, Exposure, draw_exposure
from .rays import RaySums, Tubes, ray_sums

FRAMES_PER_S = 15.0

_UNDILUTED = 2.0  # contrast in the catheter relative to that in the vessels, where blood dilutes it


@dataclass(frozen=True)
class Scene:
    """Everything that was drawn for one sequence."""

    artery: str
    vessels: Sequence[Vessel]
    fold_mm: float
    carm: CArm
    motion: Motion
    bolus: Bolus
    exposure: Exposure
    catheter: Sequence[Device]
    clutter: Sequence[Device]
    reflux: Sequence[tuple[float, float, float]]
    """Puffs of contrast into the aortic root: time in s, size in mm, strength."""


@dataclass(frozen=True)
class Angiogram:
    """A rendered sequence with its truth, ``(T, H, W)`` each.

    Attributes:
        frames: 8-bit images; filled vessels are dark.
        label: 1 where the ray through the pixel's centre meets a labelled lumen that holds at least ``VISIBLE`` of the
            full concentration, and the collimator is open. A frame before the arrival of contrast has none.
        catheter: 1 where the ray meets the catheter.
        branches: branch id of ImageCAS-X of the lumen that the ray runs in longest.
        overlaps: how many separate lumina lie behind each other.
        centerlines: for each frame, the filled part of each labelled vessel, see :func:`_visible_centerlines`; it may
            leave the frame and run behind the collimator.
    """

    frames: NDArray[np.uint8]
    label: NDArray[np.uint8]
    catheter: NDArray[np.uint8]
    branches: NDArray[np.uint8]
    overlaps: NDArray[np.uint8]
    centerlines: Sequence[Sequence[Mapping[str, Any]]]


def draw_scene(
    anatomy: Anatomy,
    plaques: Sequence[Plaque],
    difficulty: str,
    shape: tuple[int, int],
    frames: int,
    rngs: Sequence[np.random.Generator],
) -> Scene:
    """Draw view, motion, contrast and quality of a sequence.

    Args:
        anatomy: the person.
        plaques: plaques on the arteries.
        difficulty: a key of ``DIFFICULTIES``.
        shape: rows and columns.
        frames: number of frames.
        rngs: three sources of randomness: artery and view; motion, contrast and quality; devices.
    """
    ranges = DIFFICULTIES[difficulty]
    view, quality, things = rngs
    artery = draw_artery(view)
    twigs = float(view.uniform(*ranges.twigs))
    fold_mm = float(view.uniform(0.8, 2.6) if view.random() < 0.4 else view.uniform(0, 0.5))
    vessels = injected_artery(anatomy, plaques, artery, twigs, fold_mm, view)
    points = np.concatenate([v.points[v.label > 0] for v in vessels])
    carm = draw_carm(points, artery, shape, view)
    way_mm = max(float(v.way_mm[-1]) for v in vessels)
    return Scene(
        artery=artery,
        vessels=vessels,
        fold_mm=fold_mm,
        carm=carm,
        motion=draw_motion(float(quality.uniform(*ranges.motion)), quality),
        bolus=draw_bolus(way_mm, frames / FRAMES_PER_S, quality),
        exposure=draw_exposure(ranges, quality),
        catheter=draw_catheter(anatomy, vessels[0], things),
        clutter=draw_clutter(anatomy, list(vessels), carm, ranges.clutter, things),
        reflux=[
            tuple(things.uniform((-0.6, 2, 2), (frames / FRAMES_PER_S, 6, 14)).tolist())
            for _ in range(int(things.poisson(1.5)))
        ],
    )


def render_sequence(
    anatomy: Anatomy, scene: Scene, frames: int, texture: np.random.Generator, noise: np.random.Generator
) -> Angiogram:
    """Render a sequence.

    Args:
        anatomy: the person.
        scene: what was drawn for it.
        frames: number of frames.
        texture: source of the body's texture.
        noise: source of the detector's noise.
    """
    background = paint_background(anatomy, scene.carm, scene.exposure, texture)
    opening = aperture(scene.exposure, scene.carm.shape) > 0.5
    body, devices, contrast, lumina, catheters, lines = [], [], [], [], [], []
    for frame in range(frames):
        time_s = frame / FRAMES_PER_S
        points = [_moved(anatomy, scene, v, time_s) for v in scene.vessels]
        filled = [scene.bolus.concentration(v.way_mm, time_s) for v in scene.vessels]
        lumen = _lumen(scene, points, filled)
        catheter, channel = _device_paths(anatomy, scene, scene.catheter, time_s)
        clutter, _ = _device_paths(anatomy, scene, scene.clutter, time_s)
        body.append(_body(scene, background, points, time_s))
        devices.append(catheter + clutter)
        path = lumen.path_mm + _reflux(anatomy, scene, time_s) + _UNDILUTED * scene.bolus.in_catheter(time_s) * channel
        opacity = scene.exposure.iodine_per_mm * path + _haze(scene, lumen, background)
        contrast.append(np.asarray(opacity, np.float32))
        lumina.append(lumen)
        catheters.append(((catheter > 0) & opening).astype(np.uint8))
        lines.append(_visible_centerlines(scene, points, filled))
    branches = np.stack([lumen.label * opening for lumen in lumina])
    return Angiogram(
        frames=expose(body, devices, contrast, scene.exposure, noise),
        label=(branches > 0).astype(np.uint8),
        catheter=np.stack(catheters),
        branches=branches,
        overlaps=np.stack([lumen.overlap * opening for lumen in lumina]),
        centerlines=lines,
    )


def _moved(anatomy: Anatomy, scene: Scene, vessel: Vessel, time_s: float) -> NDArray[np.float64]:
    """Return where a vessel is at a time; its folds deepen as the heart contracts."""
    share = 0.35 + 0.65 * scene.motion.contraction(time_s)
    return scene.motion.move(anatomy.heart, vessel.points + share * vessel.fold, time_s)


def _lumen(scene: Scene, points: Sequence[NDArray[np.float64]], filled: Sequence[NDArray[np.float64]]) -> RaySums:
    """Return what the rays meet of the filled lumina; the label map shows what is visible and thick enough."""
    parts = [
        Tubes.along(p, v.radius_mm, c, np.where(c >= VISIBLE, v.label, 0).astype(np.uint8))
        for p, v, c in zip(points, scene.vessels, filled, strict=True)
    ]
    return ray_sums(Tubes.joined(parts), scene.carm)


def _device_paths(
    anatomy: Anatomy, scene: Scene, devices: Sequence[Device], time_s: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the attenuation of devices, and how long the rays run in their channels."""
    total, channel = np.zeros(scene.carm.shape, np.float32), np.zeros(scene.carm.shape, np.float32)
    for device in devices:
        moved = scene.motion.move(anatomy.heart, device.points, time_s)
        points = device.points + device.hold[:, None] * (moved - device.points)
        total += device.per_mm * ray_sums(Tubes.along(points, device.radius_mm), scene.carm).path_mm
        if device.inner_mm:
            inside = ray_sums(Tubes.along(points, device.inner_mm), scene.carm).path_mm
            total -= device.per_mm * inside
            channel += inside
    return np.maximum(total, 0), channel


def _reflux(anatomy: Anatomy, scene: Scene, time_s: float) -> NDArray[np.float32]:
    """Return the path through contrast that streams from the ostium into the aortic root and up the aorta."""
    result = np.zeros(scene.carm.shape, np.float32)
    ostium = scene.motion.move(anatomy.heart, scene.vessels[0].points[:1], time_s)[0]
    upwards = anatomy.heart.axes @ np.array([-10, 55, -48]) / 74
    root = anatomy.heart.to_patient(np.array([[-6.0, 18, -24]]) * anatomy.heart.scale)[0]
    rows, columns = np.arange(scene.carm.shape[0])[:, None], np.arange(scene.carm.shape[1])[None]
    for begin_s, size_mm, strength_mm in scene.reflux:
        age = time_s - begin_s
        if not 0 < age < 1.2 or scene.bolus.in_catheter(time_s) < 0.1:
            continue
        for k in range(4):
            place = ostium + (root - ostium) * min(0.25 * k + 0.6 * age, 1.0) + upwards * 30 * age * k / 3
            (pixel,), (scale,) = scene.carm.project(place[None])
            width = (size_mm * (0.5 + 0.3 * k) * (0.6 + age)) * scale
            cloud = np.exp(-((rows - pixel[1]) ** 2 + (columns - pixel[0]) ** 2) / (2 * width**2))
            result += (strength_mm * np.exp(-2 * age) / 4 * cloud).astype(np.float32)
    return result


def _body(
    scene: Scene, background: Background, points: Sequence[NDArray[np.float64]], time_s: float
) -> NDArray[np.float32]:
    """Return the attenuation of the body in a frame: the heart follows its vessels, the diaphragm the breath."""
    rest = np.concatenate([v.points for v in scene.vessels]).mean(axis=0)
    now = np.concatenate(list(points)).mean(axis=0)
    breath = scene.carm.isocentre_mm + scene.motion.breath(time_s)
    places, _ = scene.carm.project(np.stack([rest, now, scene.carm.isocentre_mm, breath]))
    return background.attenuation(places[1] - places[0], places[3] - places[2])


def _haze(scene: Scene, lumen: RaySums, background: Background) -> NDArray[np.float32]:
    """Return the blush of the myocardium around filled vessels."""
    shape = scene.carm.shape
    if not scene.exposure.haze:
        return np.zeros(shape, np.float32)
    coarse = gaussian_filter(lumen.path_mm[::4, ::4], 0.05 * max(shape) / 4, truncate=3)
    near = np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1)[: shape[0], : shape[1]]
    near = gaussian_filter(near, 3, truncate=2)
    return np.asarray(5 * scene.exposure.haze * scene.exposure.iodine_per_mm * near * background.silhouette, np.float32)


def _visible_centerlines(
    scene: Scene, points: Sequence[NDArray[np.float64]], filled: Sequence[NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """Return the filled, labelled points of every vessel in one frame.

    Each entry has ``label`` (branch id), ``parent`` (index of the parent vessel in the scene, -1 at the ostium),
    ``vessel`` (its own index), ``points`` as (column, row) in pixels with pixel centres at whole numbers,
    ``radius_px``, ``depth_mm`` from the source and ``foreshortening``, the share of the true length that is seen.
    """
    result = []
    for index, (vessel, place, share) in enumerate(zip(scene.vessels, points, filled, strict=True)):
        keep = np.flatnonzero((vessel.label > 0) & (share >= VISIBLE))[::2]
        if len(keep) < 2:
            continue
        pixels, scale = scene.carm.project(place)
        steps = np.gradient(scene.carm.to_camera(place), axis=0)
        seen = np.linalg.norm(steps[:, :2], axis=1) / np.maximum(np.linalg.norm(steps, axis=1), 1e-9)
        result.append(
            {
                "label": int(vessel.label[keep[0]]),
                "vessel": index,
                "parent": vessel.parent,
                "points": np.round(pixels[keep], 2).tolist(),
                "radius_px": np.round(vessel.radius_mm[keep] * scale[keep], 2).tolist(),
                "depth_mm": np.round(scene.carm.to_camera(place[keep])[:, 2], 1).tolist(),
                "foreshortening": np.round(seen[keep], 3).tolist(),
            }
        )
    return result
