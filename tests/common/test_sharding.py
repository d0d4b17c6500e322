"""Shares of the cases of a long command, given or by rank."""

from __future__ import annotations

import pytest

from common.sharding import checked_shard


def test_without_torchrun_and_without_options_one_process_has_all(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # some clusters set it for every job
    assert checked_shard(None, None) == (0, 1)


def test_under_torchrun_the_rank_is_the_share_unless_options_say_otherwise(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert checked_shard(None, None) == (2, 4)
    assert checked_shard(0, 3) == (0, 3)


@pytest.mark.parametrize(
    ("shard", "shards"), [(2, 2), (-1, 2), (0, 0), (1, None), (None, 4), (0.5, 2)], ids=lambda value: str(value)
)
def test_shares_that_make_no_sense_are_refused(shard, shards):
    with pytest.raises(ValueError, match=f"shard from 0 to shards - 1, got {shard} and {shards}"):
        checked_shard(shard, shards)
