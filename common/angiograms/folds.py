"""Folds of cross-validation: an assignment that depends on names and a seed alone, and its file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from ..files import replacing

Item = TypeVar("Item")


def make_folds(
    names: Sequence[str],
    k: int,
    seed: int,
    strata: Sequence[str] | None = None,
    groups: Sequence[str | int] | None = None,
) -> list[int]:
    """Assign cases to folds of nearly equal size.

    The assignment depends on the names and the seed only, not on the order of the names. Without groups the sizes of
    two folds differ by one case at most, as a whole and in each stratum; groups make this as even as they can.

    Args:
        names: of the cases, no two alike.
        k: number of folds, at least 2.
        seed: of the permutation.
        strata: source of each case, such as its data set; every fold gets its share of each.
        groups: what must stay together, such as the patient of each case.

    Returns:
        The fold of each case, in 0 ... ``k - 1``.

    Raises:
        ValueError: If the arguments are not of one length, a name comes twice, a group is in two strata, or there are
            fewer cases or groups than folds.
    """
    units = _units(names, strata, groups)
    if k < 2:
        raise ValueError(f"folds must be at least 2, got {k}")
    if len(units) < k:
        raise ValueError(f"{k} folds need at least {k} {'cases' if groups is None else 'groups'}, got {len(units)}")
    order = sorted(shuffled(units, seed), key=lambda unit: (unit[0], -len(unit[1])))  # stable: shuffled among equals
    total: Counter[int] = Counter()
    in_stratum: Counter[tuple[str, int]] = Counter()
    found: dict[str, int] = {}
    for stratum, members in order:
        fold = min(range(k), key=lambda f: (in_stratum[stratum, f], total[f], f))
        total[fold] += len(members)
        in_stratum[stratum, fold] += len(members)
        found.update(dict.fromkeys(members, fold))
    return [found[name] for name in names]


def shuffled(items: Iterable[Item], seed: int) -> list[Item]:
    """Return the items in an order drawn with ``seed``, the same on every machine and in every release of Python."""
    generator = Random(seed)  # its random() is the one method whose values are promised never to change
    keyed = [(generator.random(), position, item) for position, item in enumerate(items)]
    return [item for _, _, item in sorted(keyed, key=lambda entry: entry[:2])]


def draw_cases(groups: Mapping[str, str], number: int, seed: int) -> set[str]:
    """Draw cases in whole groups, for validation or test.

    Args:
        groups: the group of each case, by its name.
        number: of cases; not exceeded, unless the smallest group is larger.
        seed: of the permutation of the groups.

    Returns:
        Names of the cases: at least one group, and not all.

    Raises:
        ValueError: If there are fewer than two groups.
    """
    members: dict[str, list[str]] = {}
    for name, group in groups.items():
        members.setdefault(group, []).append(name)
    if len(members) < 2:
        raise ValueError(f"to draw some cases and keep others, two groups are needed, got {len(members)}")
    drawn: list[str] = []
    for group in shuffled(sorted(members), seed):
        if len(drawn) + len(members[group]) <= min(number, len(groups) - 1):
            drawn.extend(members[group])
    return set(drawn or members[min(sorted(members), key=lambda group: len(members[group]))])


def write_folds(
    path: str | Path, names: Sequence[str], folds: Sequence[int], groups: Sequence[str | int] | None = None
) -> Path:
    """Write a fold file, ``[{"name": ..., "fold": ..., "group": ...}, ...]``, sorted by name, and return its path.

    Raises:
        OSError: If it cannot be written.
    """
    known = groups if groups is not None else [None] * len(names)
    rows = [
        {"name": name, "fold": fold} | ({} if group is None else {"group": group})
        for name, fold, group in sorted(zip(names, folds, known, strict=True), key=lambda row: row[0])
    ]
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="ascii")
    return path


def read_folds(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read a fold file.

    Args:
        path: a JSON list of ``{"name", "fold"}`` and optionally "group", as :func:`write_folds` writes it.

    Returns:
        For each name ``{"fold": int}``, with "group" where it has one.

    Raises:
        FileNotFoundError: If the file is absent.
        ValueError: If it is no such list, a name comes twice, or a group is in two folds.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no fold file {path}; give a file, or a number of folds to make some")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise ValueError(f'{path} must be a list such as [{{"name": "1", "fold": 0, "group": "patient 1"}}, ...]')
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not is_whole(row.get("fold")):
            raise ValueError(f'an entry of {path} must have a "name" and a "fold", a whole number from 0 on, got {row}')
        if row["name"] in found:
            raise ValueError(f"{row['name']!r} comes twice in {path}; remove one entry")
        found[row["name"]] = {key: row[key] for key in ("fold", "group") if row.get(key) is not None}
    check_groups(found, str(path))
    return found


def is_whole(value: Any) -> bool:
    """Say whether ``value`` is a whole number from 0 on, as folds and frames are."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_groups(entries: Mapping[str, Mapping[str, Any]], source: str) -> None:
    """Raise a ``ValueError`` that names ``source`` if a group is in two folds.

    Args:
        entries: "fold" and optionally "group" of each case, by its name.
        source: file the entries come from.
    """
    folds: dict[str, tuple[int, str]] = {}
    for name, entry in entries.items():
        if entry.get("group") is None:
            continue
        fold, other = folds.setdefault(str(entry["group"]), (entry["fold"], name))
        if fold != entry["fold"]:
            raise ValueError(
                f"group {entry['group']!r} of {source} is in fold {fold} ({other!r}) and in fold {entry['fold']} "
                f"({name!r}): one patient would be in training and test; give all its cases one fold"
            )


def _units(
    names: Sequence[str], strata: Sequence[str] | None, groups: Sequence[str | int] | None
) -> list[tuple[str, list[str]]]:
    """Return what is assigned as a whole, sorted by name: the stratum and the names of each group."""
    strata = [""] * len(names) if strata is None else strata
    labels = names if groups is None else groups
    if not len(names) == len(strata) == len(labels):
        raise ValueError(f"{len(names)} names need as many strata and groups, got {len(strata)} and {len(labels)}")
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(f"the name {twice[0]!r} comes {Counter(names)[twice[0]]} times; give each case its own")
    units: dict[str, tuple[str, list[str]]] = {}
    for name, stratum, label in sorted(zip(names, strata, map(str, labels), strict=True)):
        known, members = units.setdefault(label, (stratum, []))
        if known != stratum:
            raise ValueError(f"group {label!r} is in the strata {known!r} and {stratum!r}; a group has one source")
        members.append(name)
    return list(units.values())
