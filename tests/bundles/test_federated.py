"""Every bundle as a client of MONAI's federated learning: rounds of training, averaged weights, scores."""

import re
from functools import partial

import pytest
import torch
from monai.fl.client import MonaiAlgo, MonaiAlgoStats
from monai.fl.utils.constants import ExtraItems, FlStatistics, ModelType, WeightType
from monai.fl.utils.exchange_object import ExchangeObject

from .conftest import write_list

pytestmark = pytest.mark.filterwarnings("ignore")
TRAIN, EVALUATE = "configs/train.yaml", "configs/evaluate.yaml"
ROUNDS = 3


def client(copy, number, cases, **options):
    """A client with a case for training and one for validation."""
    folder = copy.root / f"client_{number}"
    data = write_list(folder / "data", training=cases[:1], validation=cases[1:]).parent
    shared = {**copy.small, "dataset_dir": str(data), "output_dir": str(folder), "num_workers": 0, "overlap": 0.0}
    algo = MonaiAlgo(
        bundle_root=str(copy.root),
        config_train_filename=TRAIN,
        config_evaluate_filename=[TRAIN, EVALUATE],
        train_kwargs={**shared, "schedule_epochs": ROUNDS, "val_interval": 100},
        eval_kwargs={**shared, "section": "validation"},
        **options,
    )
    algo.initialize(extra={ExtraItems.CLIENT_NAME: f"client {number}"})
    return algo


def average(*exchanged):
    """What a server does with the weights of its clients."""
    states = [each.weights for each in exchanged]
    mean = {name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[0]}
    return {name: value.to(states[0][name].dtype) for name, value in mean.items()}


def changed(before, after):
    return [name for name in before if not torch.equal(before[name], after[name])]


def clone(weights):
    return {name: tensor.clone() for name, tensor in weights.items()}


@pytest.mark.slow
def test_two_clients_train_from_averaged_weights_and_score_them(copy, phantoms):
    clients = [client(copy, number, phantoms[2 * number :][:2], send_weight_diff=False) for number in (0, 1)]
    weights = clone(clients[0].get_weights().weights)
    for _ in range(ROUNDS - 1):
        for each in clients:
            each.train(ExchangeObject(weights=clone(weights)))
        sent = [each.get_weights() for each in clients]
        assert {each.weight_type for each in sent} == {WeightType.WEIGHTS}
        assert all(each.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] > 0 for each in sent)
        assert changed(sent[0].weights, sent[1].weights)  # they have learned from different cases
        learned = average(*sent)
        assert [name for name in changed(weights, learned) if name.endswith("weight")]  # the rate is not used up
        weights = learned
    first, second = (each.evaluate(ExchangeObject(weights=clone(weights))).metrics["val_dice"] for each in clients)
    networks = [each.evaluator.network.state_dict() for each in clients]
    assert changed(*networks) == changed(networks[0], weights) == []
    assert first != second  # on different cases
    torch.save(networks[0], copy.weights)
    alone = copy.workflow("evaluate.yaml", **clients[0].eval_kwargs)
    alone.initialize()
    alone.run()
    assert alone.evaluator.state.metrics["val_dice"] == first
    for each in clients:
        each.finalize()


@pytest.mark.slow
def test_weight_differences_lead_to_the_clients_weights(copy, phantoms):
    algo = client(copy, 0, phantoms[:2])
    start = clone(algo.trainer.network.state_dict())
    algo.train(ExchangeObject(weights=clone(start)))
    sent = algo.get_weights()
    assert sent.weight_type == WeightType.WEIGHT_DIFF
    for name, tensor in algo.trainer.network.state_dict().items():
        torch.testing.assert_close(start[name] + sent.weights[name], tensor)


@pytest.mark.slow
def test_the_example_of_the_bundles_page_trains_a_round_and_scores_it(copy, phantoms, monkeypatch):
    write_list(copy.root / "data", training=phantoms[:1], validation=phantoms[1:2])
    (example,) = re.findall(r"```python\n(.*?)```", (copy.root / "docs" / "README.md").read_text("utf-8"), re.DOTALL)
    small = {**copy.small, "overlap": 0.0, "num_workers": 0}
    monkeypatch.setattr("monai.fl.client.MonaiAlgo", partial(client_with, small))
    monkeypatch.chdir(copy.root)
    names = {}
    exec(example, names)
    assert names["site"].train_workflow.parser.get_parsed_content("schedule_epochs") == names["rounds"]
    assert 0 <= names["scores"]["val_dice"] <= 1
    assert names["sent"].statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] > 0
    assert names["weights"].keys() <= names["sent"].weights.keys()


def client_with(options, train_kwargs, eval_kwargs, **rest):
    """A client as the page makes it, with a smaller network."""
    return MonaiAlgo(train_kwargs={**options, **train_kwargs}, eval_kwargs={**options, **eval_kwargs}, **rest)


def test_a_client_starts_in_any_folder_and_hands_out_the_released_weights(copy, toy_set, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    files = {"config_train_filename": TRAIN, "config_evaluate_filename": [TRAIN, EVALUATE]}
    options = {**copy.small, "dataset_dir": str(toy_set)}
    algo = MonaiAlgo(str(copy.root), train_kwargs=dict(options), eval_kwargs=dict(options), **files)
    algo.initialize()
    released = algo.get_weights(extra={ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights
    assert released.keys() == copy.network.state_dict().keys()
    assert released.keys() <= algo.trainer.network.state_dict().keys()


@pytest.mark.slow
def test_the_statistics_of_the_data_count_every_case(copy, toy_set, tmp_path):
    workflow = copy.workflow("train.yaml", dataset_dir=str(toy_set))
    stats = MonaiAlgoStats(str(copy.root), workflow=workflow)
    stats.initialize(extra={ExtraItems.CLIENT_NAME: "client"})
    stats.app_root = str(tmp_path)
    bins = {FlStatistics.HIST_BINS: [10], FlStatistics.HIST_RANGE: [[-2000, 2000]]}
    found = stats.get_data_stats(extra=bins).statistics
    frames = 3 if copy.root.name == "casrnet_bundle" else 1  # of a sequence, each a case
    assert [found[section][FlStatistics.DATA_COUNT] for section in ("train", "eval")] == [2 * frames, frames]
    assert [found[section][FlStatistics.FAIL_COUNT] for section in ("train", "eval")] == [0, 0]
