"""Trainings that are interrupted, resumed and judged, on a network of one weight."""

from itertools import chain, repeat
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Average
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.transforms import Compose, RandScaleIntensityd
from torch import nn

from common.checkpoints import TrainingCheckpoints
from common.handlers import EpochSeeder, TrainingProgress


class Run:
    """A training with shuffled, randomly scaled data, as the bundles' configs build it."""

    def __init__(
        self,
        folder,
        epochs,
        validation_scores=(),
        total_iters=4,
        rank=0,
        heads=None,
        iterations=None,
        workers=0,
        judge_start=False,
    ):
        torch.manual_seed(0)
        self.network = nn.Linear(1, 1)
        self.heads = heads
        data = [{"image": torch.full((1,), i / 4), "label": torch.full((1,), i / 2)} for i in range(8)]
        dataset = Dataset(data, Compose([RandScaleIntensityd(keys="image", factors=0.5, prob=0.9)]))
        optimizer = torch.optim.Adam(self.network.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=total_iters)
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=DataLoader(dataset, batch_size=2, shuffle=True, num_workers=workers),
            epoch_length=iterations,
            network=self.network,
            optimizer=optimizer,
            loss_function=nn.MSELoss(),
            train_handlers=[EpochSeeder(0, dataset), TrainingProgress()],
        )
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: scheduler.step())
        scores = chain(validation_scores, repeat(0.0))
        self.validator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=[{"image": torch.zeros(1, 1), "label": torch.zeros(1, 1)}],
            network=self.network,
            key_val_metric={"val_dice": Average(output_transform=lambda _: next(scores))},
        )
        self.checkpoints = TrainingCheckpoints(
            self.network,
            optimizer,
            scheduler,
            str(folder / "models" / "model.pt"),
            str(folder / "last.pt"),
            rank,
            {} if heads is None else {"heads": heads},
            judge_start,
        )
        self.checkpoints.attach(self.trainer, self.validator)

    def weight(self):
        return self.network.weight.item()


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path):
    whole = Run(tmp_path / "whole", epochs=4)
    whole.trainer.run()
    Run(tmp_path / "parts", epochs=2).trainer.run()
    rest = Run(tmp_path / "parts", epochs=4)
    rest.checkpoints.resume()
    rest.trainer.run()
    assert rest.trainer.state.epoch == 4
    assert rest.weight() == whole.weight()


@pytest.mark.parametrize("workers", [0, 1])
def test_so_it_does_when_an_epoch_is_no_whole_number_of_passes(tmp_path, workers):
    options = {"iterations": 5, "workers": workers}  # a pass has four
    whole = Run(tmp_path / "whole", epochs=2, **options)
    whole.trainer.run()
    Run(tmp_path / "parts", epochs=1, **options).trainer.run()
    rest = Run(tmp_path / "parts", epochs=2, **options)
    rest.checkpoints.resume()
    rest.trainer.run()
    assert rest.weight() == whole.weight()


def test_a_prolonged_training_follows_the_schedule_of_its_new_length(tmp_path):
    Run(tmp_path, epochs=2, total_iters=2).trainer.run()  # ends with a rate of 0
    longer = Run(tmp_path, epochs=4, total_iters=4)
    longer.checkpoints.resume()
    assert longer.checkpoints.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 2 / 4)
    longer.trainer.run()
    assert longer.checkpoints.optimizer.param_groups[0]["lr"] == 0


def test_what_is_trained_beside_the_network_is_resumed_and_kept_beside_the_best_weights(tmp_path):
    heads = nn.Linear(2, 2)
    run = Run(tmp_path, epochs=1, validation_scores=[0.5], heads=heads)
    run.trainer.run()
    run.validator.run()
    again = Run(tmp_path, epochs=2, heads=nn.Linear(2, 2))
    again.checkpoints.resume()
    assert torch.equal(again.heads.weight, heads.weight)
    assert torch.equal(torch.load(tmp_path / "models" / "model_heads.pt")["weight"], heads.weight)
    assert set(torch.load(tmp_path / "models" / "model.pt")) == {"weight", "bias"}


def test_the_state_of_a_training_without_heads_is_refused_by_one_with_them(tmp_path):
    Run(tmp_path, epochs=1).trainer.run()
    with pytest.raises(ValueError, match="another network or optimizer"):
        Run(tmp_path, epochs=2, heads=nn.Linear(2, 2)).checkpoints.resume()


def test_the_loss_scale_of_mixed_precision_is_resumed(tmp_path):
    run = Run(tmp_path, epochs=1)
    run.trainer.run()
    run.trainer.scaler = SimpleNamespace(state_dict=lambda: {"scale": 512.0})
    run.checkpoints.save_last(run.trainer)
    again = Run(tmp_path, epochs=2)
    loaded = []
    again.trainer.scaler = SimpleNamespace(load_state_dict=loaded.append)
    again.checkpoints.resume()
    assert loaded == [{"scale": 512.0}]


def test_without_the_seeds_of_each_epoch_it_would_not(tmp_path, monkeypatch):
    monkeypatch.setattr(EpochSeeder, "__call__", lambda *_: None)
    test = test_a_resumed_training_ends_where_an_uninterrupted_one_does
    with pytest.raises(AssertionError):
        test(tmp_path)


def test_only_better_weights_are_written_even_after_a_resume(tmp_path):
    run = Run(tmp_path, epochs=1, validation_scores=[0.4, 0.6, 0.5])
    run.trainer.run()
    for _ in range(2):
        run.validator.run()
    best = torch.load(tmp_path / "models" / "model.pt")["weight"].item()
    run.checkpoints.save_last(run.trainer)
    again = Run(tmp_path, epochs=2, validation_scores=[0.55])
    again.checkpoints.resume()
    again.network.weight.data += 1
    again.validator.run()
    assert torch.load(tmp_path / "models" / "model.pt")["weight"].item() == best
    assert again.checkpoints.best_score == pytest.approx(0.6)


def test_a_score_that_is_not_a_number_never_wins(tmp_path):
    run = Run(tmp_path, epochs=1, validation_scores=[float("nan")])
    run.validator.run()
    assert not (tmp_path / "models" / "model.pt").exists()


def test_released_weights_survive_the_first_better_ones(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").write_bytes(b"released")
    Run(tmp_path, epochs=1, validation_scores=[0.5]).validator.run()
    assert (tmp_path / "models" / "model_released.pt").read_bytes() == b"released"


def test_without_validation_cases_the_last_weights_are_written_and_that_is_said(tmp_path, caplog):
    run = Run(tmp_path, epochs=2)
    run.validator.data_loader, run.validator.state.epoch_length = [], 0  # as MONAI builds it from an empty list
    run.trainer.run()
    written = torch.load(tmp_path / "models" / "model.pt")["weight"]
    assert torch.equal(written, run.network.weight)
    assert "unjudged: there are no validation cases" in caplog.text


def test_a_training_that_is_stopped_amid_an_epoch_keeps_the_state_of_the_last_whole_one(tmp_path):
    run = Run(tmp_path, epochs=3)
    run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=6), lambda: run.trainer.terminate()
    )  # an epoch has four
    run.trainer.run()
    assert torch.load(tmp_path / "last.pt")["trainer"]["iteration"] == 4


def test_every_process_validates_the_last_epoch(tmp_path):
    run = Run(tmp_path, epochs=2, rank=1)
    run.trainer.run()
    assert run.validator.state.epoch == 2
    assert not list(tmp_path.rglob("*.pt"))


def test_only_the_first_process_writes(tmp_path):
    run = Run(tmp_path, epochs=1, validation_scores=[0.5])
    other = TrainingCheckpoints(
        run.network, run.checkpoints.optimizer, run.checkpoints.lr_scheduler, str(tmp_path / "a.pt"), "b.pt", rank=1
    )
    other.attach(run.trainer, run.validator)
    run.validator.run()
    assert not (tmp_path / "a.pt").exists()


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing to resume: .*last.pt"):
        Run(tmp_path, epochs=1).checkpoints.resume()


def test_the_state_of_another_network_is_refused(tmp_path):
    Run(tmp_path, epochs=1).trainer.run()
    other = Run(tmp_path, epochs=2)
    other.checkpoints.modules["network"] = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"last.pt is of another network or optimizer: resume with the options"):
        other.checkpoints.resume()


def test_a_finished_training_is_not_resumed(tmp_path):
    Run(tmp_path, epochs=2).trainer.run()
    with pytest.raises(ValueError, match="epoch 2 of 2: nothing is left to train; raise --epochs"):
        Run(tmp_path, epochs=2).checkpoints.resume()


def test_a_folder_that_cannot_be_written_stops_the_training_before_it_starts(tmp_path):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(OSError, match="cannot write to the folder"):
        Run(tmp_path, epochs=1)


def test_a_training_shorter_than_the_interval_of_validation_writes_its_weights(tmp_path):
    run = Run(tmp_path, epochs=2, validation_scores=[0.7])
    run.trainer.run()  # nothing validates it on the way
    assert torch.load(tmp_path / "models" / "model.pt")["weight"].item() == run.weight()
    assert torch.load(tmp_path / "last.pt")["best_score"] == pytest.approx(0.7)


def test_an_epoch_that_was_validated_is_not_validated_again(tmp_path):
    run = Run(tmp_path, epochs=2)
    ended = []
    run.validator.add_event_handler(Events.COMPLETED, lambda: ended.append(run.trainer.state.epoch))
    run.trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda: run.validator.run(run.trainer.state.epoch))
    run.trainer.run()
    assert ended == [2]


def test_weights_to_start_from_stay_the_best_until_others_are_better(tmp_path):
    run = Run(tmp_path, epochs=2, validation_scores=[0.5, 0.4], judge_start=True)
    start = {name: tensor.clone() for name, tensor in run.network.state_dict().items()}
    run.trainer.run()
    written = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(written[name], start[name]) for name in start)
    assert not torch.equal(run.network.weight, start["weight"])
    assert run.checkpoints.best_score == 0.5


def test_a_training_of_one_epoch_is_validated_also_where_its_start_was(tmp_path):
    run = Run(tmp_path, epochs=1, validation_scores=[0.5, 0.6], judge_start=True)
    run.trainer.run()
    written = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert torch.equal(written["weight"], run.network.weight)


def test_a_resumed_training_does_not_judge_its_start_again(tmp_path):
    Run(tmp_path, epochs=1, validation_scores=[0.5, 0.4], judge_start=True).trainer.run()
    again = Run(tmp_path, epochs=2, validation_scores=[0.9], judge_start=True)
    again.checkpoints.resume()
    again.trainer.run()
    assert again.checkpoints.best_score == 0.9  # of the second epoch, the first that is validated
