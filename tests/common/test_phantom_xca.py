"""Angiograms of a phantom: geometry, ray sums, contrast, motion, and the truth of every frame."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from common.phantom.anatomy import draw_anatomy
from common.phantom.ccta import DIFFICULTIES as PLAQUES
from common.phantom.ccta import draw_tree_plaques
from common.phantom.xca import rays
from common.phantom.xca.arteries import LABELLED_RADIUS_MM, injected_artery
from common.phantom.xca.carm import CArm, draw_carm
from common.phantom.xca.contrast import VISIBLE, Bolus, draw_bolus
from common.phantom.xca.detector import aperture
from common.phantom.xca.motion import draw_motion
from common.phantom.xca.quality import DIFFICULTIES, draw_exposure
from common.phantom.xca.rays import Tubes, ray_sums
from common.phantom.xca.sequence import draw_scene, render_sequence

SHAPE = (96, 96)
FILLED = Bolus(-5.0, 100.0, 200.0, 150.0, 0.1, 0.0)


def view(primary=0.0, secondary=0.0, shape=(101, 81), pixel_mm=1.0):
    return CArm(primary, secondary, np.array([10.0, 20.0, 30.0]), 1000.0, 750.0, pixel_mm, shape)


@cache
def person(number=0):
    return draw_anatomy(np.random.default_rng([4, number, 0]))


def scene_of(anatomy, seed=0, difficulty="default", frames=3, shape=SHAPE):
    plaques = draw_tree_plaques(anatomy.tree.branches, PLAQUES[difficulty], np.random.default_rng(seed))
    rngs = [np.random.default_rng([seed, k]) for k in range(3)]
    return draw_scene(anatomy, plaques, difficulty, shape, frames, rngs)


def render(anatomy, scene, frames=1):
    return render_sequence(anatomy, scene, frames, np.random.default_rng(1), np.random.default_rng(2))


@pytest.fixture(params=["numba", "plain"])
def route(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(rays, "_accelerated", None)
    elif rays._accelerated is None:
        pytest.skip("needs numba")
    return request.param


@pytest.mark.parametrize(
    ("angles", "offset", "column_row"),
    [
        pytest.param((0, 0), (-30, 0, 0), (40, 0), id="without angles the patient's left is on the right"),
        pytest.param((0, 0), (0, 0, 30), (0, -40), id="without angles the head is at the top"),
        pytest.param((0, 0), (0, 30, 0), (0, 0), id="without angles the breast bone is before the spine"),
        pytest.param((90, 0), (0, -30, 0), (40, 0), id="LAO 90 sees from the left, the back on the right"),
        pytest.param((-90, 0), (0, -30, 0), (-40, 0), id="RAO 90 sees from the right, the back on the left"),
        pytest.param((0, 90), (0, 30, 0), (0, 40), id="cranial 90 sees from the head, the front at the bottom"),
        pytest.param((0, -90), (0, 30, 0), (0, -40), id="caudal 90 sees from the feet, the front at the top"),
    ],
)
def test_a_point_appears_where_the_angles_put_it_enlarged_by_the_distances(angles, offset, column_row):
    carm = view(*angles)
    (pixel,), (scale,) = carm.project(carm.isocentre_mm[None] + np.array([offset], float))
    np.testing.assert_allclose(pixel, np.array([40, 50]) + column_row, atol=1e-9)  # 30 mm times 1000 / 750
    if column_row != (0, 0):
        assert scale == pytest.approx(1000 / 750)


def test_what_is_nearer_to_the_source_appears_larger():
    carm = view()
    (first, second), scale = carm.project(carm.isocentre_mm + np.array([[-10, -150, 0], [-10, 150, 0]]))
    assert first[0] - 40 == pytest.approx(10 * 1000 / 600)
    assert second[0] - 40 == pytest.approx(10 * 1000 / 900)
    np.testing.assert_allclose(scale, [1000 / 600, 1000 / 900])


def test_the_camera_frame_is_orthonormal_and_can_be_left_again():
    carm = view(33, -21)
    np.testing.assert_allclose(carm.axes.T @ carm.axes, np.eye(3), atol=1e-12)
    points = np.random.default_rng(0).normal(0, 50, (9, 3))
    np.testing.assert_allclose(carm.to_patient(carm.to_camera(points)), points, atol=1e-9)


@pytest.mark.parametrize("artery", ["left", "right"])
def test_a_drawn_view_shows_most_of_the_artery_and_fills_the_frame_with_it(artery):
    vessels = injected_artery(person(), (), artery, 0.0, 0.0, np.random.default_rng(0))
    points = np.concatenate([v.points for v in vessels])
    for seed in range(12):
        carm = draw_carm(points, artery, (200, 240), np.random.default_rng(seed))
        pixels, _ = carm.project(points)
        inside = ((pixels >= 0) & (pixels <= [239, 199])).all(axis=1)
        assert inside.mean() > 0.6
        assert (np.ptp(pixels, axis=0) / [240, 200]).max() > 0.5


@pytest.mark.usefixtures("route")
def test_the_ray_sum_of_a_tube_is_the_chord_of_its_cross_section():
    carm = view(pixel_mm=0.25)
    line = carm.isocentre_mm + np.linspace(-30, 30, 121)[:, None] * [0, 0, 1]
    sums = ray_sums(Tubes.along(line, 4.0, label=9), carm)
    across = (np.arange(81) - 40) * 0.25 / 1000
    nearest = 750 * np.sin(np.arctan(across))  # distance of each ray from the axis
    chord = 2 * np.sqrt(np.clip(16 - nearest**2, 0, None))
    np.testing.assert_allclose(sums.path_mm[50], chord, atol=0.02)
    np.testing.assert_array_equal(sums.label[50] == 9, chord > 0)
    assert set(np.unique(sums.overlap)) == {0, 1}


@pytest.mark.usefixtures("route")
def test_an_oblique_tube_is_crossed_on_a_longer_way():
    carm = view(pixel_mm=0.25)
    line = carm.isocentre_mm + np.linspace(-30, 30, 121)[:, None] * [0, np.sin(1.0), np.cos(1.0)]
    sums = ray_sums(Tubes.along(line, 2.0), carm)
    assert sums.path_mm[50, 40] == pytest.approx(4 / np.cos(1.0), rel=0.01)


@pytest.mark.usefixtures("route")
def test_the_ray_sum_of_a_tapering_tube_has_its_volume():
    carm = view(pixel_mm=0.25)
    heights = np.linspace(-10, 10, 41)
    line = carm.isocentre_mm + heights[:, None] * [0, 0.6, 0.8]
    sums = ray_sums(Tubes.along(line, np.linspace(3, 1, 41)), carm)
    area = (0.25 * 750 / 1000) ** 2  # of a pixel at the isocentre
    caps = 0.1 * np.pi * (3 * 9 + 1 * 1)  # a tenth of the radius at either end, by which cylinders overlap
    assert sums.path_mm.sum() * area == pytest.approx(np.pi * 20 / 3 * (9 + 3 + 1) + caps, rel=0.03)


@pytest.mark.usefixtures("route")
def test_a_sharp_bend_has_no_gap():
    carm = view(pixel_mm=0.1)
    angle = np.linspace(0, np.pi, 20)  # steps of 0.5 mm around a circle of 3 mm
    line = carm.isocentre_mm + 3 * np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=1)
    sums = ray_sums(Tubes.along(line, 1.5, label=1), carm)
    row, column = np.mgrid[:101, :81] - np.array([50, 40])[:, None, None]
    distance = np.abs(np.hypot(row, column) * 0.075 - 3)
    inside = (distance < 1.35) & (row < -4)
    assert inside.sum() > 1000
    assert (sums.label[inside] == 1).all()


@pytest.mark.usefixtures("route")
def test_tubes_behind_each_other_add_up_and_tubes_in_each_other_count_once():
    carm = view(pixel_mm=0.5)
    line = carm.isocentre_mm + np.linspace(-20, 20, 81)[:, None] * [0, 0, 1]
    tube = Tubes.along(line, 2.0, label=1)
    away = np.array([0, 15.0, 0])
    behind, unlabelled = Tubes.along(line + away, 2.0, label=2), Tubes.along(line - away, 2.0)
    alone, twice = ray_sums(tube, carm), ray_sums(Tubes.joined([tube, tube]), carm)
    both = ray_sums(Tubes.joined([tube, behind, unlabelled]), carm)
    assert (alone.path_mm[50, 40], twice.path_mm[50, 40]) == (pytest.approx(4), pytest.approx(4))
    assert both.path_mm[50, 40] == pytest.approx(12)
    assert (alone.overlap[50, 40], twice.overlap[50, 40], both.overlap[50, 40]) == (1, 1, 2)


def test_both_routes_give_the_same_ray_sums(monkeypatch):
    if rays._accelerated is None:
        pytest.skip("needs numba")
    vessels = injected_artery(person(), (), "left", 0.3, 1.0, np.random.default_rng(0))
    carm = draw_carm(np.concatenate([v.points for v in vessels]), "left", SHAPE, np.random.default_rng(0))
    tubes = Tubes.joined([Tubes.along(v.points, v.radius_mm, 0.7, v.label) for v in vessels])
    fast = ray_sums(tubes, carm)
    monkeypatch.setattr(rays, "_accelerated", None)
    plain = ray_sums(tubes, carm)
    np.testing.assert_allclose(fast.path_mm, plain.path_mm, atol=1e-5)
    np.testing.assert_array_equal(fast.label, plain.label)
    np.testing.assert_array_equal(fast.overlap, plain.overlap)


def test_contrast_arrives_along_the_way_and_leaves_in_the_same_order():
    bolus = Bolus(0.2, 1.0, 200.0, 100.0, 0.1, 0.0)
    way = np.array([0.0, 50, 100])
    assert (bolus.concentration(way, 0.1) == 0).all()
    np.testing.assert_array_equal(bolus.concentration(way, 0.2 + 0.25 + 0.14) > VISIBLE, [True, True, False])
    np.testing.assert_allclose(bolus.concentration(way, 1.1), 1)
    late = bolus.concentration(way, 1.7)
    assert late[0] < late[1] <= late[2]
    assert bolus.concentration(way, 9.0).max() == 0


def test_sequences_begin_before_contrast_while_it_comes_and_when_it_is_there():
    rng = np.random.default_rng(0)
    first, last = [], []
    for _ in range(200):
        bolus = draw_bolus(180.0, 12 / 15, rng)
        first.append(bolus.concentration(np.array([20.0, 150.0]), 0.0) > VISIBLE)
        last.append(bolus.concentration(np.array([20.0, 150.0]), 11 / 15) > VISIBLE)
    assert 0.1 < 1 - np.mean([f[0] for f in first]) < 0.35
    assert np.mean([f.all() for f in last]) > 0.6


def test_the_heart_moves_periodically_and_the_aortic_root_least():
    anatomy = person()
    motion = replace(draw_motion(1.0, np.random.default_rng(0)), breath_mm=0.0, phase=0.0)
    period = 60 / motion.rate_bpm
    branches = anatomy.tree.branches
    points = np.concatenate([b.points for b in branches])
    rest = motion.move(anatomy.heart, points, 0.0)
    np.testing.assert_allclose(rest, points, atol=1e-9)
    np.testing.assert_allclose(motion.move(anatomy.heart, points, period), points, atol=1e-6)
    systole = max(np.linspace(0, period, 50), key=motion.contraction)
    path = np.linalg.norm(motion.move(anatomy.heart, points, systole) - points, axis=1)
    roots = np.cumsum([0, *[len(b.points) for b in branches]])[:-1][[b.parent < 0 for b in branches]]
    assert 5 < path.max() < 30
    assert path[roots].max() < 0.6 * path.max()


def test_a_plaque_narrows_the_lumen_by_its_stenosis():
    anatomy = person()
    branches = anatomy.tree.branches
    plaques = draw_tree_plaques(branches, PLAQUES["hard"], np.random.default_rng(1))
    plaque = max(plaques, key=lambda p: p.diameter_stenosis_percent)
    artery = "right" if branches[plaque.branch].label in (9, 10, 11) else "left"
    free, narrow = (injected_artery(anatomy, p, artery, 0.0, 0.0, np.random.default_rng(0)) for p in ((), [plaque]))
    ratio = min((n.radius_mm / f.radius_mm).min() for n, f in zip(narrow, free, strict=True))
    assert ratio == pytest.approx(1 - plaque.diameter_stenosis_percent / 100, abs=0.03)


def test_vessels_are_labelled_down_to_the_stated_radius():
    vessels = injected_artery(person(1), (), "left", 0.5, 1.0, np.random.default_rng(0))
    assert any((v.label == 0).all() for v in vessels)
    for vessel in vessels:
        body = vessel.way_mm > 3  # the mouth of the ostium is narrow and labelled
        np.testing.assert_array_equal(vessel.label[body] > 0, vessel.radius_mm[body] >= LABELLED_RADIUS_MM)


def test_a_frame_before_contrast_has_a_catheter_and_no_vessel():
    anatomy = person()
    scene = replace(scene_of(anatomy), bolus=replace(FILLED, arrival_s=50.0))
    angiogram = render(anatomy, scene)
    assert not angiogram.label.any()
    assert not angiogram.overlaps.any()
    assert angiogram.centerlines == [[]]
    assert angiogram.catheter.any()


def test_vessels_are_darker_than_what_lies_beside_them():
    anatomy = person()
    scene = replace(scene_of(anatomy, difficulty="easy"), bolus=FILLED)
    angiogram = render(anatomy, scene)
    frame, label = angiogram.frames[0].astype(float), angiogram.label[0] > 0
    away = distance_transform_edt(~label)
    beside = (away > 2) & (away < 6) & (frame > scene.exposure.collimator_grey + 1)
    assert frame[beside].mean() - frame[label].mean() > 10


def test_the_truth_of_a_frame_agrees_with_itself():
    anatomy = person()
    scene = scene_of(anatomy)
    exposure = replace(scene.exposure, collimator="none")
    angiogram = render(anatomy, replace(scene, bolus=FILLED, exposure=exposure), 2)
    np.testing.assert_array_equal(angiogram.label > 0, angiogram.branches > 0)
    np.testing.assert_array_equal(angiogram.label > 0, angiogram.overlaps > 0)
    assert angiogram.overlaps.max() >= 2
    assert angiogram.branches.max() <= 14
    for label, lines in zip(angiogram.label, angiogram.centerlines, strict=True):
        for line in lines:
            column, row = np.rint(np.array(line["points"])).astype(int).T
            wide = np.array(line["radius_px"]) > 1
            inside = (column >= 0) & (column < 96) & (row >= 0) & (row < 96) & wide
            assert label[row[inside], column[inside]].all()
            assert {len(line[k]) for k in ("points", "radius_px", "depth_mm", "foreshortening")} == {len(column)}
            assert max(line["foreshortening"]) <= 1


def test_nothing_behind_the_collimator_is_labelled():
    anatomy = person()
    scene = scene_of(anatomy)
    exposure = replace(scene.exposure, collimator="round", collimator_size=0.5, collimator_shift=(0.0, 0.0))
    angiogram = render(anatomy, replace(scene, bolus=FILLED, exposure=exposure))
    closed = aperture(exposure, SHAPE) <= 0.5
    assert closed.mean() == pytest.approx(1 - np.pi / 16, abs=0.02)
    for truth in (angiogram.label, angiogram.catheter, angiogram.branches, angiogram.overlaps):
        assert not truth[0][closed].any()


def test_filled_vessels_take_up_as_much_of_the_frame_as_published():
    shares = []
    for number in range(8):
        scene = scene_of(person(number), seed=number)
        lumina = Tubes.joined([Tubes.along(v.points, v.radius_mm, 1.0, v.label) for v in scene.vessels])
        shares.append((ray_sums(lumina, scene.carm).label > 0).mean())
    assert 0.045 < np.median(shares) < 0.09
    assert min(shares) > 0.02
    assert max(shares) < 0.16


def test_a_subtracted_sequence_is_flat_where_nothing_changes():
    anatomy = person()
    scene = replace(scene_of(anatomy, difficulty="easy"), bolus=replace(FILLED, arrival_s=50.0))
    exposure = replace(scene.exposure, subtracted=True, offset_px=(0.0, 0.0), collimator="none")
    frame = render(anatomy, replace(scene, exposure=exposure)).frames[0]
    assert np.median(frame) == pytest.approx(exposure.subtracted_grey[0], abs=2)
    assert frame.std() < 8


def test_hard_sequences_are_noisier_and_fainter_than_easy_ones():
    rng = np.random.default_rng(0)
    easy, hard = ([draw_exposure(DIFFICULTIES[name], rng) for _ in range(40)] for name in ("easy", "hard"))
    assert max(e.noise for e in easy) < min(e.noise for e in hard)
    assert min(e.iodine_per_mm for e in easy) > max(e.iodine_per_mm for e in hard)
