"""What handlers share that score the masks of a MONAI evaluator: its items, its events and several processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from numpy.typing import NDArray

from .files import check_writable
from .grids import case_name

Key = TypeVar("Key", bound=Hashable)


class ScoreHandler(ABC, Generic[Key]):
    """Handler of a ``SupervisedEvaluator`` that scores each item of each iteration and reports at the end of the epoch.

    With several processes it belongs to each of them; the scores of all are gathered. What a subclass scores is known
    by a key, such as the name of the case.

    Args:
        output_dir: folder to write to.
        quiet: write, but do not print.

    Attributes:
        notes: what else the summary shall say, by name.
    """

    def __init__(self, output_dir: str | Path, quiet: bool = False) -> None:
        self.output_dir = Path(output_dir)
        self.quiet = quiet
        self.notes: dict[str, Any] = {}
        self._scores: dict[Key, dict[str, float]] = {}

    @abstractmethod
    def score_item(self, case: str, item: dict[str, Any]) -> None:
        """Score one item of a batch, and :meth:`add` the result."""

    @abstractmethod
    def report(self, scores: dict[Key, dict[str, float]]) -> dict[str, float]:
        """Write and print the scores of all processes, and return what goes to ``engine.state.metrics``."""

    def attach(self, engine: Engine) -> None:
        """Score each iteration of ``engine``, write at the end of its epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def start(self) -> None:
        """Forget earlier cases, and make sure that the results can be written."""
        self._scores = {}
        check_writable(self.output_dir)

    def add(self, key: Key, scores: dict[str, float]) -> None:
        """Keep some scores; a sampler that pads the last round gives the same case to two processes.

        Raises:
            ValueError: If ``key`` had other scores before.
        """
        known = self._scores.setdefault(key, scores)
        if not np.array_equal(list(known.values()), list(scores.values()), equal_nan=True):
            raise ValueError(f'two cases are named {key!r}; give each its own "case" in the data list')

    def finish(self) -> dict[str, float]:
        """Gather the scores of all processes, report them, and return the figures of the data set.

        Raises:
            ValueError: If there was no case.
        """
        if idist.get_world_size() > 1:
            parts = cast("list[dict[Key, dict[str, float]]]", idist.all_gather(self._scores))
            for key, scores in (row for part in parts for row in part.items()):
                self.add(key, scores)
        if not self._scores:
            raise ValueError("there was no case to score: is the data list's section empty?")
        return self.report(self._scores)

    def _start(self, _engine: Engine) -> None:
        self.start()

    def _score(self, engine: Engine) -> None:
        for case, item in items_of(engine):
            self.score_item(case, item)

    def _finish(self, engine: Engine) -> None:
        engine.state.metrics.update(self.finish())


def items_of(engine: Engine) -> list[tuple[str, dict[str, Any]]]:
    """Return the items of an evaluator's present batch, input and output together, each with the name of its case.

    Args:
        engine: a ``SupervisedEvaluator`` after an iteration.

    Raises:
        ValueError: If its output is not a list of items with "pred" and "label", or an item has no name.
    """
    batch, output = engine.state.batch, engine.state.output
    if not isinstance(output, list) or not all({"pred", "label"} <= item.keys() for item in output):
        raise ValueError(
            "scoring needs the evaluator's output as a list of items with 'pred' and 'label' (decollate=True, labels "
            "in the data list and loaded)"
        )
    inputs = batch if isinstance(batch, list) else [{}] * len(output)
    items = [{**given, **item} for given, item in zip(inputs, output, strict=True)]
    return [(str(item.get("case") or _case_of(item["label"])), item) for item in items]


def binary_mask(voxels: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Return where ``voxels`` is 1.

    Raises:
        ValueError: If the rest is not 0; begins with ``name``.
    """
    mask = voxels == 1
    if np.count_nonzero(voxels) != np.count_nonzero(mask):  # NaN counts as nonzero
        values = np.unique(voxels[(voxels != 0) & ~mask])[:10].tolist()
        raise ValueError(
            f"{name}: a mask is 0 and 1, but it holds {values} as well; write (mask > 0) as 1 if that is meant"
        )
    return np.asarray(mask)


def _case_of(label: MetaTensor) -> str:
    name = label.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(label, MetaTensor) else None
    if not name:
        raise ValueError('an item has neither "case" nor a label that knows its file; add "case" to the data list')
    return case_name(str(name))
