"""The guided pipeline: sources of the centerline, crops along it, assembly, and what may not be looked at."""

import json

import nibabel
import numpy as np
import pytest
import torch
from centerline_unet.inferers import GuidedInferer
from centerline_unet.provider import CenterlineProvider
from centerline_unet.saving import SaveGuidanced
from monai.data import MetaTensor

from common.centerline.branch import Branch
from common.centerline.crops import crop_starts
from common.centerline.writers import write_centerline
from common.diagnostics.notes import notes_of

AFFINE = np.diag([-0.5, -0.5, 0.5, 1])  # LPS voxels of half a millimetre
SHAPE = (40, 36, 32)
ROI = (16, 16, 16)


def line(first, last):
    """A straight vessel between two voxels."""
    points = np.linspace(first, last, 40)
    return Branch(nibabel.affines.apply_affine(AFFINE, points), np.ones(40), label=2)


VESSEL = line((20, 18, 2), (20, 18, 29))


class Finder:
    """A stage 1 that finds what it was told."""

    def __init__(self, branches, probability=0.0):
        self.branches = branches
        self.probability = probability

    def __call__(self, image, affine):
        np.testing.assert_allclose(affine, AFFINE)
        return torch.full(image.shape, self.probability), self.branches


def volume(value=0.5, name="/scans/7.nii.gz"):
    return MetaTensor(torch.full((1, 1, *SHAPE), value), affine=AFFINE, meta={"filename_or_obj": [name]})


def constant(probability):
    """A network that says the same everywhere."""
    logit = float(np.log(probability / (1 - probability)))
    return lambda x: torch.stack([torch.zeros_like(x[:, 0]), torch.full_like(x[:, 0], logit)], dim=1)


def guided(branches=(VESSEL,), probability=0.0, **options):
    provider = CenterlineProvider("predicted", Finder(list(branches), probability))
    return GuidedInferer(provider, ROI, **options)


# --- the inferer -----------------------------------------------------------------------------------------------------


def test_crops_of_a_constant_map_give_that_constant_wherever_they_reach():
    inferer = guided()
    result = inferer(volume(), constant(0.7))
    assert result.shape == (1, 1, *SHAPE)
    covered = torch.zeros(SHAPE, dtype=torch.bool)
    for start in inferer.last["auto"].starts:
        covered[tuple(slice(first, first + 16) for first in start)] = True
    assert 0 < covered.float().mean() < 1
    torch.testing.assert_close(result[0, 0][covered].as_tensor(), torch.full((int(covered.sum()),), 0.7))
    assert not result[0, 0][~covered].any()


@pytest.mark.parametrize(("uncovered", "expected"), [("stage1", 0.2), ("zero", 0.0)])
def test_voxels_outside_all_crops_take_the_first_stage_or_nothing(uncovered, expected):
    result = guided(probability=0.2, uncovered=uncovered)(volume(), constant(0.7))
    assert set(np.round(np.unique(result), 4)) == {np.float32(expected), np.float32(0.7)}


def test_the_network_sees_the_image_and_the_line_where_it_runs():
    seen = []

    def network(x):
        seen.append(x)
        return constant(0.5)(x)

    inferer = guided()
    inferer(volume(0.25), network)
    assert len(seen) == len(inferer.last["auto"].starts) > 1
    for window, start in zip(seen, inferer.last["auto"].starts, strict=True):
        assert window.shape == (1, 2, *ROI)
        assert torch.equal(window[0, 0], torch.full(ROI, 0.25))
        expected = torch.zeros(ROI)
        z = torch.arange(16) + start[2]
        expected[20 - start[0], 18 - start[1], (z >= 2) & (z <= 29)] = 1
        assert torch.equal(window[0, 1], expected)


def test_every_point_of_the_line_lies_in_a_crop():
    diagonal = line((2, 3, 2), (37, 30, 28))
    inferer = guided([diagonal])
    inferer(volume(), constant(0.5))
    crops = inferer.last["auto"]
    points = crops.guidance.points
    inside = [((points >= start) & (points <= start + 15)).all(1) for start in crops.starts]
    assert np.any(inside, axis=0).all()


def test_without_a_centerline_windows_cover_the_whole_volume():
    inferer = GuidedInferer(CenterlineProvider("none"), ROI)
    result = inferer(volume(), constant(0.7))
    torch.testing.assert_close(result.as_tensor(), torch.full((1, 1, *SHAPE), 0.7))
    assert len(inferer.last["auto"].starts) == 0


@pytest.mark.parametrize(
    "branches", [[], [line((1, 1, 1), (1, 1, 3))][:0], [Branch(VESSEL.points[:10], np.ones(10), 2)]]
)
def test_a_first_stage_that_finds_too_little_leads_to_windows_and_a_warning(branches):
    inferer = guided(branches)
    with pytest.warns(UserWarning, match=r"7\.nii\.gz is segmented without a centerline.*fewer than 20"):
        result = inferer(volume(), constant(0.7))
    assert (result > 0.69).all()
    assert inferer.last["auto"].guidance.source == "none"


def test_each_arm_is_a_channel_of_its_own():
    oracle = CenterlineProvider("predicted", Finder([line((5, 5, 2), (5, 5, 29))]))
    inferer = guided(arms=["auto", "grid", "oracle_volume"], oracle=oracle)
    result = inferer(volume(), constant(0.7)) > 0.5
    assert result.shape == (1, 3, *SHAPE)
    assert result[0, 0, 20, 18, 15]
    assert not result[0, 0, 2, 2, 15]
    assert result[0, 1].all()
    assert result[0, 2, 2, 2, 15]
    assert not result[0, 2, 37, 33, 15]


def test_a_two_dimensional_network_sees_one_slice_at_a_time():
    shapes = set()

    def network(x):
        shapes.add(tuple(x.shape))
        return constant(0.7)(x)

    inferer = GuidedInferer(CenterlineProvider("predicted", Finder([VESSEL])), (16, 16, 1))
    result = inferer(volume(), network)
    assert shapes == {(1, 2, 16, 16)}
    assert (result[0, 0, 20, 18, 2:30] > 0.69).all()


def test_mirror_averaging_makes_the_result_even():
    ramp = torch.linspace(-3, 3, 16).view(1, 16, 1, 1)
    network = lambda x: torch.stack([torch.zeros_like(x[:, 0]), ramp.expand_as(x[:, 0])], dim=1)  # noqa: E731
    inferer = GuidedInferer(CenterlineProvider("none"), ROI, overlap=0.0, mirror_axes=[0])
    result = inferer(MetaTensor(torch.zeros(1, 1, *ROI), affine=AFFINE), network)
    torch.testing.assert_close(result.as_tensor(), result.flip(2).as_tensor())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": ["best"]}, "arms must be among"),
        ({"arms": ["oracle_volume"]}, "--allow_oracle True"),
        ({"uncovered": "one"}, "'stage1' or 'zero'"),
        ({"blend": "union"}, "not 'union'"),
    ],
    ids=["arm", "oracle", "uncovered", "blend"],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        guided(**options)


def test_an_image_with_a_batch_axis_put_before_it_will_do():
    """That is how MONAI Label calls an inferer."""
    image = MetaTensor(torch.full((1, *SHAPE), 0.5), affine=AFFINE, meta={"filename_or_obj": "/scans/7.nii.gz"})
    torch.testing.assert_close(guided()(image[None], constant(0.7)), guided()(volume(), constant(0.7)))


def test_the_published_clusters_are_those_of_the_nodes():
    inferer = guided(crop_mode="reference")
    inferer(volume(), constant(0.7))
    crops = inferer.last["auto"]
    expected = crop_starts(crops.guidance.points, SHAPE, ROI, mode="reference")
    np.testing.assert_array_equal(crops.starts, expected)


@pytest.mark.parametrize(
    "inputs",
    [torch.zeros(1, 1, *SHAPE), MetaTensor(torch.zeros(2, 1, *SHAPE)), MetaTensor(torch.zeros(1, 2, *SHAPE))],
    ids=["no affine", "two volumes", "two channels"],
)
def test_anything_but_one_volume_with_its_affine_is_refused(inputs):
    with pytest.raises(ValueError, match="one volume"):
        guided()(inputs, constant(0.5))


# --- sources ---------------------------------------------------------------------------------------------------------


def image_file(folder, name="7"):
    path = folder / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.float32), AFFINE), path)
    return path


def found(provider, path):
    return provider.get(torch.zeros(1, *SHAPE), {"affine": AFFINE, "filename_or_obj": str(path)})


@pytest.mark.parametrize("suffix", [".json", ".csv", ".gml", ".mrk.json"])
def test_a_file_gives_its_centerline_in_voxels_of_the_image(tmp_path, suffix):
    write_centerline(tmp_path / f"7{suffix}", [VESSEL])
    guidance = found(CenterlineProvider("file", directory=tmp_path), image_file(tmp_path))
    assert (guidance.source, guidance.quality) == ("file", 1.0)
    np.testing.assert_allclose(guidance.points, np.linspace((20, 18, 2), (20, 18, 29), 40), atol=1e-2)
    np.testing.assert_array_equal(guidance.edges, [(n, n + 1) for n in range(39)])


def test_a_curve_of_few_control_points_is_followed_all_the_same(tmp_path):
    few = Branch(VESSEL.points[[0, 20, 39]], np.array([2.0, 1.0, 1.0]), 2)
    side = Branch(few.points[1] + np.array([[0.0, 0, 0], [4, 0, 0]]), np.ones(2), 4, parent=0, parent_point=1)
    write_centerline(tmp_path / "7.json", [few, side])
    guidance = found(CenterlineProvider("file", directory=tmp_path), image_file(tmp_path))
    stem, child = guidance.branches
    assert np.linalg.norm(np.diff(stem.points, axis=0), axis=1).max() <= 0.5 + 1e-6
    assert (len(child.points), stem.radius_mm[0], stem.radius_mm[-1]) == (9, 2, 1)
    np.testing.assert_allclose(stem.points[child.parent_point], child.points[0], atol=1e-6)


def test_a_mirror_image_is_not_followed(tmp_path):
    centred = AFFINE.copy()
    centred[:3, 3] = -AFFINE[:3, :3] @ (np.array(SHAPE) - 1) / 2  # a mirrored line stays in such an image
    image = torch.zeros(1, *SHAPE)
    image[0, 9:12, 17:20] = 0.5
    points = nibabel.affines.apply_affine(centred, np.linspace((10, 18, 2), (10, 18, 29), 40))
    meta = {"affine": centred, "filename_or_obj": str(tmp_path / "7.nii.gz")}
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.float32), centred), tmp_path / "7.nii.gz")
    provider = CenterlineProvider("file", directory=tmp_path)

    write_centerline(tmp_path / "7.csv", [Branch(points, np.ones(40), 2)])
    assert provider.get(image, meta).source == "file"
    write_centerline(tmp_path / "7.csv", [Branch(points * [-1, -1, 1], np.ones(40), 2)])
    with pytest.warns(UserWarning, match="brighter along the mirror image.*--centerline_frame"):
        assert provider.get(image, meta).source == "none"


def test_a_case_goes_by_the_name_of_its_entry(tmp_path):
    write_centerline(tmp_path / "patient.json", [VESSEL])
    image = image_file(tmp_path)
    provider = CenterlineProvider("file", directory=tmp_path, cases=[{"image": str(image), "case": "patient"}])
    assert found(provider, image).source == "file"


def test_a_folder_that_holds_the_reference_of_the_data_list_is_refused_unless_allowed(tmp_path):
    write_centerline(tmp_path / "7.json", [VESSEL])
    image = image_file(tmp_path)
    options = {"directory": tmp_path, "cases": [{"image": str(image), "centerline": str(tmp_path / "7.json")}]}
    with pytest.raises(ValueError, match="where the data list has its centerlines, knows the reference"):
        found(CenterlineProvider("file", **options), image)
    allowed = CenterlineProvider("file", allow_oracle=True, **options)
    assert found(allowed, image).source == "file"
    assert allowed.knows_reference


def test_a_line_beside_the_heart_is_no_guide():
    beside = Branch(VESSEL.points + np.array([100.0, 0, 0]), VESSEL.radius_mm, 2)
    inferer = guided([beside])
    with pytest.warns(UserWarning, match=r"7\.nii\.gz is segmented without a centerline: no point of its centerline"):
        result = inferer(volume(), constant(0.7))
    assert (result > 0.69).all()
    assert inferer.last["auto"].guidance.source == "none"


def test_where_the_published_rules_fail_every_point_is_covered_instead():
    inferer = guided([line((20, 18, 0), (20, 18, 31))], crop_mode="reference")
    with pytest.warns(UserWarning, match="crops of mode 'coverage' instead of 'reference'"):
        inferer(volume(), constant(0.7))
    assert len(inferer.last["auto"].starts) > 0


def test_edges_join_the_points_of_a_branch_and_no_others():
    branches = [VESSEL, Branch(VESSEL.points[:3] + 1, np.ones(3), 4, parent=0, parent_point=0)]
    edges = found(CenterlineProvider("predicted", Finder(branches)), "7.nii.gz").edges
    assert len(edges) == 39 + 2
    assert [39, 40] not in edges.tolist()


def test_the_quality_of_a_prediction_is_its_mean_probability_along_the_line():
    guidance = found(CenterlineProvider("predicted", Finder([VESSEL], 0.8)), "7.nii.gz")
    assert guidance.quality == pytest.approx(0.8)


def test_a_label_gives_its_centerline_where_that_is_allowed(tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    label[18:23, 16:21, 2:30] = 1
    nibabel.save(nibabel.Nifti1Image(label, AFFINE), tmp_path / "label.nii.gz")
    image = image_file(tmp_path)
    cases = [{"image": str(image), "label": str(tmp_path / "label.nii.gz")}]
    guidance = found(CenterlineProvider("mask", cases=cases, allow_oracle=True), image)
    assert guidance.source == "mask"
    np.testing.assert_allclose(guidance.points[:, :2], np.tile([20, 18], (len(guidance.points), 1)), atol=0.6)


def test_the_entry_of_a_data_list_names_the_file(tmp_path):
    image = image_file(tmp_path)
    write_centerline(tmp_path / "true.json", [VESSEL])
    cases = [{"image": str(image), "centerline": str(tmp_path / "true.json")}]
    guidance = found(CenterlineProvider("file", cases=cases, allow_oracle=True), image)
    assert guidance.source == "file"
    assert len(guidance.points) == 40


@pytest.mark.parametrize(
    "options",
    [
        {"source": "mask", "cases": [{"image": "a", "label": "b"}]},
        {"source": "file", "cases": [{"image": "a", "centerline": "b"}]},
        {"source": "file", "directory": ".", "is_reference": True},
    ],
    ids=["label", "reference of the data list", "reference in a folder"],
)
def test_what_knows_the_answer_is_refused_unless_allowed_by_name(options):
    with pytest.raises(ValueError, match="--allow_oracle True"):
        CenterlineProvider(**options)
    assert CenterlineProvider(**options, allow_oracle=True).source == options["source"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": "guess"}, ValueError, "one of .*predicted.*got 'guess'"),
        ({"source": "predicted"}, ValueError, "needs stage1"),
        ({"source": "file", "allow_oracle": True}, ValueError, "--centerline_dir"),
        ({"source": "mask", "allow_oracle": True}, ValueError, "data list"),
        ({"source": "file", "directory": "/nowhere"}, FileNotFoundError, "no folder of centerlines /nowhere"),
    ],
    ids=["unknown", "no stage 1", "no folder", "no cases", "folder missing"],
)
def test_a_source_without_what_it_needs_is_refused_at_once(options, error, message):
    with pytest.raises(error, match=message):
        CenterlineProvider(**options)


def far_away(folder):
    write_centerline(folder / "7.json", [Branch(VESSEL.points + 500, VESSEL.radius_mm, 2)])


def one_point(folder):
    (folder / "7.csv").write_text("x,y,z,radius_mm\n1,2,3,1\n")


def broken(folder):
    (folder / "7.json").write_text("{")


def cyclic(folder):
    nodes = "".join(f'node [ id {n} label "{n}" x {n} y {n % 2} z 0.0 r 1.0 ]' for n in range(4))
    edges = "".join(f"edge [ source {n} target {(n + 1) % 4} ]" for n in range(4))
    (folder / "7.gml").write_text(f"graph [ {nodes} {edges} ]")


def empty(folder):
    (folder / "7.json").write_text('{"frame": "RAS", "unit": "mm", "branches": []}')


def other_case(folder):
    write_centerline(folder / "8.json", [VESSEL])


@pytest.mark.parametrize("defect", [far_away, one_point, broken, cyclic, empty, other_case])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_centerline_that_cannot_be_used_is_no_reason_to_fail(tmp_path, defect):
    defect(tmp_path)
    with pytest.warns(UserWarning, match=r"7\.nii\.gz is segmented without a centerline: "):
        guidance = found(CenterlineProvider("file", directory=tmp_path), image_file(tmp_path))
    assert (guidance.source, guidance.branches) == ("none", [])
    assert guidance.reason


# --- the record ------------------------------------------------------------------------------------------------------


def test_the_record_beside_a_mask_says_what_guided_it_and_can_be_read_as_a_centerline(tmp_path):
    inferer = guided()
    result = inferer(volume(), constant(0.7))
    pred = MetaTensor(result[0], meta={"filename_or_obj": "/scans/7.nii.gz"})
    SaveGuidanced("pred", inferer, tmp_path)({"pred": pred})
    guidance = inferer.last["auto"].guidance
    crops = len(inferer.last["auto"].starts)
    noted = {"source": "predicted", "quality": guidance.quality, "crops": crops}
    assert notes_of(pred) == {"guidance": noted}  # for the report
    record = json.loads((tmp_path / "7_guidance.json").read_text())
    assert record["source"] == "predicted"
    assert record["crop_starts"] == inferer.last["auto"].starts.tolist()
    assert record["crop_size"] == list(ROI)

    (tmp_path / "7_guidance.json").rename(tmp_path / "7.json")
    guidance = found(CenterlineProvider("file", directory=tmp_path), image_file(tmp_path))
    np.testing.assert_allclose(guidance.points, np.linspace((20, 18, 2), (20, 18, 29), 40), atol=1e-2)
