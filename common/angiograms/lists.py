"""Data lists of angiograms: stills and sequences, cross-validation by folds, and sequences frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets import Sections, cases_of, check_files, check_unique, read_sections
from ..grids import NIFTI_SUFFIXES, Grid, describe_difference, read_grid
from .folds import check_groups, draw_cases, is_whole
from .headers import FrameSize, read_size
from .sources import angiogram_case_name

Case = dict[str, Any]


def load_angiogram_list(
    path: str | Path,
    section: str,
    fold: int | None = None,
    validation_share: float = 0.1,
    each_frame: bool = False,
    every: int = 1,
) -> list[Case]:
    """Return the cases of one section of a Decathlon data list of angiograms, with whole paths.

    With a ``fold``, the cases of the section "training" are split for cross-validation by the "fold" that each entry
    carries, and the list's other sections are not used: "test" becomes the cases of that fold, "validation" a share of
    the remaining ones, and "training" the rest. Entries with the same "group" (a patient) stay together.

    Args:
        path: the data list, ``dataset.json``.
        section: ``training``, ``validation`` or ``test``.
        fold: the fold to test on; None takes the sections as the list has them.
        validation_share: share of the cases outside ``fold`` that goes to "validation", in whole groups, at least one.
        each_frame: make one case of each frame of a sequence, for methods that know stills only; such a case has
            "frame", its number, "sequence", the name of the whole, and its own name, ``<case>_t03``. Frames with an
            empty label are kept.
        every: with ``each_frame``, take every n-th frame of a sequence.

    Returns:
        One dictionary for each case: what its entry says, the files as whole paths, and ``case``, its name.

    Raises:
        FileNotFoundError: If the list or a file it names is absent.
        ValueError: If the list is not such JSON, the section is absent or empty, a case comes twice or in two sections,
            an entry has no "fold" or ``fold`` is unknown, a group is in two folds, or image and label differ in size
                or place.
    """
    path = Path(path)
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    sections = read_sections(path, angiogram_case_name)
    check_unique(sections, path, identity=("image", "frame"))
    if fold is not None:
        sections = _by_fold(cases_of(sections, "training", path), fold, validation_share, path)
    found: list[Case] = []
    for case in cases_of(sections, section, path):
        check_files(case, path)
        size = common_size(case)
        found += _frames(case, size.frames, every) if each_frame else [case]
    return found


def folds_of(path: str | Path) -> list[int]:
    """Return the folds that the entries of a data list's section "training" name, in order.

    Raises:
        FileNotFoundError: If there is no list.
        ValueError: If the list is not such JSON, the section is empty, or an entry has no "fold".
    """
    path = Path(path)
    cases = cases_of(read_sections(path, angiogram_case_name), "training", path)
    _check_folds(cases, path)
    return sorted({case["fold"] for case in cases})


def common_size(case: Case) -> FrameSize:
    """Return the size of a case's image, read from headers.

    Args:
        case: with "image", "label" and "case", and possibly "frame".

    Raises:
        FileNotFoundError: If a file is absent.
        ValueError: If a header cannot be read, the label has another size or lies elsewhere, or there is no such frame.
    """
    try:
        image, label = read_size(case["image"]), read_size(case["label"])
    except ValueError as error:
        raise ValueError(f"case {case['case']!r}: {error}") from error
    frame = case.get("frame")
    if frame is not None and not (is_whole(frame) and frame < image.frames):
        raise ValueError(f'"frame" of case {case["case"]!r} must be one of 0 ... {image.frames - 1}, got {frame!r}')
    frames = {image.frames} if frame is None else {image.frames, 1}
    if label[1:] != image[1:] or label.frames not in frames:
        raise ValueError(
            f"case {case['case']!r}: {case['label']} has {_described(label)}, but {case['image']} has "
            f"{_described(image)}; is it the label of this image?"
        )
    if difference := _difference(Path(case["image"]), Path(case["label"]), image):
        raise ValueError(
            f"case {case['case']!r}: {case['label']} does not lie on {case['image']}, {difference}; is it mirrored? "
            "Save the label with the affine of the image"
        )
    return image


def _difference(image: Path, label: Path, size: FrameSize) -> str | None:
    """Say how the places of the pixels in two NIfTI files differ; None where they agree, or one is no NIfTI."""
    if not all(path.name.lower().endswith(NIFTI_SUFFIXES) for path in (image, label)):
        return None
    grids = (Grid((size.width, size.height, 1), read_grid(path).affine) for path in (image, label))
    return describe_difference(*grids)


def _check_folds(cases: Sequence[Case], path: Path) -> None:
    """Raise unless every case has a fold."""
    for case in cases:
        if not is_whole(case.get("fold")):
            raise ValueError(
                f'case {case["case"]!r} of {path} has no "fold", a whole number from 0 on; write the list with '
                "the command `datalist ... --folds`, or leave out the fold to use its sections as they are"
            )


def _by_fold(cases: Sequence[Case], fold: int, validation_share: float, path: Path) -> Sections:
    """Split the cases for cross-validation."""
    if not 0 < validation_share < 1:
        raise ValueError(
            f"validation_share must lie between 0 and 1, got {validation_share}: the best epoch is chosen on the "
            "validation cases, which must not be those of the test"
        )
    _check_folds(cases, path)
    known = sorted({case["fold"] for case in cases})
    if fold not in known:
        raise ValueError(f"fold must be one of those in {path}, {known}, got {fold!r}")
    check_groups({case["case"]: case for case in cases}, str(path))
    rest = {case["case"]: _group(case) for case in cases if case["fold"] != fold}
    validation = draw_cases(rest, round(validation_share * len(rest)), seed=fold)
    sections: Sections = {"training": [], "validation": [], "test": []}
    for case in cases:
        name = "test" if case["fold"] == fold else "validation" if case["case"] in validation else "training"
        sections[name].append(case)
    return sections


def _group(case: Case) -> str:
    """Return the name of a case's group; the frames of one file are one where the list knows none."""
    return f"group {case['group']}" if case.get("group") is not None else case["image"]


def _frames(case: Case, count: int, every: int) -> list[Case]:
    """Return one case for each frame; a still, and a case that is one frame already, keep their names."""
    if count == 1 or case.get("frame") is not None:  # batches need the same items in all cases
        return [{"frame": 0, "sequence": case["case"]} | case]
    return [
        case | {"frame": t, "case": f"{case['case']}_t{t:02d}", "sequence": case["case"]}
        for t in range(0, count, every)
    ]


def _described(size: FrameSize) -> str:
    frames = "1 frame" if size.frames == 1 else f"{size.frames} frames"
    return f"{frames} of {size.width} x {size.height} pixels"
