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
    """Makes the terms of the loss metrics of the training, epoch by epoch.

    MONAI's ``StatsHandler`` and ``TensorBoardStatsHandler`` then log them; attach this one before them. A contrastive
    term is skipped where a patch has too few vessel voxels at the resolution of its feature map; a map that is always
    skipped is not trained by contrast.

    Args:
        loss: keeps the terms of its last call.
    """

    def __init__(self, loss: SynCASLoss) -> None:
        self.loss = loss
        self._values: dict[str, list[float]] = defaultdict(list)

    def attach(self, engine: Engine) -> None:
        """Collect after every iteration of ``engine``, and average at the end of every epoch."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.average)

    def collect(self, _engine: Engine) -> None:
        """Add the terms of the last iteration."""
        for name, value in self.loss.terms.items():
            self._values[name].append(value)

    def average(self, engine: Engine) -> None:
        """Set the means of the epoch as metrics of ``engine``, and start over."""
        engine.state.metrics |= {name: sum(values) / len(values) for name, values in self._values.items()}
        self._values.clear()
