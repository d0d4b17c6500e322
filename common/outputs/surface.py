"""Surfaces of masks for 3D Slicer, VMTK, meshing and printing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ..centerline.extract import extract_centerline
from ..saving import SaveVolumed
from .mesh import surface_of, write_stl, write_vtp

FORMATS = ("stl", "vtp")


class SaveSurfaced(SaveVolumed):
    """Write ``<output_dir>/<case>_surface.stl`` or ``.vtp``: the smoothed surface of a mask, in LPS mm.

    LPS is what 3D Slicer and the tools around VMTK expect; their files say so in a header or field. The VTP has two
    point arrays with VMTK's names, taken from the nearest point of the mask's centerline: its radius,
    ``MaximumInscribedSphereRadius``, and how far it is, ``DistanceToCenterlines``. Where no centerline can be
    extracted, it has none.

    Args:
        keys: masks, ``(1, X, Y, Z)``, on the grid of the input.
        output_dir: folder to write to; made if it is absent.
        formats: ``stl``, ``vtp``, or a list of both.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If a format is another.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        formats: str | Sequence[str] = "vtp",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, output_dir, allow_missing_keys)
        self.formats = tuple(formats) if isinstance(formats, (list, tuple)) else (formats,)
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise ValueError(f"formats of a surface (save_surface) are stl, vtp, or a list of both, got {formats!r}")

    def write(self, volume: MetaTensor, case: str) -> None:
        """Write the surface of one mask; voxels above 0.5 belong to it."""
        mask, affine = volume[0].numpy(force=True) > 0.5, volume.affine.numpy(force=True)
        mesh = surface_of(mask, affine)
        path = self.output_dir / f"{case}_surface"
        if "stl" in self.formats:
            write_stl(path.with_name(path.name + ".stl"), mesh)
        if "vtp" in self.formats:
            write_vtp(path.with_name(path.name + ".vtp"), mesh, vmtk_arrays(mesh.points, mask, affine))


def vmtk_arrays(
    points: NDArray[np.float64], mask: NDArray[np.bool_], affine: NDArray[np.floating]
) -> dict[str, NDArray[np.float64]]:
    """Return what VMTK would know of surface points from the centerline of their mask.

    Args:
        points: ``(N, 3)`` RAS mm.
        mask: ``(X, Y, Z)``.
        affine: voxel index to RAS mm, ``(4, 4)``.

    Returns:
        ``MaximumInscribedSphereRadius`` and ``DistanceToCenterlines``, mm, ``(N,)`` each; nothing where there is no
        centerline.
    """
    branches = extract_centerline(mask, affine)
    if not branches:
        return {}
    distance, nearest = KDTree(np.concatenate([branch.points for branch in branches])).query(points)
    radius = np.concatenate([branch.radius_mm for branch in branches])[nearest]
    return {"MaximumInscribedSphereRadius": radius, "DistanceToCenterlines": np.asarray(distance)}
