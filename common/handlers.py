"""Ignite handlers that MONAI lacks: reproducible epochs, clipped gradients, one progress bar, batches let go of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.data import Dataset
from monai.engines import IterationEvents
from monai.transforms import Compose
from monai.utils import set_determinism
from torch import Tensor, nn
from torch.optim import Optimizer


class EpochSeeder:
    """Makes the draws of an epoch depend on nothing but the seed and the epoch's number.

    A training that was interrupted and resumed then continues as if it had never stopped: without this, shuffling and
    augmentation would start over with the draws of epoch 1.

    Args:
        seed: of the training; processes of one distributed training need different ones.
        dataset: whose random transforms are seeded.
    """

    def __init__(self, seed: int, dataset: Dataset) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """Seed at the start of every epoch of ``engine``, before its data loader is asked for the first batch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed Python, NumPy, torch and the transforms for the current epoch of ``engine``."""
        seed = self.seed * 100_003 + engine.state.epoch  # a prime, so that seeds do not share epochs
        set_determinism(seed=seed, use_deterministic_algorithms=None)
        if isinstance(self.dataset.transform, Compose):
            self.dataset.transform.set_random_state(seed=seed)
        if engine.state.dataloader is not None:  # else an epoch of a fixed length goes on amid the last one's pass
            engine.set_data(engine.state.dataloader)


class BatchReleaser:
    """Lets an evaluator forget a batch and its results when they are written, before the next batch is loaded.

    Ignite keeps both until it has the next, so that two volumes are in memory at once. Put it last.
    """

    def attach(self, engine: Engine) -> None:
        """Forget after every iteration of ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Forget the batch of ``engine`` and what was made of it."""
        engine.state.batch = engine.state.output = None


class GradientClipper:
    """Limits the norm of all gradients together before each step of the optimizer.

    Args:
        optimizer: whose parameters are looked at.
        max_norm: larger gradients are scaled down to this Euclidean norm; above 0.
        module: limits only the gradients of this part of what is optimized.

    Raises:
        ValueError: If ``max_norm`` is not above 0.
    """

    def __init__(self, optimizer: Optimizer, max_norm: float = 1.0, module: nn.Module | None = None) -> None:
        if max_norm <= 0:
            raise ValueError(f"max_norm must be above 0, got {max_norm}")
        self.optimizer = optimizer
        self.max_norm = max_norm
        self.module = module

    def attach(self, engine: Engine) -> None:
        """Clip after every backward pass of ``engine``, which must not add up the gradients of several."""
        engine.add_event_handler(Events.STARTED, self.check)  # MONAI's trainer attaches before it knows its steps
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def check(self, engine: Engine) -> None:
        """Make sure that each backward pass of ``engine`` is followed by a step of the optimizer.

        Raises:
            ValueError: If it adds up the gradients of several passes: parts of their sum would be clipped.
        """
        steps = getattr(engine, "accumulation_steps", 1)
        if steps > 1:
            raise ValueError(
                f"gradients cannot be clipped while they are added up: set accumulation_steps ({steps}) to 1"
            )

    def __call__(self, engine: Engine) -> None:
        """Clip the gradients; with mixed precision in their true scale."""
        scaler = getattr(engine, "scaler", None)
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        optimized = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        clipped = optimized if self.module is None else list(self.module.parameters())
        torch.nn.utils.clip_grad_norm_(clipped, self.max_norm)


class TrainingProgress:
    """A progress bar over the iterations of a training, with the loss and the time left."""

    def attach(self, engine: Engine) -> None:
        """Show the bar while ``engine`` runs."""
        bar = ProgressBar(persist=True, desc="training", ncols=100)
        bar.attach(
            engine,
            output_transform=lambda output: {"loss": _loss_of(output)},
            event_name=Events.ITERATION_COMPLETED,
            closing_event_name=Events.COMPLETED,
        )


def _loss_of(output: Sequence[Mapping[str, Tensor]] | Mapping[str, Tensor]) -> float:
    """Return the loss in the output of a trainer, which is a list of items unless ``decollate`` is false."""
    return float(output["loss"] if isinstance(output, Mapping) else output[0]["loss"])
