"""Sharing out the cases of a long command among processes and machines."""

from __future__ import annotations

import os


def checked_shard(shard: int | None, shards: int | None) -> tuple[int, int]:
    """Return which share of the cases this process makes: every ``shards``-th one, beginning with number ``shard``.

    Shares are cut from all cases, not from those that are missing: processes that start at different times would else
    disagree, and two of them make the same case.

    Args:
        shard: number of the share, from 0; None for the rank under ``torchrun``, and 0 without it.
        shards: number of shares; None, as ``shard`` must be then, for the number of processes under ``torchrun``.

    Raises:
        ValueError: If only one of them is given, or they are out of range.
    """
    if shard is None and shards is None:
        launched = {"RANK", "WORLD_SIZE"} <= os.environ.keys()
        return (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if launched else (0, 1)
    if not (isinstance(shard, int) and isinstance(shards, int) and 0 <= shard < shards):
        raise ValueError(
            f"shard and shards must be whole numbers given together, shard from 0 to shards - 1, got {shard} and "
            f"{shards}: with --shards 4, give the four machines --shard 0, 1, 2 and 3"
        )
    return shard, shards
