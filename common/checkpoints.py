"""What a training writes: the best weights so far, and the state from which it can go on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from ignite.engine import Events
from monai.engines import Evaluator, Trainer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .files import check_writable, replacing
from .weights import keep_released

NETWORK = "network"  # its name in the state to resume from


class TrainingCheckpoints:
    """Writes the best weights after a validation, and after every epoch the state to resume from.

    MONAI's ``CheckpointSaver`` writes in place, so that a full disk or an interruption destroys the last good file, and
    it forgets the best score when a training is resumed, so that the next validation overwrites better weights.

    Args:
        network: whose state dict is the best-weights file, without a data-parallel wrapper.
        optimizer: kept in the state to resume from.
        lr_scheduler: stepped once an epoch; on resuming it is stepped to its place.
        best: file of the best weights. Weights that are there before the training starts to write are kept as
            ``<name>_released.pt``.
        last: file of the state to resume from.
        rank: number of this process; only process 0 writes.
        training_only: modules that are trained beside the network but not part of it, such as the heads of a
            contrastive term, by name; kept in the state to resume from, and as ``<best>_<name>.pt`` beside the best
            weights, for fine-tuning.
        judge_start: validate the weights that a training starts from too: they stay the best until others are better.

    Raises:
        OSError: If a folder cannot be written; better now than after the first epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler,
        best: str,
        last: str,
        rank: int = 0,
        training_only: Mapping[str, nn.Module] | None = None,
        judge_start: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.best = Path(best)
        self.last = Path(last)
        self.rank = rank
        self.modules = {NETWORK: network, **(training_only or {})}
        self.judge_start = judge_start
        self.best_score = float("-inf")
        if rank == 0:
            for path in (self.best, self.last):
                check_writable(path.parent)

    def attach(self, trainer: Trainer, validator: Evaluator) -> None:
        """Write during the run of ``trainer``, judging weights by the key metric of ``validator``.

        The last epoch is always validated: a training shorter than the interval of validation would else write nothing.
        """
        self.trainer = trainer
        validator.add_event_handler(Events.STARTED, self.share_buffers)
        if self.rank == 0:
            validator.add_event_handler(Events.COMPLETED, self.save_best)
            trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save_last)
        if self.judge_start:
            trainer.add_event_handler(Events.STARTED, self.validate_start, validator)
        trainer.add_event_handler(Events.COMPLETED, self.validate_last, validator)

    def share_buffers(self, _: Evaluator) -> None:
        """Give all processes the buffers of process 0, so that they validate together what it writes.

        The parameters are equal everywhere, but running statistics of norms are of the last batch of each process.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for buffer in self.modules[NETWORK].buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validate_start(self, trainer: Trainer, validator: Evaluator) -> None:
        """Validate the weights that ``trainer`` begins with, unless it is resumed; every process takes part."""
        if trainer.state.epoch == 0:
            validator.run()
            validator.state.epoch = 0  # the first epoch is still to be validated

    def validate_last(self, trainer: Trainer, validator: Evaluator) -> None:
        """Validate the weights at the end of ``trainer`` if their epoch was not; every process takes part.

        A training that another handler stopped, perhaps amid an epoch, keeps the state of its last whole epoch.

        Without validation cases (MONAI Label with a validation split of 0) the last weights count as the best.
        """
        if validator.state.epoch < trainer.state.epoch and not trainer.should_terminate:
            validator.run(trainer.state.epoch)
            if self.rank == 0:
                if validator.state.epoch_length == 0:
                    self._write_weights()
                    trainer.logger.warning(f"wrote {self.best}, unjudged: there are no validation cases")
                self.save_last(trainer)  # again, because it holds the best score

    def save_best(self, validator: Evaluator) -> None:
        """Write the network's state dict if the key metric of ``validator`` is higher than ever before."""
        score = float(validator.state.metrics[validator.state.key_metric_name])
        if score > self.best_score:  # never true for NaN
            self._write_weights()
            self.best_score = score
            validator.logger.info(f"wrote {self.best}: {validator.state.key_metric_name} {score:.4f}")

    def save_last(self, trainer: Trainer) -> None:
        """Write what :meth:`resume` needs."""
        scaler = getattr(trainer, "scaler", None)  # of the loss, with mixed precision
        state = {
            **{name: module.state_dict() for name, module in self.modules.items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": {} if scaler is None else scaler.state_dict(),
            "trainer": dict(trainer.state_dict()),
            "best_score": self.best_score,
        }
        with replacing(self.last) as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Continue from the last completed epoch; with another number of epochs, on the schedule that it gives.

        Raises:
            FileNotFoundError: If there is no state to resume from.
            ValueError: If that training has already done all epochs, or was one of another network.
        """
        if not self.last.is_file():
            raise FileNotFoundError(f"nothing to resume: {self.last} does not exist; start without --resume")
        state = torch.load(self.last, map_location="cpu", weights_only=True)
        epochs, done = self.trainer.state.max_epochs, state["trainer"]["iteration"] // state["trainer"]["epoch_length"]
        if epochs is not None and done >= epochs:
            raise ValueError(f"{self.last} is from epoch {done} of {epochs}: nothing is left to train; raise --epochs")
        rates = self._rates_after(done)
        try:
            for name, module in self.modules.items():
                module.load_state_dict(state[name])
            self.optimizer.load_state_dict(state["optimizer"])
            scaler = getattr(self.trainer, "scaler", None)
            if scaler is not None and state["scaler"]:
                scaler.load_state_dict(state["scaler"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"{self.last} is of another network or optimizer: resume with the options that training had, or choose "
                f"another output_dir ({error})"
            ) from error
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.trainer.load_state_dict({**state["trainer"], "max_epochs": epochs})
        self.best_score = state["best_score"]

    def _rates_after(self, epochs: int) -> list[float]:
        """Bring the schedule, which is new, to where it is after ``epochs``; return the learning rates.

        A saved schedule would keep its old length: a training prolonged after its end would go on with a rate of 0.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            for _ in range(epochs):
                self.lr_scheduler.step()
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _write_weights(self) -> None:
        """Write the best-weights files."""
        for name, module in self.modules.items():
            path = self.best.with_name(f"{self.best.stem}_{name}.pt") if name != NETWORK else self.best
            keep_released(path)
            with replacing(path) as temporary:
                torch.save(module.state_dict(), temporary)
