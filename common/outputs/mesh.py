"""Surfaces of masks as triangles, and the files that hold them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse import diags_array as diagonal
from skimage.measure import marching_cubes

from ..components import foreground_box
from ..files import replacing

ROUNDS = 10
SHRINK, INFLATE = 0.5, -0.53
"""Shares of the way to the neighbours' mean: one round pulls in, the next pushes out by a little more."""


class Mesh(NamedTuple):
    """Triangles around a mask.

    Attributes:
        points: corners in RAS mm, ``(N, 3)``.
        triangles: three corners each, counter-clockwise from outside, ``(M, 3)``.
    """

    points: NDArray[np.float64]
    triangles: NDArray[np.int64]


def surface_of(mask: NDArray[np.bool_], affine: NDArray[np.floating], rounds: int = ROUNDS) -> Mesh:
    """Return the smoothed surface of a mask, closed where the mask ends at the border of the volume too.

    Marching cubes put it half-way between voxels inside and outside. What is left of the voxels' stairs is smoothed in
    mm, without shrinking, by Taubin's method.

    Args:
        mask: ``(X, Y, Z)``.
        affine: voxel index to RAS mm, ``(4, 4)``; any spacing, flip and obliqueness.
        rounds: of smoothing; 0 leaves the stairs.

    Returns:
        The mesh, without any triangle for an empty mask.

    Source:
        Taubin, "A signal processing approach to fair surface design", SIGGRAPH 1995,
        https://doi.org/10.1145/218380.218473.
    """
    box = foreground_box(mask)
    if box is None:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    inside = np.pad(mask[box], 1).astype(np.float32)
    corners, triangles, _, _ = marching_cubes(inside, 0.5, gradient_direction="ascent")  # type: ignore[no-untyped-call]
    voxels = corners.astype(np.float64) + [side.start - 1 for side in box]
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    triangles = triangles.astype(np.int64)
    if np.linalg.det(affine[:3, :3]) < 0:
        triangles = triangles[:, ::-1]
    return Mesh(_smoothed(points, triangles, rounds), triangles)


def write_stl(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh as binary STL in LPS mm, which its header tells 3D Slicer.

    Raises:
        OSError: If the file cannot be written; no part of it remains.
    """
    corners = _lps(mesh)[mesh.triangles]  # (M, 3 corners, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    records = np.zeros(len(corners), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])
    records["normal"], records["corners"] = normals, corners
    with replacing(path) as part, part.open("wb") as file:
        file.write(b"coronary artery. SPACE=LPS".ljust(80))
        file.write(np.uint32(len(records)).astype("<u4").tobytes())
        file.write(records.tobytes())


def write_vtp(path: str | Path, mesh: Mesh, point_arrays: Mapping[str, NDArray[np.floating]]) -> None:
    """Write a mesh as VTK poly-data in LPS mm, which a field tells 3D Slicer; its arrays are binary.

    Args:
        path: file to write, ``*.vtp``.
        mesh: the mesh; VTK needs not be installed.
        point_arrays: values at the points, ``(N,)`` each, by name.

    Raises:
        OSError: If the file cannot be written; no part of it remains.
    """
    space = " ".join(str(byte) for byte in b"LPS\0")
    arrays = "".join(_array(name, values.astype("<f4")) for name, values in point_arrays.items())
    offsets = 3 * np.arange(1, len(mesh.triangles) + 1)
    cells = _array("connectivity", mesh.triangles.astype("<i8")) + _array("offsets", offsets.astype("<i8"))
    text = (
        '<?xml version="1.0"?>\n'
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n<PolyData>\n'
        f'<FieldData><Array type="String" Name="SPACE" NumberOfTuples="1" format="ascii">{space}</Array></FieldData>\n'
        f'<Piece NumberOfPoints="{len(mesh.points)}" NumberOfPolys="{len(mesh.triangles)}">\n'
        f"<PointData>\n{arrays}</PointData>\n<Points>\n{_array('Points', _lps(mesh).astype('<f4'))}</Points>\n"
        f"<Polys>\n{cells}</Polys>\n</Piece>\n</PolyData>\n</VTKFile>\n"
    )
    with replacing(path) as part:
        part.write_text(text, encoding="ascii")


def _smoothed(points: NDArray[np.float64], triangles: NDArray[np.int64], rounds: int) -> NDArray[np.float64]:
    """Move points between the mean of their neighbours and back."""
    mean = _neighbour_mean(len(points), triangles)
    for _ in range(rounds):
        for share in (SHRINK, INFLATE):
            points = points + share * (mean @ points - points)
    return points


def _neighbour_mean(count: int, triangles: NDArray[np.int64]) -> csr_array:
    """Return the matrix that averages the neighbours of each of ``count`` points."""
    start, end = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).T
    # of a closed surface each edge is in two triangles, once in each direction
    joined = coo_array((np.ones(len(start)), (start, end)), (count, count)).tocsr()
    joined.data[:] = 1
    return csr_array(diagonal(1 / joined.sum(axis=1)) @ joined)


def _lps(mesh: Mesh) -> NDArray[np.float64]:
    return mesh.points * [-1, -1, 1]


def _array(name: str, values: NDArray[np.generic]) -> str:
    """Return one VTK XML array: its length in bytes and its values, in base 64."""
    kind = {"<f4": "Float32", "<i8": "Int64"}[values.dtype.str]
    components = f' NumberOfComponents="{values.shape[1]}"' if name == "Points" else ""
    content = np.uint64(values.nbytes).astype("<u8").tobytes() + values.tobytes()
    return (
        f'<DataArray type="{kind}" Name="{name}"{components} format="binary">'
        f"{base64.b64encode(content).decode('ascii')}</DataArray>\n"
    )
