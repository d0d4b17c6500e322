"""Tissue values of a contrast-enhanced chest, painted from the outside in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from ..centerline.branch import Branch
from .canvas import Canvas
from .heart import HEART_LABELS, Heart
from .shapes import Array, Tube, smooth_union
from .thorax import Thorax

FAT_COAT_MM = 1.6
"""Fat between a coronary vessel and the pericardium, at least."""

_VEINS = ("left_upper_vein", "left_lower_vein", "right_upper_vein", "right_lower_vein")


def paint_anatomy(
    canvas: Canvas,
    heart: Heart,
    thorax: Thorax,
    vessels: Sequence[Branch],
    aorta_hu: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Paint chest, heart and great vessels, without the coronary vessels.

    Args:
        canvas: image and label map to paint on.
        heart: chambers and great vessels.
        thorax: the chest around them.
        vessels: coronary arteries and veins, for which there must be room in the epicardial fat.
        aorta_hu: value of the blood in the aorta.
        rng: source of tissue values and textures.

    Returns:
        The drawn mean values of the tissues, HU.
    """
    coarse = canvas.grid.coarse_points()
    in_chest = coarse.astype(np.float32)
    in_heart = heart.to_heart(coarse).astype(np.float32)
    pericardium = smooth_union(heart.pericardium(in_heart), _fat_around(vessels, coarse), 6)
    fat_hu = float(rng.normal(-92, 6))
    around = _paint_chest(canvas, thorax, in_chest, pericardium, fat_hu, aorta_hu, rng)
    inside = _paint_heart(canvas, heart, in_heart, pericardium, fat_hu, aorta_hu, rng)
    return {"fat": fat_hu} | around | inside


def _paint_chest(
    canvas: Canvas,
    thorax: Thorax,
    points: Array,
    pericardium: Array,
    fat_hu: float,
    aorta_hu: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Paint lungs, abdomen, mediastinum, bones and the descending aorta; return the drawn mean values."""
    cage = thorax.cage(points)
    lung_hu = float(rng.normal(-860, 20))
    lung = _texture(canvas, lung_hu, 35, 1.0, rng)
    canvas.paint(22 - cage, fat_hu)
    canvas.paint(45 - cage, -1000.0)
    canvas.paint(cage, lung)
    for vessel in thorax.lung_vessels:
        canvas.paint(_distance_within(vessel, points, cage < 0), 0.6 * aorta_hu)
    abdomen = thorax.abdomen(points)
    liver_hu = float(rng.normal(100, 10))
    canvas.paint(np.maximum(abdomen, cage), _texture(canvas, liver_hu, 10, 2.0, rng))
    mediastinum = thorax.mediastinum(points, pericardium)
    canvas.paint(np.maximum(np.maximum(mediastinum, cage), -abdomen), _texture(canvas, fat_hu, 10, 1.5, rng))
    near = np.abs(cage) < 16
    for rib in thorax.ribs:
        _paint_bone(canvas, _distance_within(rib, points, near), rng)
    _paint_bone(canvas, thorax.sternum(points), rng)
    spine = thorax.vertebrae(points)
    canvas.paint(spine["disc"], 85.0)
    _paint_bone(canvas, spine["bone"], rng)
    canvas.paint(spine["canal"], 30.0)
    canvas.paint(thorax.oesophagus.distance(points), 42.0)
    aorta = thorax.descending_aorta.distance(points)
    canvas.paint(aorta - 1.4, 50.0)
    canvas.paint(aorta, aorta_hu + float(rng.normal(-10, 8)), HEART_LABELS["aorta"])
    return {"lung": lung_hu, "liver": liver_hu}


def _paint_heart(
    canvas: Canvas,
    heart: Heart,
    points: Array,
    pericardium: Array,
    fat_hu: float,
    aorta_hu: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Paint the heart in its sac, and the great vessels; return the drawn mean values."""
    canvas.paint(pericardium, _texture(canvas, fat_hu, 8, 1.5, rng), HEART_LABELS["epicardial_fat"])
    canvas.paint(np.asarray(np.abs(pericardium) - 0.5, np.float32), 20.0, opacity=0.6)
    muscle_hu = float(rng.uniform(85, 125))
    right_hu = aorta_hu * float(rng.uniform(0.35, 0.75))
    cava_hu = right_hu * float(rng.choice([0.8, 1.6]))
    left_hu = aorta_hu + float(rng.uniform(0, 30))
    streaming = _texture(canvas, right_hu, 0.16 * right_hu, 4.0, rng)
    aorta, trunk = heart.aorta(points), heart.distance("pulmonary_trunk", points)
    branch = heart.distance("right_pulmonary_artery", points)
    veins = [heart.distance(name, points) for name in _VEINS]
    cavae = [heart.distance(f"{name}_vena_cava", points) for name in ("superior", "inferior")]
    for vessel in (*veins, *cavae, branch):
        canvas.paint(vessel - 1.0, 50.0, 0)
    for vessel in veins:
        canvas.paint(vessel, left_hu, HEART_LABELS["pulmonary_veins"])
    canvas.paint(cavae[0], _texture(canvas, cava_hu, 0.12 * cava_hu, 3.0, rng), HEART_LABELS["vena_cava"])
    canvas.paint(cavae[1], _texture(canvas, 0.5 * right_hu + 50, 20, 3.0, rng), HEART_LABELS["vena_cava"])
    canvas.paint(branch, right_hu * 1.02, HEART_LABELS["pulmonary_artery"])
    canvas.paint(heart.atria(points), 85.0, 0)
    canvas.paint(heart.ventricles(points), _texture(canvas, muscle_hu, 6, 2.0, rng), HEART_LABELS["myocardium"])
    canvas.paint(trunk - 1.0, 55.0, 0)
    canvas.paint(aorta - 1.4, 55.0, 0)
    pools = heart.blood(points)
    rough = _texture(canvas, 0.0, 0.8, 1.0, rng).ravel()  # trabeculae
    canvas.paint(pools["right_atrium"], streaming, HEART_LABELS["right_atrium"])
    canvas.paint(pools["right_ventricle"] + 1.2 * rough, streaming, HEART_LABELS["right_ventricle"])
    canvas.paint(pools["left_atrium"], left_hu, HEART_LABELS["left_atrium"])
    left_ventricle = pools["left_ventricle"] + rough
    canvas.paint(left_ventricle, aorta_hu + float(rng.normal(-5, 10)), HEART_LABELS["left_ventricle"])
    canvas.paint(trunk, right_hu * 1.05, HEART_LABELS["pulmonary_artery"])
    canvas.paint(aorta, aorta_hu, HEART_LABELS["aorta"])
    return {"myocardium": muscle_hu, "right_heart": right_hu, "superior_vena_cava": cava_hu, "left_atrium": left_hu}


def _fat_around(vessels: Sequence[Branch], points: NDArray[np.float64]) -> Array:
    """Return signed distances to a coat of fat around vessels, 1e3 far away from them."""
    radius_mm = np.concatenate([v.radius_mm for v in vessels])
    distance, nearest = cKDTree(np.concatenate([v.points for v in vessels])).query(points, distance_upper_bound=12)
    near = np.isfinite(distance)
    result = np.full(len(points), 1e3, np.float32)
    result[near] = distance[near] - radius_mm[nearest[near]] - FAT_COAT_MM
    return result


def _paint_bone(canvas: Canvas, distance: Array, rng: np.random.Generator) -> None:
    """Paint a bone: dense rind, marrow inside."""
    canvas.paint(distance, float(rng.uniform(450, 650)))
    canvas.paint(distance + 1.4, _texture(canvas, float(rng.uniform(150, 230)), 40, 0.8, rng))


def _distance_within(vessel: Tube, points: Array, near: NDArray[np.bool_]) -> Array:
    """Return distances where ``near`` holds and the vessel's box is, and a large number elsewhere."""
    reach = float(vessel.radii_mm.max()) + 5
    low = (vessel.points.min(axis=0) - reach).astype(np.float32)
    high = (vessel.points.max(axis=0) + reach).astype(np.float32)
    near = near & ((points >= low) & (points <= high)).all(axis=1)
    result = np.full(len(points), 1e3, np.float32)
    result[near] = vessel.distance(points[near])
    return result


def _texture(canvas: Canvas, mean: float, sd: float, sigma: float, rng: np.random.Generator) -> Array:
    """Return a smooth random field on the coarse grid; ``sigma`` in coarse steps."""
    noise = gaussian_filter(rng.standard_normal(canvas.grid.coarse_shape(), dtype=np.float32), sigma, mode="wrap")
    noise *= sd / max(float(noise.std()), 1e-6)
    return np.asarray(noise + mean, np.float32)
