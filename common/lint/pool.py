"""Checking many cases at the same time, one in each process."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from tqdm import tqdm

from ..layouts.case import Case
from .ct import inspect_ct
from .findings import CaseReport
from .xca import inspect_angiogram

_INSPECT = {"ct": inspect_ct, "xca": inspect_angiogram}
FEW = {"ct": 8, "xca": 300}  # cases that are checked sooner than a process with its imports has started


def inspect_cases(cases: Sequence[Case], modality: str, workers: int) -> list[CaseReport]:
    """Check cases, with a progress bar.

    Args:
        cases: what to check; one is in memory at a time in each process.
        modality: ``ct`` or ``xca``.
        workers: processes.

    Returns:
        A report for each case, in their order whoever was first.

    Raises:
        OSError: If a process was ended from outside, as it is where memory runs out.
        ValueError: If ``workers`` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    inspect = _INSPECT[modality]
    if workers == 1 or len(cases) < FEW[modality]:
        return [inspect(case) for case in tqdm(cases, "checking", unit="case")]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            return list(tqdm(pool.map(inspect, cases), "checking", len(cases), unit="case"))
        except BrokenProcessPool as error:
            raise OSError(
                f"one of {workers} processes that check cases was ended, as it is where memory runs out: a volume of "
                "512 x 512 x 275 takes 1.1 GB; give fewer --workers"
            ) from error
