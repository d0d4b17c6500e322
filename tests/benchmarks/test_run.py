"""The harness' own promises: equality before time, ratios round by round, floors, missing packages."""

import math
from dataclasses import replace

import pytest

from benchmarks import run
from benchmarks.case import Case, Variant, case_names, load_cases
from benchmarks.data import coronary_mask, noisy_logits
from benchmarks.probe import Probe
from benchmarks.report import missed_floors, render

calls: list[str] = []


def work(name: str, amount: int):
    """A function that adds up numbers, ``amount`` of them, and notes that it was called."""

    def add(data: int) -> float:
        calls.append(name)
        return data + math.fsum(0.0 for _ in range(amount))

    return add


def same(ours: float, peer: float) -> str:
    assert ours == peer, "another sum"
    return "equal"


@pytest.fixture
def case(monkeypatch) -> Case:
    """Work that our variant does in a tenth of the peer's time; the fresh process is played."""
    calls.clear()
    monkeypatch.setattr(run, "probe", lambda *names: Probe(1.0, {"peer": 100.0, "ours": 20.0}[names[-1]]))
    monkeypatch.setattr(run, "copy_bandwidth", lambda: 1e9)
    ours = Variant("ours", work("ours", 20_000), floor=2, memory_ceiling=0.5, traffic_bytes=1000)
    return Case("sum", "1", lambda: 1, Variant("peer", work("peer", 200_000)), [ours], same)


def test_speed_and_memory_are_given_as_shares_of_the_peers(case):
    peer, ours = run.measure("module", "quick", case, rounds=2)
    assert peer.speedups == [1, 1]
    assert len(ours.speedups) == 2
    assert all(speedup > 2 for speedup in ours.speedups)
    assert ours.memory_share == 0.2
    assert ours.of_limit > 1
    assert missed_floors([peer, ours]) == []
    assert "| ours" in render([peer, ours])


def test_a_wrong_variant_is_never_timed(case):
    wrong = replace(case, ours=[Variant("ours", work("ours", 1)), Variant("wrong", lambda data: data + 1)])
    with pytest.raises(AssertionError, match="another sum"):
        run.measure("module", "quick", wrong, rounds=2)
    assert calls == ["peer", "ours"]


def test_a_missed_floor_and_a_missed_ceiling_are_named(case):
    (ours,) = case.ours
    strict = replace(case, ours=[replace(ours, floor=1e6, memory_ceiling=0.1)])
    speed, memory = missed_floors(run.measure("module", "quick", strict, rounds=1))
    assert "sum, 1, ours" in speed
    assert "floor 1000000.0x" in speed
    assert "0.200 of the peer's memory, ceiling 0.1" in memory


def test_a_variant_without_its_package_prints_na_and_misses_nothing(case):
    (ours,) = case.ours
    rows = run.measure("module", "quick", replace(case, ours=[replace(ours, needs="no_such_package")]), rounds=1)
    assert rows[1].speedups is None
    assert missed_floors(rows) == []
    assert "n/a" in render(rows).splitlines()[-1]


def test_every_module_has_cases_with_names_of_their_own():
    for module in case_names():
        for size in ("quick", "full"):
            titles = [case.title for case in load_cases(module, size)]
            assert titles
            assert len(set(titles)) == len(titles)


def test_an_unknown_case_is_refused():
    with pytest.raises(ValueError, match=r"among .*losses.*, got 'no_such_case'"):
        load_cases("no_such_case", "quick")


def test_the_data_are_the_same_in_every_run():
    mask = coronary_mask((64, 64, 64), seed=3)
    assert (mask == coronary_mask((64, 64, 64), seed=3)).all()
    assert (noisy_logits(mask, 1) == noisy_logits(mask, 1)).all()
    assert 0.005 < mask.mean() < 0.05
