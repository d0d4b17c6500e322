"""Centerlines as JSON: our own, and the markups of 3D Slicer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import replacing
from .branch import BRANCH_LABELS, Branch
from .graphs import OTHER
from .joining import joined
from .tree import check_vessels

MARKUPS_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_SYSTEMS = {"LPS": "lps", "RAS": "ras", "1": "lps", "0": "ras"}  # Slicer before 5 wrote numbers


def read_json(path: Path) -> tuple[list[Branch], str | None]:
    """Read our own JSON, as :func:`.writers.write_json` writes it, or markups that are not named ``.mrk.json``.

    Args:
        path: the file.

    Returns:
        Branches in the frame of the file, and that frame. An empty list of branches is a legal, empty centerline.

    Raises:
        ValueError: If it is no such file.
    """
    content = _load(path)
    if "markups" in content:
        return read_markups(path)
    if content.get("unit", "mm") != "mm" or not isinstance(content.get("branches"), list):
        raise ValueError(f'{path} must hold "frame", "unit": "mm" and a list of "branches"; got {sorted(content)}')
    branches = []
    for index, entry in enumerate(content["branches"]):
        try:
            points, radius = _array(entry["points"]), _array(entry.get("radius_mm", [0.0] * len(entry["points"])))
            label, parent, place = (int(entry.get(key, -1)) for key in ("label", "parent", "parent_point"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}: branch {index} must have points (N, 3), radius_mm (N,), label, parent and parent_point; "
                f"reading them failed with {error!r}"
            ) from error
        branches.append(Branch(points, radius, label if label in BRANCH_LABELS else OTHER, parent, place))
    return branches, str(content.get("frame", "RAS")).lower()


def read_markups(path: Path) -> tuple[list[Branch], str | None]:
    """Read the curves of a markups file of 3D Slicer, each one a branch; other markups in it are passed over.

    A curve that begins on another one is its child, see :func:`.joining.joined`. The radius is the measurement
    ``Radius`` that SlicerVMTK stores for every control point, else 0. The label follows from the name of the curve
    (``LAD``, ``3 LAD``).

    Args:
        path: the file.

    Returns:
        Branches in the frame of the file, and that frame.

    Raises:
        ValueError: If it is no such file, holds no curve, or its curves are in different frames.
    """
    markups = _load(path).get("markups")
    listed = [markup for markup in markups if isinstance(markup, dict)] if isinstance(markups, list) else []
    curves = [markup for markup in listed if markup.get("type") in ("Curve", "Line")]
    if not curves:
        raise ValueError(f"{path} holds no curve; in 3D Slicer, save the centerline as markups curves (.mrk.json)")
    systems = {str(curve.get("coordinateSystem", "LPS")) for curve in curves}
    frames = {_SYSTEMS.get(system) for system in systems}
    if len(frames) != 1 or None in frames:
        raise ValueError(f"{path}: the coordinateSystem of all curves must be LPS or RAS, got {', '.join(systems)}")
    branches = []
    for index, curve in enumerate(curves):
        name = curve.get("name", "")
        try:
            points = _array([point["position"] for point in curve["controlPoints"]])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: curve {index} {name!r} must have controlPoints with position [x, y, z]"
            ) from error
        branches.append(Branch(points, _radius(curve, len(points)), _label(str(name))))
    return joined(branches, str(path)), frames.pop()


def write_markups(path: str | Path, branches: Sequence[Branch]) -> None:
    """Write branches (RAS) as markups of 3D Slicer in LPS, one curve for each branch, with radii.

    Args:
        path: file to write, ``*.mrk.json``.
        branches: branches in RAS mm.

    Raises:
        ValueError: If they are no tree, or none.
    """
    check_vessels(branches, str(path))
    markups = [_curve(index, branch) for index, branch in enumerate(branches)]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"@schema": MARKUPS_SCHEMA, "markups": markups}), encoding="ascii")


def _curve(index: int, branch: Branch) -> dict[str, Any]:
    points = np.round(branch.points * [-1, -1, 1], 4).tolist()
    return {
        "type": "Curve",
        "name": f"{index} {BRANCH_LABELS.get(branch.label, 'other')}",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": True,  # hundreds of control points: dragging one by accident is easy
        "controlPoints": [
            {"id": str(place + 1), "position": point, "positionStatus": "defined"} for place, point in enumerate(points)
        ],
        "measurements": [
            {
                "name": "Radius",
                "enabled": True,
                "units": "mm",
                "controlPointValues": np.round(branch.radius_mm, 4).tolist(),
            }
        ],
        "display": {"visibility": True, "pointLabelsVisibility": False, "propertiesLabelVisibility": True},
    }


def _label(name: str) -> int:
    """The label of a curve whose name ends in that of a branch; a number there is only a count."""
    last = name.rpartition(" ")[2].lower()
    return next((number for number, known in BRANCH_LABELS.items() if known.lower() == last), OTHER)


def _radius(curve: dict[str, Any], count: int) -> NDArray[np.float64]:
    """The radius at every control point, 0 where the file has none."""
    measurements = curve.get("measurements")
    known = [item for item in measurements if isinstance(item, dict)] if isinstance(measurements, list) else []
    for measurement in known:
        if str(measurement.get("name")).lower() in ("radius", "maximuminscribedsphereradius"):
            try:
                values = _array(measurement.get("controlPointValues", []))
            except (TypeError, ValueError):
                continue  # no numbers: the radius is not needed
            if values.shape == (count,):
                return values
    return np.zeros(count)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of the text's encoding, too
        raise ValueError(f"{path} is no JSON, or damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def _array(values: Any) -> NDArray[np.float64]:
    return np.atleast_1d(np.array(values, np.float64))
