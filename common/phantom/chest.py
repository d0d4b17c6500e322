"""A chest with heart and great vessels, painted from the outside in."""

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
from .tissues import Tissues

FAT_COAT_MM = 1.6
"""Fat between a coronary vessel and the pericardium, at least."""

_VEINS = ("left_upper_vein", "left_lower_vein", "right_upper_vein", "right_lower_vein")


def paint_anatomy(
    canvas: Canvas,
    heart: Heart,
    thorax: Thorax,
    vessels: Sequence[Branch],
    tissues: Tissues,
) -> None:
    """Paint chest, heart and great vessels, without the coronary vessels.

    Args:
        canvas: image and label map to paint on.
        heart: chambers and great vessels.
        thorax: the chest around them.
        vessels: coronary arteries and veins, for which there must be room in the epicardial fat.
        tissues: their values, which are drawn on the way.
    """
    coarse = canvas.grid.coarse_points()
    in_chest = coarse.astype(np.float32)
    in_heart = heart.to_heart(coarse).astype(np.float32)
    pericardium = smooth_union(heart.pericardium(in_heart), _fat_around(vessels, coarse), 6)
    tissues.hu("fat")  # drawn first
    _paint_chest(canvas, thorax, in_chest, pericardium, tissues)
    _paint_heart(canvas, heart, in_heart, pericardium, tissues)


def _paint_chest(canvas: Canvas, thorax: Thorax, points: Array, pericardium: Array, tissues: Tissues) -> None:
    """Paint lungs, abdomen, mediastinum, bones and the descending aorta."""
    cage = thorax.cage(points)
    lung = _tissue(canvas, tissues, "lung", 1.0)
    canvas.paint(22 - cage, tissues.hu("fat"))
    canvas.paint(45 - cage, -1000.0)
    canvas.paint(cage, lung)
    for vessel in thorax.lung_vessels:
        canvas.paint(_distance_within(vessel, points, cage < 0), tissues.hu("lung_vessels"))
    abdomen = thorax.abdomen(points)
    canvas.paint(np.maximum(abdomen, cage), _tissue(canvas, tissues, "liver", 2.0))
    mediastinum = thorax.mediastinum(points, pericardium)
    mediastinal_fat = _texture(canvas, tissues.hu("fat"), 10, 1.5, tissues.rng)
    canvas.paint(np.maximum(np.maximum(mediastinum, cage), -abdomen), mediastinal_fat)
    near = np.abs(cage) < 16
    for rib in thorax.ribs:
        _paint_bone(canvas, _distance_within(rib, points, near), tissues.rng)
    _paint_bone(canvas, thorax.sternum(points), tissues.rng)
    spine = thorax.vertebrae(points)
    canvas.paint(spine["disc"], tissues.hu("disc"))
    _paint_bone(canvas, spine["bone"], tissues.rng)
    canvas.paint(spine["canal"], tissues.hu("spinal_canal"))
    canvas.paint(thorax.oesophagus.distance(points), tissues.hu("oesophagus"))
    aorta = thorax.descending_aorta.distance(points)
    canvas.paint(aorta - 1.4, tissues.hu("vessel_wall"))
    canvas.paint(aorta, tissues.hu("descending_aorta"), HEART_LABELS["aorta"])


def _paint_heart(canvas: Canvas, heart: Heart, points: Array, pericardium: Array, tissues: Tissues) -> None:
    """Paint the heart in its sac, and the great vessels."""
    canvas.paint(pericardium, _tissue(canvas, tissues, "fat", 1.5), HEART_LABELS["epicardial_fat"])
    canvas.paint(np.asarray(np.abs(pericardium) - 0.5, np.float32), tissues.hu("pericardium"), opacity=0.6)
    for name in ("myocardium", "right_heart", "superior_vena_cava", "left_atrium"):
        tissues.hu(name)  # drawn before the textures
    streaming = _tissue(canvas, tissues, "right_heart", 4.0)
    aorta, trunk = heart.aorta(points), heart.distance("pulmonary_trunk", points)
    branch = heart.distance("right_pulmonary_artery", points)
    veins = [heart.distance(name, points) for name in _VEINS]
    cavae = {name: heart.distance(name, points) for name in ("superior_vena_cava", "inferior_vena_cava")}
    for vessel in (*veins, *cavae.values(), branch):
        canvas.paint(vessel - 1.0, tissues.hu("vessel_wall"), 0)
    for vessel in veins:
        canvas.paint(vessel, tissues.hu("left_atrium"), HEART_LABELS["pulmonary_veins"])
    for name, vessel in cavae.items():
        canvas.paint(vessel, _tissue(canvas, tissues, name, 3.0), HEART_LABELS["vena_cava"])
    canvas.paint(branch, tissues.hu("right_pulmonary_artery"), HEART_LABELS["pulmonary_artery"])
    canvas.paint(heart.atria(points), tissues.hu("atrial_wall"), 0)
    canvas.paint(heart.ventricles(points), _tissue(canvas, tissues, "myocardium", 2.0), HEART_LABELS["myocardium"])
    canvas.paint(trunk - 1.0, tissues.hu("aortic_wall"), 0)
    canvas.paint(aorta - 1.4, tissues.hu("aortic_wall"), 0)
    pools = heart.blood(points)
    rough = _texture(canvas, 0.0, 0.8, 1.0, tissues.rng).ravel()  # trabeculae
    canvas.paint(pools["right_atrium"], streaming, HEART_LABELS["right_atrium"])
    canvas.paint(pools["right_ventricle"] + 1.2 * rough, streaming, HEART_LABELS["right_ventricle"])
    canvas.paint(pools["left_atrium"], tissues.hu("left_atrium"), HEART_LABELS["left_atrium"])
    canvas.paint(pools["left_ventricle"] + rough, tissues.hu("left_ventricle"), HEART_LABELS["left_ventricle"])
    canvas.paint(trunk, tissues.hu("pulmonary_trunk"), HEART_LABELS["pulmonary_artery"])
    canvas.paint(aorta, tissues.hu("aorta"), HEART_LABELS["aorta"])


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


def _tissue(canvas: Canvas, tissues: Tissues, name: str, sigma: float) -> Array:
    """Return the textured values of a tissue on the coarse grid; ``sigma`` in coarse steps."""
    return _texture(canvas, tissues.hu(name), tissues.texture_sd_hu(name), sigma, tissues.rng)


def _texture(canvas: Canvas, mean: float, sd: float, sigma: float, rng: np.random.Generator) -> Array:
    """Return a smooth random field on the coarse grid; ``sigma`` in coarse steps."""
    noise = gaussian_filter(rng.standard_normal(canvas.grid.coarse_shape(), dtype=np.float32), sigma, mode="wrap")
    noise *= sd / max(float(noise.std()), 1e-6)
    return np.asarray(noise + mean, np.float32)
