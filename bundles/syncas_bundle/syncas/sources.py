"""The cases that the data engine can render: found in the folders that people have."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from .common.datasets import SECTIONS, load_data_list
from .common.grids import describe_difference, read_grid
from .volumes import MAPS_WANTED

_MAP_FOLDERS = {"structures": "structures", "chambers": "chambers", "heart": "hearts"}
_IMAGECAS_IMAGE, _IMAGECAS_LABEL = ".img.nii.gz", ".label.nii.gz"


@dataclass(frozen=True)
class SourceCase:
    """One CCTA with its labels.

    Attributes:
        case: its name.
        section: of the data list.
        files: paths by kind, see :func:`.volumes.read_case`.
    """

    case: str
    section: str
    files: dict[str, str]


def find_cases(
    dataset_dir: str | Path, structures_dir: str | Path | None = None, validation: float = 0.05
) -> list[SourceCase]:
    """Find the cases of a folder.

    With ``dataset.json``: its cases, in its sections. Else ``N.img.nii.gz`` and ``N.label.nii.gz`` anywhere below the
    folder, as ImageCAS is unpacked. Label maps are named in the data list ("structures", "chambers", "heart") or lie
    in the folders ``structures/``, ``chambers/`` and ``hearts/`` (those of a phantom data set) as ``<case>.nii.gz``;
    ``structures/<case>`` may be a folder of masks.

    Args:
        dataset_dir: the folder.
        structures_dir: where the folders of label maps lie, or the maps of ``structures/`` themselves; None for
            ``dataset_dir``.
        validation: share of the cases of ImageCAS, the last ones, that go to the section "validation".

    Raises:
        FileNotFoundError: If there are no cases, or a file that the list names is missing.
        ValueError: If the list is wrong, image and label do not lie on one another, or a case has no label map.
    """
    folder = Path(dataset_dir)
    if not 0 <= validation < 1:
        raise ValueError(f"validation must be a share of the cases, at least 0 and below 1, got {validation}")
    listed = folder / "dataset.json"
    cases = _listed_cases(listed) if listed.is_file() else _imagecas_cases(folder, validation)
    found = [SourceCase(c.case, c.section, c.files | _maps_of(c, folder, structures_dir)) for c in cases]
    without = [case.case for case in found if not {"structures", "heart"} & set(case.files)]
    if without:
        raise ValueError(
            f"{len(without)} of {len(found)} cases in {folder} have no label map of the heart's structures "
            f"({', '.join(without[:5])}{', ...' if len(without) > 5 else ''}); {MAPS_WANTED}"
        )
    return found


def _listed_cases(path: Path) -> list[SourceCase]:
    """Read the cases of a data list."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = {}  # load_data_list explains what is wrong
    filled = [name for name in SECTIONS if isinstance(content, dict) and content.get(name)] or ["training"]
    cases = []
    for section in filled:
        for entry in load_data_list(path, section):
            files = {key: str(entry[key]) for key in ("image", "label", "heart") if key in entry}
            for key in ("structures", "chambers"):
                if key in entry:
                    files[key] = str(_existing(path.parent / str(entry[key]), f"case {entry['case']!r} of {path}"))
            cases.append(SourceCase(str(entry["case"]), section, files))
    return cases


def _imagecas_cases(folder: Path, validation: float) -> list[SourceCase]:
    """Find the pairs of ImageCAS, sorted by number."""
    files = sorted(folder.rglob(f"[!.]*{_IMAGECAS_IMAGE}"))
    images = {file.name[: -len(_IMAGECAS_IMAGE)]: file for file in files}
    if len(images) < len(files):
        twice = sorted({str(file) for file in files} - {str(file) for file in images.values()})
        raise ValueError(f"the names of cases in {folder} must differ, but {twice[0]} has that of another one")
    if not images:
        raise FileNotFoundError(
            f"there is no CCTA in {folder}: looked for dataset.json, and for N{_IMAGECAS_IMAGE} with "
            f"N{_IMAGECAS_LABEL} in it and below"
        )
    names = sorted(
        images, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    )
    training = len(names) - round(validation * len(names))
    cases = []
    for number, name in enumerate(names):
        label = _existing(images[name].with_name(name + _IMAGECAS_LABEL), f"case {name!r}")
        if difference := describe_difference(read_grid(images[name]), read_grid(label)):
            raise ValueError(f"case {name!r}: {label} does not lie on {images[name]}: {difference}")
        section = "training" if number < training else "validation"
        cases.append(SourceCase(name, section, {"image": str(images[name]), "label": str(label)}))
    return cases


def _maps_of(case: SourceCase, folder: Path, structures_dir: str | Path | None) -> dict[str, str]:
    """Find the label maps of a case in the folders where they may lie; those that its list names come first."""
    places = {key: [folder / name] for key, name in _MAP_FOLDERS.items()}
    if structures_dir is not None:
        given = Path(structures_dir)
        places = {key: [given / name, *places[key]] for key, name in _MAP_FOLDERS.items()}
        places["structures"].insert(1, given)
    found = {}
    for key, folders in places.items():
        candidates = [place / name for place in folders for name in (f"{case.case}.nii.gz", case.case)]
        existing = next((candidate for candidate in candidates if candidate.exists()), None)
        if key not in case.files and existing is not None:
            found[key] = str(existing)
    return found


def _existing(path: Path, who: str) -> Path:
    """Return a path that leads to something."""
    if not path.exists():
        raise FileNotFoundError(f"{who}: there is no {path}; paths are relative to the data list")
    return path
