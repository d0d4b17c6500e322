"""Handlers of a training."""

import pytest
import torch
from ignite.engine import Engine
from monai.engines import IterationEvents

from common.handlers import GradientClipper


@pytest.fixture
def weights():
    return torch.nn.Parameter(torch.zeros(2))


def backward(weights, handler, scaler=None):
    """Run one iteration whose gradient is (3, 4), or what a scaler makes of it."""

    def step(engine, _):
        weights.grad = torch.tensor([3.0, 4.0]) * (1 if scaler is None else scaler.scale)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)

    engine = Engine(step)
    engine.register_events(*IterationEvents)
    engine.scaler = scaler
    handler.attach(engine)
    engine.run([0])
    return weights.grad


class Scaler:
    """A loss scale of 1000 that is taken back once."""

    scale = 1000.0

    def unscale_(self, optimizer):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= self.scale


@pytest.mark.parametrize("scaler", [None, Scaler()], ids=["single precision", "mixed precision"])
def test_a_large_gradient_is_shortened_and_keeps_its_direction(weights, scaler):
    gradient = backward(weights, GradientClipper(torch.optim.SGD([weights], 0.1), max_norm=1.0), scaler)
    torch.testing.assert_close(gradient, torch.tensor([0.6, 0.8]), rtol=1e-4, atol=1e-4)


def test_a_small_gradient_stays(weights):
    gradient = backward(weights, GradientClipper(torch.optim.SGD([weights], 0.1), max_norm=6.0))
    torch.testing.assert_close(gradient, torch.tensor([3.0, 4.0]))


def test_a_norm_of_zero_is_refused(weights):
    with pytest.raises(ValueError, match="max_norm must be above 0, got 0"):
        GradientClipper(torch.optim.SGD([weights], 0.1), max_norm=0)


def test_gradients_that_are_added_up_are_refused(weights):
    engine = Engine(lambda *_: None)
    engine.accumulation_steps = 2
    with pytest.raises(ValueError, match="accumulation_steps to 1"):
        GradientClipper(torch.optim.SGD([weights], 0.1)).attach(engine)
