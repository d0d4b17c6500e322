"""Handlers of a contrastive training: harder sampling in its second half, and every term of the loss by itself."""

from __future__ import annotations

from collections import defaultdict

from ignite.engine import Engine, Events

from .contrastive import ContrastiveModel
from .losses import SynCASLoss


class LateNegatives:
    """Multiplies the negatives of each anchor in the second half of a training, as published.

    Args:
        model: samples the voxels; without a data-parallel wrapper.
    """

    def __init__(self, model: ContrastiveModel) -> None:
        self.model = model

    def attach(self, engine: Engine) -> None:
        """Look at the epoch of ``engine`` whenever one starts."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Switch the late sampling on or off; of 100 epochs the 52nd is the first late one."""
        done = engine.state.epoch - 1
        self.model.late = engine.state.max_epochs is not None and done > engine.state.max_epochs / 2


class LossTerms:
    """Makes the terms of the loss metrics of the training, epoch by epoch, and how often each was skipped.

    MONAI's ``StatsHandler`` and ``TensorBoardStatsHandler`` then log them; attach this one before them. A contrastive
    term is skipped where a patch has too few vessel voxels at the resolution of its feature map; a map that is always
    skipped is not trained by contrast.

    Args:
        loss: keeps the terms of its last call.
        maps: feature maps that are contrasted.
    """

    def __init__(self, loss: SynCASLoss, maps: int) -> None:
        self.loss = loss
        self.maps = maps
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)
        self._iterations = 0

    def attach(self, engine: Engine) -> None:
        """Collect after every iteration of ``engine``, and sum up at the end of every epoch."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.sum_up)

    def collect(self, _engine: Engine) -> None:
        """Add the terms of the last iteration."""
        self._iterations += 1
        for name, value in self.loss.terms.items():
            self._sums[name] += value
            self._counts[name] += 1

    def sum_up(self, engine: Engine) -> None:
        """Set the means of the epoch as metrics of ``engine``, and start over."""
        engine.state.metrics |= {name: total / self._counts[name] for name, total in self._sums.items()}
        for i in range(self.maps):
            engine.state.metrics[f"skipped_{i}"] = 1 - self._counts[f"contrast_{i}"] / self._iterations
        self._sums.clear()
        self._counts.clear()
        self._iterations = 0
