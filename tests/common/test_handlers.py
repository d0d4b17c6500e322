"""Handlers of trainings and evaluations."""

import weakref

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedTrainer

from common.handlers import BatchReleaser, GradientClipper


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


def test_of_two_modules_only_the_named_one_is_clipped(weights):
    other = torch.nn.Linear(1, 1)
    other.weight.grad, other.bias.grad = torch.full((1, 1), 3.0), torch.full((1,), 4.0)
    optimizer = torch.optim.SGD([weights, *other.parameters()], 0.1)
    gradient = backward(weights, GradientClipper(optimizer, max_norm=1.0, module=other))
    torch.testing.assert_close(gradient, torch.tensor([3.0, 4.0]))
    assert other.weight.grad.item() == pytest.approx(0.6, abs=1e-4)


def test_a_norm_of_zero_is_refused(weights):
    with pytest.raises(ValueError, match="max_norm must be above 0, got 0"):
        GradientClipper(torch.optim.SGD([weights], 0.1), max_norm=0)


def trainer(network, **options):
    """A trainer of one weight, whose gradient is -400, with steps of a tenth of it."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": torch.full((1, 1), 10.0), "label": torch.full((1, 1), 20.0)}],
        network=network,
        optimizer=optimizer,
        loss_function=torch.nn.MSELoss(),
        train_handlers=[GradientClipper(optimizer, max_norm=1.0)],
        **options,
    )


@pytest.fixture
def network():
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.zero_()
    return network


def test_a_trainer_steps_with_the_clipped_gradient(network):
    trainer(network).run()
    assert network.weight.item() == pytest.approx(0.1, rel=1e-4)


def test_the_scaler_of_torch_steps_with_the_clipped_gradient(network):
    engine, scaler = trainer(network), torch.amp.GradScaler("cpu")

    @engine.on(Events.STARTED)
    def use_scaler():  # MONAI's own is for CUDA
        engine.amp, engine.scaler = True, scaler

    engine.run()
    assert scaler.get_scale() > 1
    assert network.weight.item() == pytest.approx(0.1, rel=1e-4)


def test_gradients_that_are_added_up_are_refused(network):
    with pytest.raises(ValueError, match=r"accumulation_steps \(2\) to 1"):
        trainer(network, accumulation_steps=2).run()


def test_a_batch_and_its_results_are_gone_before_the_next_is_loaded():
    class Batch:
        pass

    alive = weakref.WeakSet()

    def batches():
        for _ in range(3):
            assert not alive
            batch = Batch()
            alive.add(batch)
            yield batch
            del batch

    engine = Engine(lambda _engine, batch: [batch])
    BatchReleaser().attach(engine)
    engine.run(batches(), epoch_length=3)
    assert engine.state.iteration == 3
