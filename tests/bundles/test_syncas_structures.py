"""Label maps of several makers become one, and what is missing is said."""

from __future__ import annotations

import numpy as np
import pytest
from syncas.common.phantom.heart import HEART_LABELS
from syncas.structures import (
    CORONARY_ID,
    STRUCTURES,
    TISSUE_ID,
    VEINS_ID,
    ids_of_phantom,
    merge_structures,
    missing_structures,
)

SPACING = (0.5, 0.5, 0.5)
SHAPE = (40, 40, 20)


def nothing():
    return np.zeros(SHAPE, np.int16)


def merged(ids, coronary=None, ccta_hu=None, chambers=None):
    coronary = np.zeros(SHAPE, bool) if coronary is None else coronary
    ccta_hu = np.full(SHAPE, 100, np.float32) if ccta_hu is None else ccta_hu
    return merge_structures(ids, coronary, ccta_hu, SPACING, chambers)


def test_the_table_has_the_published_rows_in_their_order():
    published = [123, 128, 62, 118, 119, 120, 121, 122, 63, 61, 5, 6, 15, 124, 53]
    values = [35, 35, 35, 50, 40, 40, 40, 40, 35, 40, 55, 50, 40, 35, 35]
    rows = [row for row in STRUCTURES if row.id not in (TISSUE_ID, VEINS_ID)]
    assert [row.id for row in rows] == published
    assert [row.base_hu for row in rows] == values
    assert {row.dilate_px for row in rows} == {2}


def test_the_aorta_of_either_task_is_one_and_unknown_ids_are_left_out():
    ids = nothing()
    ids[:10], ids[10:20], ids[20:30], ids[30:] = 52, 123, 51, 92
    ids[25, 0, 0] = 120  # a chamber, so that the envelope stays what it is
    assert set(np.unique(merged(ids))) == {0, 123, 120}
    assert (merged(ids)[:20] == 123).all()


def test_chambers_cover_the_whole_map_and_the_coronary_covers_everything():
    ids, chambers, coronary = nothing(), nothing(), np.zeros(SHAPE, bool)
    ids[:] = 53
    chambers[10:] = 3  # left ventricle
    coronary[18:22] = True
    result = merged(ids, coronary, chambers=chambers)
    assert [int(result[x, 0, 0]) for x in (0, 12, 20, 30)] == [53, 120, CORONARY_ID, 120]


def test_without_chambers_what_is_above_0_hu_in_the_envelope_is_heart_tissue_and_its_fat_stays():
    ids, ccta_hu = nothing(), np.full(SHAPE, -90, np.float32)
    ids[10:30, 10:30, 5:15] = 51
    ids[10:16, 10:16, 5:15] = 52
    ccta_hu[18:26, 2:38] = 400
    result = merged(ids, ccta_hu=ccta_hu)
    assert (result[19:25, 12:28, 6:14] == TISSUE_ID).all()
    assert (result[10:16, 10:16, 5:15] == 123).all()
    assert not result[11:16, 18:29].any()  # fat
    grown = np.argwhere(result == TISSUE_ID)
    assert grown.min(0).tolist() == [17, 4, 0]  # 6 voxels of 0.5 mm; the edge of the blood is smoothed
    assert grown.max(0)[1:].tolist() == [35, 19]


def test_a_map_with_nothing_but_the_coronary_is_refused():
    coronary = np.ones(SHAPE, bool)
    with pytest.raises(
        ValueError, match=r"none of the structures .* stay bright: aorta, superior_vena_cava.*task total"
    ):
        merged(nothing(), coronary)


def test_maps_of_other_tasks_and_shapes_are_refused():
    ids = np.full(SHAPE, 52, np.int16)
    with pytest.raises(ValueError, match="ids 0 to 7 of heartchambers_highres, got 118 to 118"):
        merged(ids, chambers=np.full(SHAPE, 118, np.int16))
    with pytest.raises(ValueError, match="shapes must be equal"):
        merged(ids, np.zeros((3, 3, 3), bool))


def test_missing_structures_are_those_that_stay_bright():
    everything = {row.id for row in STRUCTURES}
    assert missing_structures(everything) == []
    assert missing_structures(everything - {5, 6, 15}) == []  # not filled with contrast
    assert missing_structures(everything - {62, 61}) == ["superior_vena_cava"]  # the appendage is part of the atrium
    assert missing_structures({TISSUE_ID, 123, 62, 63}) == ["pulmonary_artery", "pulmonary_veins"]


def test_a_phantom_map_becomes_ids_with_the_venae_cavae_apart():
    hearts = np.zeros(SHAPE, np.int16)
    hearts[:10] = HEART_LABELS["vena_cava"]
    hearts[10:20, :, 8:12] = HEART_LABELS["right_atrium"]
    hearts[20:30] = HEART_LABELS["epicardial_fat"]
    hearts[30:] = HEART_LABELS["coronary_veins"]
    ids = ids_of_phantom(hearts)
    assert [int(ids[0, 0, z]) for z in (0, 19)] == [63, 62]
    assert [int(ids[x, 0, 10]) for x in (15, 25, 35)] == [121, 0, VEINS_ID]


def test_every_label_of_the_phantom_has_an_id_or_is_fat():
    painted = {name for name, label in HEART_LABELS.items() if ids_of_phantom(np.full((1, 1, 2), label)).any()}
    assert painted == set(HEART_LABELS) - {"epicardial_fat"}


def test_ids_of_totalsegmentator_are_no_phantom_map():
    with pytest.raises(ValueError, match=r'from 0 to 12, got 52 to 52; .* "structures", not its "heart"'):
        ids_of_phantom(np.full((2, 2, 2), 52))
