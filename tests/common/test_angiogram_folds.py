"""Folds: even, disjoint, the same on every machine, and never through a patient."""

import json
import random
from collections import Counter

import pytest

from common.angiograms.folds import draw_cases, make_folds, read_folds, shuffled, write_folds


def test_348_cases_give_folds_of_70_70_70_69_69():
    folds = make_folds([str(n) for n in range(348)], 5, seed=0)
    assert sorted(Counter(folds).items()) == [(0, 70), (1, 70), (2, 70), (3, 69), (4, 69)]


def test_the_order_of_the_names_does_not_matter():
    names = [f"case{n}" for n in range(40)]
    folds = dict(zip(names, make_folds(names, 4, seed=3), strict=True))
    mixed = random.Random(1).sample(names, len(names))
    assert dict(zip(mixed, make_folds(mixed, 4, seed=3), strict=True)) == folds
    assert dict(zip(names, make_folds(names, 4, seed=4), strict=True)) != folds


def test_the_permutation_never_changes():
    drawn = sorted(range(5), key=[0.844, 0.758, 0.421, 0.259, 0.511].__getitem__)  # of Random(0), since Python 3.2
    assert shuffled("abcde", 0) == ["abcde"[place] for place in drawn]


def test_each_source_is_spread_evenly_and_so_is_the_whole():
    strata = ["healthy"] * 134 + ["stenotic"] * 214
    folds = make_folds([str(n) for n in range(348)], 5, seed=7, strata=strata)
    assert sorted(Counter(folds).values()) == [69, 69, 70, 70, 70]
    for stratum, sizes in (("healthy", {26, 27}), ("stenotic", {42, 43})):
        found = Counter(fold for fold, source in zip(folds, strata, strict=True) if source == stratum)
        assert set(found.values()) == sizes


def test_a_patient_stays_in_one_fold():
    groups = [n // 3 for n in range(60)]
    folds = make_folds([str(n) for n in range(60)], 4, seed=0, groups=groups)
    assert len({*zip(groups, folds, strict=True)}) == 20
    assert set(Counter(folds).values()) == {15}


def test_a_large_patient_is_placed_first():
    groups = ["many"] * 6 + [str(n) for n in range(6)]
    folds = make_folds([f"{n:02}" for n in range(12)], 2, seed=0, groups=groups)
    assert Counter(folds) == {0: 6, 1: 6}


def test_cases_are_drawn_in_whole_groups_and_never_all():
    groups = {str(n): f"patient {n // 3}" for n in range(12)}
    for number, drawn in ((1, 3), (3, 3), (5, 3), (7, 6), (12, 9)):
        found = draw_cases(groups, number, seed=0)
        assert len(found) == drawn
        assert len({groups[name] for name in found}) == drawn // 3
    with pytest.raises(ValueError, match="two groups are needed, got 1"):
        draw_cases({"a": "p", "b": "p"}, 1, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a", "b"], 1, 0), "folds must be at least 2, got 1"),
        ((["a", "b"], 3, 0), "3 folds need at least 3 cases, got 2"),
        ((["a", "b", "c"], 2, 0, None, ["p", "p", "p"]), "2 folds need at least 2 groups, got 1"),
        ((["a", "a", "b"], 2, 0), "the name 'a' comes 2 times"),
        ((["a", "b"], 2, 0, ["s"]), "2 names need as many strata and groups, got 1 and 2"),
        ((["a", "b"], 2, 0, ["s", "t"], ["p", "p"]), "group 'p' is in the strata 's' and 't'"),
    ],
    ids=["one fold", "few cases", "few groups", "twice", "length", "strata"],
)
def test_impossible_folds_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_folds(*arguments)


def test_a_fold_file_gives_back_what_was_written(tmp_path):
    file = write_folds(tmp_path / "folds.json", ["b", "a"], [1, 0], groups=[7, "p"])
    assert json.loads(file.read_text()) == [
        {"name": "a", "fold": 0, "group": "p"},
        {"name": "b", "fold": 1, "group": 7},
    ]
    assert read_folds(file) == {"a": {"fold": 0, "group": "p"}, "b": {"fold": 1, "group": 7}}
    assert read_folds(write_folds(file, ["a", "b"], [1, 0])) == {"a": {"fold": 1}, "b": {"fold": 0}}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "must be a list such as"),
        ([], "must be a list such as"),
        ([{"name": "a"}], 'must have a "name" and a "fold"'),
        ([{"name": "a", "fold": True}], 'must have a "name" and a "fold"'),
        ([{"name": "a", "fold": 0}, {"name": "a", "fold": 1}], "'a' comes twice"),
        (
            [{"name": "a", "fold": 0, "group": 1}, {"name": "b", "fold": 1, "group": 1}],
            r"group 1 of .* is in fold 0 \('a'\) and in fold 1 \('b'\): one patient",
        ),
    ],
    ids=["dictionary", "empty", "no fold", "boolean", "twice", "group"],
)
def test_a_wrong_fold_file_is_refused(tmp_path, rows, message):
    (tmp_path / "folds.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=message):
        read_folds(tmp_path / "folds.json")


def test_an_absent_or_broken_fold_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no fold file .*folds\.json"):
        read_folds(tmp_path / "folds.json")
    (tmp_path / "folds.json").write_text("[")
    with pytest.raises(ValueError, match=r"cannot read .*folds\.json"):
        read_folds(tmp_path / "folds.json")
