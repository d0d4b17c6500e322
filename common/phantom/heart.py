"""A random heart: chambers, great vessels and the epicardial surface on which the coronary arteries run.

Everything is a signed distance (mm, negative inside), so that one anatomy can be rendered by any modality at any
resolution. The *heart frame* is centred on the base plane (the plane of the atrioventricular valves); its axes are
l (septum to the lateral wall of the left ventricle), s (inferior to anterior wall) and a (base to apex), in mm.
The *patient frame* is RAS in mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .shapes import Array, Ellipsoid, Tube, smooth_union, tube

HEART_LABELS: Mapping[str, int] = {
    "left_ventricle": 1,
    "right_ventricle": 2,
    "left_atrium": 3,
    "right_atrium": 4,
    "myocardium": 5,
    "aorta": 6,
    "pulmonary_artery": 7,
    "vena_cava": 8,
    "pulmonary_veins": 9,
    "coronary_veins": 10,
    "epicardial_fat": 11,
    "heart": 12,
}
"""Values of the label maps in ``hearts/``; 0 is everything else. Coronary arteries are left out (see ``branches/``).

Atria and ventricles mean their blood; ``heart`` is used where only the whole heart of a real background is known.
"""

_LATERAL = np.array([-0.70, -0.70, 0.10])
_ANTERIOR = np.array([-0.35, 0.47, 0.80])


@dataclass(frozen=True)
class Heart:
    """Chambers and great vessels of one person.

    Attributes:
        origin_mm: centre of the base plane in the patient frame, ``(3,)``.
        axes: columns are l, s, a in the patient frame, ``(3, 3)``.
        scale: size relative to the average heart.
        fat_mm: thickness of the epicardial fat between grooves.
        wall_mm: thickness of the left-ventricular wall.
        ellipsoids: named solids in the heart frame: ventricles, atria, aortic sinuses.
        tubes: named solids in the heart frame: vessels, valves, appendages.
    """

    origin_mm: NDArray[np.float64]
    axes: NDArray[np.float64]
    scale: float
    fat_mm: float
    wall_mm: float
    ellipsoids: Mapping[str, Ellipsoid] = field(repr=False)
    tubes: Mapping[str, Tube] = field(repr=False)

    def to_patient(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map ``(N, 3)`` mm from the heart frame to the patient frame (RAS)."""
        return points @ self.axes.T + self.origin_mm

    def to_heart(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map ``(N, 3)`` mm from the patient frame (RAS) to the heart frame."""
        return np.asarray((points - self.origin_mm) @ self.axes, np.float64)

    def distance(self, name: str, points: Array) -> Array:
        """Return signed distances of heart-frame points to one solid."""
        return (self.ellipsoids.get(name) or self.tubes[name]).distance(points)

    def ventricles(self, points: Array) -> Array:
        """Return signed distances to the outer surface of both ventricles and the outflow tract."""
        outflow = smooth_union(self.distance("rv_epicardium", points), self.distance("outflow", points), 8)
        return smooth_union(self.distance("lv_epicardium", points), outflow, 5)

    def atria(self, points: Array) -> Array:
        """Return signed distances to the outer surface of both atria and their appendages."""
        left = smooth_union(self.distance("la", points), self.distance("la_appendage", points), 6)
        right = smooth_union(self.distance("ra", points), self.distance("ra_appendage", points), 6)
        return smooth_union(left, right, 4)

    def epicardium(self, points: Array) -> Array:
        """Return signed distances to the surface on which arteries run: ventricles, atria and great vessels."""
        chambers = smooth_union(self.ventricles(points), self.atria(points), 7)
        trunks = np.minimum(self.distance("pulmonary_trunk", points) - 1.0, self.aorta(points) - 1.5)
        return smooth_union(chambers, np.asarray(trunks, np.float32), 4)

    def aorta(self, points: Array) -> Array:
        """Return signed distances to the blood in the aortic root and the ascending aorta."""
        result = self.distance("ascending_aorta", points)
        for cusp in ("left_sinus", "right_sinus", "posterior_sinus"):
            result = smooth_union(result, self.distance(cusp, points), 5)
        return result

    def pericardium(self, points: Array) -> Array:
        """Return signed distances to the sac around the heart, filled with fat where no chamber is."""
        chambers = smooth_union(self.ventricles(points), self.atria(points), 30)
        return np.asarray(smooth_union(chambers, self.distance("root_fat", points), 20) - self.fat_mm, np.float32)

    def blood(self, points: Array) -> dict[str, Array]:
        """Return signed distances to the blood pools of the four chambers, by the names of ``HEART_LABELS``."""
        lv_outer = self.distance("lv_epicardium", points)
        lv = smooth_union(self.distance("lv_blood", points), self.distance("mitral_valve", points), 4)
        lv = smooth_union(lv, self.distance("lv_outflow", points), 4)
        for papillary in ("anterior_papillary", "posterior_papillary"):
            lv = np.maximum(lv, -self.distance(papillary, points))
        rv = smooth_union(self.distance("rv_epicardium", points), self.distance("outflow", points), 8) + 3.2
        rv = smooth_union(np.maximum(rv, -lv_outer), self.distance("tricuspid_valve", points), 4)
        la = smooth_union(self.distance("la", points), self.distance("la_appendage", points), 6) + 1.8
        ra = smooth_union(self.distance("ra", points), self.distance("ra_appendage", points), 6) + 1.8
        septum = 0.9 + 0.5 * (la - ra)  # half the wall between the atria
        la, ra = np.maximum(la, septum), np.maximum(ra, 1.8 - septum)
        root = 1.5 - self.aorta(points)  # the wall of the aorta stays between it and the chambers
        return {
            "left_ventricle": lv,
            "right_ventricle": np.maximum(rv, root),
            "left_atrium": np.maximum(np.maximum(la, root), -lv),
            "right_atrium": np.maximum(np.maximum(ra, root), 2 - lv_outer),
        }


def draw_heart(rng: np.random.Generator) -> Heart:
    """Draw a heart: size, pose, shape of every chamber, thickness of wall and fat.

    Args:
        rng: source of all randomness.

    Returns:
        The heart; its origin lies near the origin of the patient frame.
    """
    scale = float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12))
    wall_mm = float(rng.uniform(8.0, 11.0))
    basis = np.stack([_LATERAL, _ANTERIOR, np.cross(_LATERAL, _ANTERIOR)], axis=1)
    u, _, vt = np.linalg.svd(basis)  # nearest rotation to the rounded directions above
    tilt = Rotation.from_rotvec(np.radians(rng.normal(0, 4, 3)).clip(-0.17, 0.17)).as_matrix()
    solids = _solids(rng, wall_mm / scale)
    ellipsoids = {name: _scaled_ellipsoid(v, scale) for name, v in solids.items() if isinstance(v, Ellipsoid)}
    tubes = {n: Tube(v.points * scale, v.radii_mm * scale) for n, v in solids.items() if isinstance(v, Tube)}
    origin_mm, fat_mm = rng.uniform(-25, 25, 3), float(rng.uniform(3.0, 6.0))
    return Heart(origin_mm, tilt @ u @ vt, scale, fat_mm, wall_mm, ellipsoids, tubes)


def _solids(rng: np.random.Generator, wall: float) -> dict[str, Ellipsoid | Tube]:
    """Draw the solids of a heart of average size, heart frame."""
    j = rng.normal(0, 0.04, 12).clip(-0.1, 0.1) + 1  # shape, about 4 % each
    lv = (33 * j[0], 32 * j[1], 80 * j[2])
    rv = (29 * j[3], 31 * j[4], 63 * j[5])
    return {
        "lv_epicardium": Ellipsoid((14, 0, 0), lv, 20),
        "lv_blood": Ellipsoid((14, 0, 0), (lv[0] - wall, lv[1] - wall, lv[2] - 0.9 * wall), 11),
        "anterior_papillary": tube((28, 10, 52, 4.5), (22, 8, 28, 3.2)),
        "posterior_papillary": tube((22, -14, 52, 4.5), (18, -9, 28, 3.0)),
        "mitral_valve": tube((18, -4, -4, 12), (20, -4, -16, 12)),
        "lv_outflow": tube((2, 6, 6, 10), (-4, 10, -12, 10.5)),
        "rv_epicardium": Ellipsoid((-16, 3, 2), rv, 18),
        "tricuspid_valve": tube((-20, -3, 0, 12), (-27, -7, -18, 12)),
        "outflow": tube((-16, 20, 18, 16), (-4, 32, 2, 12.5)),
        "pulmonary_trunk": tube(
            (-4, 32, 2, 12), (2, 40, -8, 13.0 * j[6]), (13, 52, -28, 13 * j[6]), (24, 54, -44, 10), (44, 50, -50, 8)
        ),
        "right_pulmonary_artery": tube((14, 50, -32, 10), (10, 34, -56, 9.5), (-10, 18, -76, 9), (-30, 8, -90, 8)),
        "ascending_aorta": tube(
            (-2, 5, -7, 10.5),
            (-4, 11, -15, 11.5),
            (-7, 19, -25, 13 * j[7]),
            (-13, 36, -42, 14.5 * j[7]),
            (-15, 68, -68, 15 * j[7]),
            (-14, 90, -88, 15),
        ),
        "left_sinus": Ellipsoid((1.5, 17, -18.5), (8.5, 8.5, 8.5)),
        "right_sinus": Ellipsoid((-9, 18.5, -16.5), (8.5, 8.5, 8.5)),
        "posterior_sinus": Ellipsoid((-6, 12, -24), (8.5, 8.5, 8.5)),
        "la": Ellipsoid((20, -4, -31), (22 * j[8], 26 * j[9], 19)),
        "la_appendage": tube((26, 12, -30, 9), (35, 25, -27, 8), (38, 34, -20, 6)),
        "ra": Ellipsoid((-29, -9, -28), (20 * j[10], 27 * j[11], 19)),
        "ra_appendage": tube((-33, 8, -30, 10), (-33, 24, -28, 9), (-27, 34, -26, 6)),
        "root_fat": tube((-6, 18, -20, 20), (-10, 34, -38, 18)),
        "superior_vena_cava": tube((-33, -2, -36, 9.5), (-34, 18, -58, 9), (-30, 60, -90, 8.5)),
        "inferior_vena_cava": tube((-26, -26, -28, 11), (-29, -45, -18, 12), (-34, -75, 4, 13)),
        "left_upper_vein": tube((32, 8, -42, 8), (50, 14, -50, 6.5), (76, 22, -52, 5)),
        "left_lower_vein": tube((32, -14, -42, 8), (54, -22, -48, 6.5), (80, -38, -50, 5)),
        "right_upper_vein": tube((4, 6, -46, 8), (-18, 4, -64, 6.5), (-48, -2, -82, 5)),
        "right_lower_vein": tube((6, -18, -46, 8), (-12, -34, -62, 6.5), (-36, -56, -78, 5)),
    }


def _scaled_ellipsoid(solid: Ellipsoid, scale: float) -> Ellipsoid:
    """Return ``solid`` enlarged about the origin."""
    center = (solid.center[0] * scale, solid.center[1] * scale, solid.center[2] * scale)
    semi = (solid.semi_axes_mm[0] * scale, solid.semi_axes_mm[1] * scale, solid.semi_axes_mm[2] * scale)
    return Ellipsoid(center, semi, None if solid.lower_mm is None else solid.lower_mm * scale)
