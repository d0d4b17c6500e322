"""The sections of a data list: folds, shares drawn by patient, or what the publishers of a data set say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .angiograms.folds import draw_cases, make_folds, read_folds
from .layouts.case import PUBLISHED

Fold = dict[str, int | str]  # "fold" and perhaps "group" of a case


def fold_of_each(
    names: Sequence[str],
    folds: str | int,
    groups: Mapping[str, str],
    seed: int,
    splits: Mapping[str, Mapping[str, str]],
) -> tuple[dict[str, int], dict[str, str]]:
    """Return the fold of each case, and the groups that a fold file names.

    Args:
        names: of the cases.
        folds: number of folds to draw; a fold file; or ``published``, for those of nnU-Net.
        groups: patient of each case that has one.
        seed: of the draw.
        splits: the publishers' splits.

    Raises:
        FileNotFoundError: If there is no such fold file.
        ValueError: If there are fewer cases or patients than folds, or the file leaves cases out.
    """
    if isinstance(folds, int):
        labels = [groups.get(name, name) for name in names] if groups else None
        return dict(zip(names, make_folds(names, folds, seed, groups=labels), strict=True)), {}
    if folds == PUBLISHED:
        held = {n: i for i, split in enumerate(splits.values()) for n, part in split.items() if part == "validation"}
        if len(splits) < 2 or not all(name in held for name in names if _section(splits, name) != "test"):
            raise ValueError(
                "--folds published needs a splits_final.json in which each case is for validation once; give a number "
                "of folds instead"
            )
        return {name: held[name] for name in names if name in held}, {}
    known = read_folds(folds)
    check_named(names, known, folds)
    found = {name: known[name] for name in names}
    return (
        {name: int(entry["fold"]) for name, entry in found.items()},
        {name: entry["group"] for name, entry in found.items() if "group" in entry},
    )


def sections_of(
    names: Sequence[str],
    published: Mapping[str, str],
    groups: Mapping[str, str],
    validation: float | None,
    test: float | None,
    seed: int,
) -> dict[str, str]:
    """Return the section of each case: the publishers', or shares drawn in whole patients.

    Args:
        names: of the cases.
        published: the publishers' sections; what they leave out is in no section.
        groups: patient of each case that has one.
        validation: share of the training cases to draw where no case is for validation yet.
        test: share of all cases to draw instead of what the publishers say.
        seed: of the draw.

    Raises:
        ValueError: If cases are to be drawn and all are of one patient.
    """
    drawn = test is not None or not published
    section = dict.fromkeys(names, "training") if drawn else {n: published[n] for n in names if n in published}
    for name, share in (("test", test), ("validation", validation)):
        rest = [case for case, part in section.items() if part == "training"]
        if share and (name == "test" or name not in section.values()):
            whole = len(names) if name == "test" else len(rest)
            found = draw_cases({case: groups.get(case, case) for case in rest}, round(share * whole), seed)
            section = section | dict.fromkeys(found, name)
    return section


def check_named(names: Sequence[str], known: Mapping[str, object], source: str) -> None:
    """Raise a ``ValueError`` if a file about cases leaves some out, and say which of its names are none of theirs."""
    missing = sorted(set(names) - known.keys())
    if missing:
        raise ValueError(
            f"{source} leaves out {len(missing)} of {len(names)} cases ({some(missing)}); add them, by the names of "
            "their images without suffix"
        )
    if extra := sorted(known.keys() - set(names)):
        print(f"in {source} but not in the data set: {some(extra)}")


def some(names: Sequence[str], number: int = 10) -> str:
    """Return the first names of a list."""
    return ", ".join(names[:number]) + (", ..." if len(names) > number else "")


def _section(splits: Mapping[str, Mapping[str, str]], name: str) -> str | None:
    return next((split[name] for split in splits.values() if name in split), None)
