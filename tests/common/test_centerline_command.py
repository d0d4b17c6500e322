"""The command that turns a mask into a centerline file and a picture."""

from __future__ import annotations

import sys

import nibabel
import numpy as np
import pytest
from PIL import Image

from common import __main__ as command_line
from common.centerline.branch import Branch
from common.centerline.command import centerline
from common.centerline.picture import END, ROOT, tree_figure
from common.centerline.readers import read_centerline
from common.centerline.tree import bifurcation_points
from common.grids import read_grid

LPS = np.array([[-0.5, 0, 0, 40], [0, -0.5, 0, 30], [0, 0, 0.5, -20], [0, 0, 0, 1]])


def tube(shape, start, end, radius):
    """A mask of the voxels within ``radius`` of a line; all in voxels."""
    voxels = np.stack(np.indices(shape), axis=-1).astype(float)
    start, along = np.array(start, float), np.subtract(end, start)
    share = np.clip((voxels - start) @ along / (along @ along), 0, 1)
    return np.linalg.norm(voxels - start - share[..., None] * along, axis=-1) <= radius


@pytest.fixture
def mask(tmp_path):
    """A stem of 35 mm that narrows, and a side branch of 15 mm, in a file with the axes of LPS."""
    shape = (90, 50, 30)
    vessels = tube(shape, (10, 20, 15), (45, 20, 15), 5) | tube(shape, (45, 20, 15), (80, 20, 15), 3)
    vessels |= tube(shape, (45, 20, 15), (45, 46, 15), 2.5)
    path = tmp_path / "vessels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(vessels.astype(np.uint8), LPS), path)
    return path


def saved(path, voxels, affine=LPS):
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.uint8), affine), path)
    return str(path)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".mrk.json", ".gml"])
def test_a_mask_becomes_a_file_that_lies_in_it_and_a_picture(mask, tmp_path, suffix):
    report = centerline(str(mask), str(tmp_path / "out" / f"tree{suffix}"))
    voxels = np.asarray(nibabel.load(mask).dataobj) > 0
    branches = read_centerline(tmp_path / "out" / f"tree{suffix}", grid=read_grid(mask), mask=voxels)
    np.testing.assert_allclose(bifurcation_points(branches), [[17.5, 20, -12.5]], atol=1.5)
    root = next(b.points[0] for b in branches if b.parent < 0)
    np.testing.assert_allclose(root, [35, 20, -12.5], atol=2.5)  # at the thick end
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([f"tree{suffix}", "tree.png"])
    with Image.open(tmp_path / "out" / "tree.png") as picture:
        assert picture.width == 1600
    assert "bifurcations  1" in report
    assert "roots         1" in report


def test_the_picture_may_be_left_out(mask, tmp_path):
    centerline(str(mask), str(tmp_path / "out" / "tree.vtp"), preview=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tree.vtp"]


def test_vessels_begin_at_the_aorta_where_its_mask_is_given(mask, tmp_path):
    aorta = np.zeros((90, 50, 30), bool)
    aorta[80:] = True  # at the thin end
    out = tmp_path / "tree.json"
    centerline(str(mask), str(out), aorta=saved(tmp_path / "aorta.nii.gz", aorta), preview=False)
    (root,) = [b.points[0] for b in read_centerline(out) if b.parent < 0]
    np.testing.assert_allclose(root, [0, 20, -12.5], atol=2.5)


@pytest.mark.parametrize(
    ("voxels", "message"),
    [(0, r"vessels\.nii\.gz is empty: no voxel is above 0\.5"), (1, r"holds 1 voxels but no vessel")],
    ids=["empty", "a speck"],
)
def test_a_mask_without_a_vessel_leaves_no_file(tmp_path, voxels, message):
    content = np.zeros((20, 20, 20))
    content[10, 10, 10] = voxels
    saved(tmp_path / "vessels.nii.gz", content)
    with pytest.raises(ValueError, match=message):
        centerline(str(tmp_path / "vessels.nii.gz"), str(tmp_path / "tree.vtp"))
    assert [path.name for path in tmp_path.iterdir()] == ["vessels.nii.gz"]


def test_mistakes_are_told_before_the_work(mask, tmp_path):
    with pytest.raises(ValueError, match=r"tree\.stl: the suffix of a centerline file must be one of"):
        centerline("no.nii.gz", str(tmp_path / "tree.stl"))
    with pytest.raises(FileNotFoundError, match=r"no\.nii\.gz"):
        centerline("no.nii.gz", str(tmp_path / "tree.vtp"))
    aorta = saved(tmp_path / "aorta.nii.gz", np.ones((90, 50, 30)), np.diag([-1, -1, 1, 1]) @ LPS)
    with pytest.raises(ValueError, match=r"aorta\.nii\.gz does not lie on .*vessels\.nii\.gz"):
        centerline(str(mask), str(tmp_path / "tree.vtp"), aorta=aorta)
    with pytest.raises(ValueError, match="a mask with 3 axes is needed"):
        centerline(saved(tmp_path / "slice.nii.gz", np.ones((9, 9)), np.eye(4)), str(tmp_path / "tree.vtp"))
    assert not (tmp_path / "tree.vtp").exists()


def test_the_command_line_knows_it(mask, tmp_path, monkeypatch, capsys):
    arguments = ["common", "centerline", str(mask), "--out", str(tmp_path / "tree.csv"), "--nopreview"]
    monkeypatch.setattr(sys, "argv", arguments)
    command_line.main()
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "tree.csv")


def test_the_picture_shows_the_vessel_where_it_is():
    mask = tube((60, 40, 80), (10, 20, 10), (10, 20, 70), 3)  # at the right side, from the top down
    z = np.linspace(70, 10, 61)
    branch = Branch(np.stack([0 * z + 10, 0 * z + 20, z], axis=1), np.full(61, 3.0), 9)
    figure = tree_figure(mask, np.eye(4), [branch], title="one vessel")
    coronal = figure[
        60 : figure.shape[0] - 110, :180
    ]  # 900 px are the 79 mm of its height, so 216 px its 19 mm of width
    root = np.argwhere((coronal == ROOT).all(-1))
    assert root[:, 0].mean() < coronal.shape[0] / 2  # the ostium is on top
    grey = (np.ptp(coronal.astype(int), axis=-1) == 0) & (coronal[..., 0] > 60)
    assert grey.mean() > 0.05  # the mask around the line
    assert (np.abs(figure.astype(int) - END).max(-1) < 30).any()


def test_the_picture_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"a mask .* and a branch are needed"):
        tree_figure(np.zeros((5, 5, 5), bool), np.eye(4), [])
