"""The CCTA rendering against geometry: partial volume, labels, plaques, tissue values, artefacts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label as components

from common.centerline.branch import Branch
from common.phantom.anatomy import draw_anatomy
from common.phantom.canvas import Canvas, ScanGrid
from common.phantom.ccta import DIFFICULTIES, Protocol, blur, draw_protocol, draw_tree_plaques, render_ccta
from common.phantom.framing import draw_grid
from common.phantom.heart import HEART_LABELS
from common.phantom.shapes import Ellipsoid, Tube
from common.phantom.vessels import LABEL_REACH, lumen_truth, render_vessels
from common.plaque import Plaque

CALM = Protocol(noise_hu=0.0, aorta_hu=400.0, fall_per_cm=0.03, psf_mm=0.5, vein_contrast=0.3, motion_mm=0.0, steps=())


def grid_of(shape, spacing):
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) * spacing / 2  # centred
    return ScanGrid(shape, affine)


def straight(radius_mm, direction, half_mm=8.0):
    """A straight vessel through the origin."""
    direction = np.asarray(direction, float) / np.linalg.norm(direction)
    t = np.arange(-half_mm, half_mm + 0.1, 0.5)
    return Branch(t[:, None] * direction, np.full(len(t), radius_mm), label=2)


def mask_of(flat, grid):
    mask = np.zeros(grid.shape, bool)
    mask.reshape(-1)[flat] = True
    return mask


DIRECTIONS = [(1, 0, 0), (1, 1, 0), (1, 2, 3), (0.3, -1, 0.2)]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("radius_mm", [0.5, 1.0, 2.0])
def test_a_vessel_adds_contrast_in_proportion_to_its_cross_section(direction, radius_mm):
    grid = grid_of((56, 56, 56), 0.4)
    vessel = straight(radius_mm, direction)
    wall_hu, lumen_hu = 0.0, 300.0
    part = render_vessels(
        [vessel], (), grid, [np.full(len(vessel.points), lumen_hu)], wall_hu, np.random.default_rng(0)
    )
    volume = (part.cover * part.hu).sum() / lumen_hu * 0.4**3
    ends = 4 / 3 * np.pi * radius_mm**3  # two round caps
    assert volume == pytest.approx(np.pi * radius_mm**2 * vessel.length_mm + ends, rel=0.12)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_thin_vessel_keeps_the_contrast_that_its_blurred_profile_has(direction):
    grid = grid_of((48, 48, 48), 0.4)
    image = np.zeros(grid.shape, np.float32)
    vessel = straight(0.5, direction)
    part = render_vessels([vessel], (), grid, [np.full(len(vessel.points), 400.0)], 0.0, np.random.default_rng(0))
    image.reshape(-1)[part.flat] = part.cover * part.hu
    blur(image, grid, 0.6)
    sigma = np.hypot(0.6 / 2.355, 0.4 / np.sqrt(12))  # the point spread and the voxel itself
    expected = 400 * (1 - np.exp(-(0.5**2) / (2 * sigma**2)))  # a disc of 0.5 mm under a Gaussian, at its centre
    assert image[22:26, 22:26, 22:26].max() == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("radius_mm", "spacing"), [(0.5, 0.5), (0.25, 0.5), (0.5, 1.5)])
def test_no_vessel_is_interrupted_in_the_label(direction, radius_mm, spacing):
    grid = grid_of((40, 40, 40), spacing)
    flat, ids, _ = lumen_truth([straight(radius_mm, direction)], (), grid)
    mask = mask_of(flat, grid)
    assert components(mask, np.ones((3, 3, 3)))[1] == 1
    assert (ids == 2).all()
    assert len(flat) >= 16 / spacing / np.sqrt(3)  # a voxel for every step along the line


@pytest.mark.parametrize("radius_mm", [1.0, 2.0])
def test_the_label_of_a_wide_vessel_has_its_volume(radius_mm):
    grid = grid_of((64, 64, 64), 0.25)
    vessel = straight(radius_mm, (1, 2, 3), half_mm=5)
    assert radius_mm > LABEL_REACH * 0.25
    volume = len(lumen_truth([vessel], (), grid)[0]) * 0.25**3
    exact = np.pi * radius_mm**2 * vessel.length_mm + 4 / 3 * np.pi * radius_mm**3
    assert volume == pytest.approx(exact, rel=0.03)


def plaque(**changes):
    values = {"branch": 0, "arc_mm": 8.0, "length_mm": 6.0, "angle_deg": 20.0, "sector_deg": 360.0, "depth": 0.4}
    values |= {"hu": 900.0, "calcified": True, "texture_sd_hu": 0.0} | changes
    return Plaque(**values)


@pytest.mark.parametrize(("sector_deg", "depth"), [(360, 0.4), (180, 0.5), (90, 0.6)])
def test_the_label_narrows_by_the_stated_stenosis(sector_deg, depth):
    grid = grid_of((60, 60, 60), 0.15)
    vessel = straight(1.8, (1, 0, 0))
    lesion = plaque(sector_deg=float(sector_deg), depth=depth)
    healthy = mask_of(lumen_truth([vessel], (), grid)[0], grid)[30].sum()
    narrowed = mask_of(lumen_truth([vessel], [lesion], grid)[0], grid)[30].sum()
    assert 100 * (1 - narrowed / healthy) == pytest.approx(lesion.area_stenosis_percent, abs=3)


@pytest.mark.parametrize(("hu", "calcified"), [(900.0, True), (60.0, False)])
def test_a_plaque_shows_its_own_value_between_lumen_and_wall(hu, calcified):
    grid = grid_of((40, 40, 40), 0.2)
    vessel = straight(1.8, (1, 0, 0))
    lesion = plaque(hu=hu, calcified=calcified)
    part = render_vessels(
        [vessel], [lesion], grid, [np.full(len(vessel.points), 400.0)], 45.0, np.random.default_rng(0)
    )
    image = np.full(grid.shape, -90.0)
    image.reshape(-1)[part.flat] += part.cover * (part.hu - image.reshape(-1)[part.flat])
    middle = image[20, 20]  # from the axis outwards: lumen, plaque from 1.08 to 1.8 mm, wall, fat
    distance = np.abs(np.arange(40) - 19.5) * 0.2
    assert middle[distance < 0.7] == pytest.approx(400, abs=5)
    assert middle[(distance > 1.3) & (distance < 1.6)] == pytest.approx(hu, abs=10)
    assert middle[distance > 2.6] == pytest.approx(-90, abs=5)


def test_where_branches_meet_the_parent_keeps_the_label():
    grid = grid_of((48, 48, 48), 0.4)
    parent = straight(1.5, (1, 0, 0))
    t = np.arange(0, 7, 0.5)
    child = Branch(t[:, None] * [0, 1.0, 0], np.full(len(t), 0.8), label=4, parent=0, parent_point=16)
    flat, ids, position = lumen_truth([parent, child], (), grid)
    within = np.linalg.norm(position[:, 1:], axis=1) < 1.4
    assert (ids[within] == 2).all()
    assert (ids[position[:, 1] > 2] == 4).all()
    assert len(np.unique(flat)) == len(flat)


def test_solids_are_painted_with_half_filled_borders():
    grid = grid_of((40, 40, 40), 0.5)
    canvas = Canvas(grid, 0.0)
    ball = Ellipsoid((0.25, 0.25, 0.25), (6, 6, 6))
    canvas.paint(ball.distance(grid.coarse_points().astype(np.float32)), 100.0, label=3)
    exact = 4 / 3 * np.pi * 6**3
    assert canvas.image.sum() / 100 * 0.5**3 == pytest.approx(exact, rel=0.05)
    assert (canvas.labels == 3).sum() * 0.5**3 == pytest.approx(exact, rel=0.05)
    assert canvas.image[20, 20, 20] == 100


@pytest.mark.parametrize(
    ("solid", "point", "distance"),
    [
        pytest.param(Ellipsoid((0, 0, 0), (3, 3, 3)), (5, 0, 0), 2, id="outside a ball"),
        pytest.param(Ellipsoid((0, 0, 0), (3, 3, 3)), (0, 0, 2), -1, id="inside a ball"),
        pytest.param(Ellipsoid((0, 0, 0), (3, 3, 8), 2), (0, 0, -4), 2, id="below an egg"),
        pytest.param(Tube(np.array([[0, 0, 0], [10.0, 0, 0]]), np.array([1.0, 3.0])), (5, 6, 0), 4, id="beside a cone"),
        pytest.param(
            Tube(np.array([[0, 0, 0], [10.0, 0, 0]]), np.array([1.0, 1.0])), (-3, 0, 0), 2, id="before a tube"
        ),
    ],
)
def test_distances_are_signed_and_in_mm(solid, point, distance):
    assert solid.distance(np.array([point], np.float32))[0] == pytest.approx(distance, abs=1e-4)


@pytest.fixture(scope="module")
def anatomy():
    return draw_anatomy(np.random.default_rng([5, 0, 0]))


@pytest.fixture(scope="module")
def whole(anatomy):
    """A noise-free scan of a whole heart, 1 mm."""
    points = np.concatenate([b.points for b in anatomy.tree.branches])
    grid = draw_grid(points, np.random.default_rng(1), (150, 140, 130), (1.0, 1.0, 1.0), "RAS")
    scan = render_ccta(anatomy.heart, anatomy.thorax, anatomy.tree, [], CALM, grid, np.random.default_rng(2))
    return scan, grid


def test_blood_muscle_and_fat_have_the_values_of_a_contrast_scan(whole):
    scan, _ = whole

    def hu(name):
        return np.median(scan.image[scan.heart == HEART_LABELS[name]])

    assert hu("aorta") == pytest.approx(400, abs=15)
    assert hu("left_ventricle") == pytest.approx(400, abs=40)
    assert hu("left_atrium") == pytest.approx(415, abs=20)
    assert 120 < hu("right_ventricle") < 320
    assert 80 <= hu("myocardium") <= 130
    assert hu("epicardial_fat") == pytest.approx(-90, abs=25)
    assert scan.image.min() < -800  # lung
    assert scan.image.max() > 430  # bone


def test_chambers_have_plausible_volumes(whole):
    scan, _ = whole
    volume_ml = {name: (scan.heart == value).sum() / 1000 for name, value in HEART_LABELS.items()}
    assert 60 < volume_ml["left_ventricle"] < 220
    assert 60 < volume_ml["right_ventricle"] < 250
    assert 80 < volume_ml["myocardium"] < 300
    assert 30 < volume_ml["left_atrium"] < 150


def test_the_lumen_is_as_bright_as_the_aorta_and_fades_with_distance(anatomy):
    rca = next(b for b in anatomy.tree.branches if b.label == 9)
    stations = (12, len(rca.points) - 20)
    seen = []
    for at in stations:
        grid = grid_of((48, 48, 48), 0.3)
        grid.affine[:3, 3] += rca.points[at]
        scan = render_ccta(anatomy.heart, anatomy.thorax, anatomy.tree, [], CALM, grid, np.random.default_rng(2))
        seen.append(scan.image[24, 24, 24])
    assert seen == pytest.approx([60 + 340 * np.exp(-0.003 * rca.arc_mm[at]) for at in stations], abs=12)


def test_vessels_lie_in_fat_and_veins_are_darker_and_unlabelled(whole, anatomy):
    scan, grid = whole
    veins = scan.image[scan.heart == HEART_LABELS["coronary_veins"]]
    assert np.median(veins) < 0.6 * np.median(scan.image[scan.branches == 9])
    assert not scan.label[scan.heart == HEART_LABELS["coronary_veins"]].any()
    for vein in anatomy.tree.veins:
        index = np.rint(grid.to_index(vein.points)).astype(int)
        inside = ((index >= 0) & (index < grid.shape)).all(axis=1)
        assert scan.label[tuple(index[inside].T)].mean() < 0.05


def test_the_label_touches_the_aorta_and_has_two_trees(whole):
    scan, _ = whole
    regions, count = components(scan.label, np.ones((3, 3, 3)))
    sizes = np.bincount(regions.ravel())[1:]
    assert (sizes > 0.1 * sizes.sum()).sum() == 2
    aorta = scan.heart == HEART_LABELS["aorta"]
    near = np.zeros_like(aorta)
    for axis in range(3):
        near |= np.roll(aorta, 1, axis) | np.roll(aorta, -1, axis)
    assert {1, 9} <= set(scan.branches[near & ~aorta])
    assert count <= 4


def test_displaced_slabs_carry_label_and_centerline_with_them(anatomy):
    points = np.concatenate([b.points for b in anatomy.tree.branches])
    grid = draw_grid(points, np.random.default_rng(1), (140, 140, 120), (1.0, 1.0, 1.0), "LPS")
    steps = ((0.4, 3.0, -2.0), (0.7, -2.0, 2.0))
    protocol = Protocol(0.0, 400.0, 0.03, 0.5, 0.3, 0.0, steps)
    scan = render_ccta(anatomy.heart, anatomy.thorax, anatomy.tree, [], protocol, grid, np.random.default_rng(2))
    lines = np.concatenate([b.points[10:] for b in scan.centerlines])
    index = np.rint(grid.to_index(lines)).astype(int)
    index = index[((index >= 4) & (index < np.array(grid.shape) - 4)).all(axis=1)]
    assert scan.label[tuple(index.T)].mean() > 0.99
    still = np.concatenate([b.points[10:] for b in anatomy.tree.branches])
    assert np.linalg.norm(lines - still, axis=1).max() == pytest.approx(np.hypot(3, 2))


def test_noise_and_difficulty_grow_together(anatomy):
    drawn = {name: draw_protocol(level, np.random.default_rng(3)) for name, level in DIFFICULTIES.items()}
    assert drawn["easy"].noise_hu < drawn["default"].noise_hu < drawn["hard"].noise_hu
    root = anatomy.heart.to_patient(np.array([[-10.0, 30, -36]]))[0]
    grid = grid_of((40, 40, 40), 0.4)
    grid.affine[:3, 3] += root
    for protocol in drawn.values():
        scan = render_ccta(anatomy.heart, anatomy.thorax, anatomy.tree, [], protocol, grid, np.random.default_rng(2))
        inner = scan.image[10:30, 10:30, 10:30]
        assert inner.std() == pytest.approx(protocol.noise_hu, rel=0.15)
        assert inner.mean() == pytest.approx(protocol.aorta_hu, abs=8)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_plaques_stay_within_the_difficulty(anatomy, difficulty):
    level = DIFFICULTIES[difficulty]
    counts = []
    for seed in range(30):
        plaques = draw_tree_plaques(anatomy.tree.branches, level, np.random.default_rng(seed))
        counts.append(len(plaques))
        assert all(p.diameter_stenosis_percent <= level.max_stenosis_percent for p in plaques)
    assert level.plaques[0] <= min(counts)
    assert max(counts) <= level.plaques[1]


def test_motion_smears_a_vessel_along_its_path():
    grid = grid_of((48, 48, 48), 0.4)
    vessel = straight(1.0, (1, 0, 0))
    hu = [np.full(len(vessel.points), 400.0)]
    images = []
    for path in (np.zeros(3), np.array([0, 2.0, 0])):
        part = render_vessels([vessel], (), grid, hu, 0.0, np.random.default_rng(0), [path])
        image = np.zeros(grid.shape)
        image.reshape(-1)[part.flat] = part.cover * part.hu
        images.append(image[24])
    still, moving = images
    assert moving.sum() == pytest.approx(still.sum(), rel=0.05)  # the same contrast
    assert (moving[:, 24] > 40).sum() > (still[:, 24] > 40).sum() + 2  # spread along y
    assert abs(int((moving[24] > 40).sum()) - int((still[24] > 40).sum())) <= 1  # not along z
