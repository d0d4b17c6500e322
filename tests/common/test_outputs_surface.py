"""Surfaces of masks: closed, of the right size, facing outward, in the formats of VTK."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkFiltersCore import vtkFeatureEdges, vtkMassProperties
from vtkmodules.vtkIOGeometry import vtkSTLReader
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from common.outputs.mesh import surface_of, write_stl, write_vtp
from common.outputs.surface import SaveSurfaced

ANISOTROPIC = np.array([[0, -0.5, 0, 10], [0.4, 0, 0, -20], [0, 0, 0.6, 5], [0, 0, 0, 1.0]])
MIRRORED = ANISOTROPIC * [-1, 1, 1, 1]


def positions(shape, affine):
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def ball(affine, radius_mm=6.0, shape=(40, 36, 32)):
    points = positions(shape, affine)
    return np.linalg.norm(points - points[20, 18, 16], axis=-1) <= radius_mm


CUBES = np.diag([0.4, 0.4, 0.4, 1.0])


def from_axis(points):
    """Distance in mm from the axis of a tube that is tilted against the voxels, so that none of its slices is alike."""
    return np.hypot(points[..., 0] - 4.67 - 0.1 * points[..., 2], points[..., 1] - 5.45)


def tube(radius_mm=1.2):
    return from_axis(positions((36, 28, 80), CUBES)) <= radius_mm


def volume_mm3(mesh):
    """Positive where the triangles face outward, by the divergence theorem."""
    a, b, c = np.moveaxis(mesh.points[mesh.triangles] - mesh.points.mean(axis=0), 1, 0)
    return float((np.cross(a, b) * c).sum() / 6)


def read(path):
    reader = vtkXMLPolyDataReader() if path.suffix == ".vtp" else vtkSTLReader()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


@pytest.mark.parametrize("affine", [ANISOTROPIC, MIRRORED], ids=["anisotropic", "mirrored"])
def test_a_ball_keeps_its_volume_and_faces_outward(affine):
    mesh = surface_of(ball(affine), affine)
    assert volume_mm3(mesh) == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.02)


def test_smoothing_takes_the_stairs_and_leaves_the_radius_of_a_thin_vessel():
    rough, smooth = (surface_of(tube(), CUBES, rounds).points for rounds in (0, 10))
    rough_mm, smooth_mm = (from_axis(points[np.abs(points[:, 2] - 16) < 12]) for points in (rough, smooth))
    assert rough_mm.mean() == pytest.approx(1.2, abs=0.04)
    assert smooth_mm.mean() == pytest.approx(rough_mm.mean(), abs=0.02)
    assert smooth_mm.std() < 0.9 * rough_mm.std()


def test_a_mask_that_ends_at_the_border_of_the_volume_has_a_closed_surface(tmp_path):
    mesh = surface_of(np.ones((4, 5, 6), bool), ANISOTROPIC)
    write_vtp(tmp_path / "a.vtp", mesh, {})
    edges = vtkFeatureEdges()
    edges.SetInputData(read(tmp_path / "a.vtp"))
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.Update()  # leaves open edges and those of more than two triangles
    assert edges.GetOutput().GetNumberOfCells() == 0
    assert len(mesh.triangles) > 0


@pytest.mark.parametrize("suffix", ["stl", "vtp"])
def test_vtk_reads_the_same_solid_in_lps(tmp_path, suffix):
    mesh = surface_of(ball(ANISOTROPIC), ANISOTROPIC)
    path = tmp_path / f"a.{suffix}"
    write_stl(path, mesh) if suffix == "stl" else write_vtp(path, mesh, {})
    content = read(path)
    mass = vtkMassProperties()
    mass.SetInputData(content)
    assert mass.GetVolume() == pytest.approx(volume_mm3(mesh), rel=1e-4)
    points = vtk_to_numpy(content.GetPoints().GetData())
    np.testing.assert_allclose(points.mean(axis=0), mesh.points.mean(axis=0) * [-1, -1, 1], atol=1e-3)
    assert content.GetNumberOfPolys() == len(mesh.triangles)


def test_both_formats_tell_3d_slicer_their_frame(tmp_path):
    mesh = surface_of(ball(ANISOTROPIC), ANISOTROPIC)
    write_stl(tmp_path / "a.stl", mesh)
    write_vtp(tmp_path / "a.vtp", mesh, {})
    assert b"SPACE=LPS" in (tmp_path / "a.stl").read_bytes()[:80]
    assert read(tmp_path / "a.vtp").GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "LPS"


def pred_of(mask, affine):
    return MetaTensor(torch.from_numpy(mask[None]).float(), affine=affine, meta={"filename_or_obj": "in/1.img.nii.gz"})


def test_the_arrays_of_vmtk_hold_the_vessel_s_radius(tmp_path):
    SaveSurfaced("pred", tmp_path)({"pred": pred_of(tube(), CUBES)})
    content = read(tmp_path / "1.img_surface.vtp")
    points, data = vtk_to_numpy(content.GetPoints().GetData()), content.GetPointData()
    middle = np.abs(points[:, 2] - 16) < 12
    for name in ("MaximumInscribedSphereRadius", "DistanceToCenterlines"):
        values = vtk_to_numpy(data.GetArray(name))
        assert values.shape == (len(points),)
        assert np.median(values[middle]) == pytest.approx(1.2, abs=0.1)


@pytest.mark.parametrize("formats", ["stl", "vtp", ["stl", "vtp"]], ids=str)
def test_an_empty_mask_gives_a_surface_without_triangles(tmp_path, formats):
    SaveSurfaced("pred", tmp_path, formats)({"pred": pred_of(np.zeros((5, 6, 7), bool), ANISOTROPIC)})
    suffixes = [formats] if isinstance(formats, str) else formats
    assert sorted(path.suffix[1:] for path in tmp_path.iterdir()) == suffixes
    for path in tmp_path.iterdir():
        assert read(path).GetNumberOfPolys() == 0


@pytest.mark.parametrize("formats", ["ply", True, [], ["stl", "obj"]], ids=str)
def test_another_format_is_refused_before_the_work(tmp_path, formats):
    with pytest.raises(ValueError, match=r"\(save_surface\) are stl, vtp, or a list of both, got"):
        SaveSurfaced("pred", tmp_path, formats)
