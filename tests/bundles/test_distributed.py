"""Two processes on a CPU do what several GPUs do: each sees its share, and the result is that of one process."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from common.weights import check_weights

from ..conftest import BUNDLES
from .conftest import NETWORKS, SHORT, for_bundles, write_list

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle")
WATCHERS = """
import os
import signal

from ignite.engine import Events


class Watcher:
    '''Notes the cases of every batch.'''

    def __init__(self, path):
        self.path = path

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine):
        batch = engine.state.batch
        names = [item["case"] for item in batch] if isinstance(batch, list) else batch["case"]
        with open(self.path, "a") as file:
            file.writelines(name + chr(10) for name in names)


class Killer:
    '''Ends its process as a machine out of memory does.'''

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.fixture
def launch(copy, tmp_path, monkeypatch):
    """A function that runs a config, its overlay for several GPUs and more handlers in two processes."""
    (tmp_path / "watchers.py").write_text(WATCHERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(name, handlers, **options):
        section = {"train": "train", "evaluate": "validate"}[name]
        (copy.root / "configs" / "watch.yaml").write_text(f"+{section}::handlers:\n- {handlers}\n")
        files = copy.files(f"{name}.yaml", f"multi_gpu_{name}.yaml", "watch.yaml")
        run_id = {"train": "training", "evaluate": "evaluating"}[name]
        return copy.command(run_id, "--config_file", str(files), launcher=TORCHRUN, overlap=0.0, **options)

    return run


WATCH = "{_target_: watchers.Watcher, path: \"$@output_dir + '/seen_' + str(@rank)\"}"


def seen(copy):
    """Cases that each process saw."""
    return [set((copy.eval / f"seen_{rank}").read_text().split()) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_share_the_cases_of_a_training_and_write_one_checkpoint(copy, launch, phantoms):
    cases = write_list(copy.root / "data", training=phantoms[:2], validation=phantoms[2:])
    code, output = launch("train", WATCH, dataset_dir=cases.parent, **SHORT)
    assert code == 0, output
    first, second = seen(copy)
    assert len(first) == len(second)
    assert not first & second
    written = {path.name for path in copy.weights.parent.iterdir()} - {*NETWORKS.values(), "model_heads.pt"}
    assert written == {"model_released.pt"}
    check_weights(copy.weights, copy.network)  # without the prefix of the wrapper
    iterations = copy.small.get("iterations", 1)  # of an epoch: of the method, or what one case gives
    state = torch.load(copy.eval / "last.pt", weights_only=True)
    assert state["trainer"]["epoch_length"] == iterations
    assert output.count("Epoch[1] Metrics -- val_dice") == 1
    assert state["best_score"] == pytest.approx(validated_alone(copy, cases.parent), abs=1e-6)


def validated_alone(copy, data):
    """Score that one process gives the weights that a training has written."""
    options = {"pretrained": str(copy.weights), "output_dir": str(copy.root / "alone"), "overlap": 0.0}
    workflow = copy.workflow("train.yaml", dataset_dir=str(data), **options, **SHORT)
    workflow.initialize()
    validator = workflow.parser.get_parsed_content("validate::evaluator")
    validator.run()
    return validator.state.metrics["val_dice"]


@pytest.mark.slow
def test_two_processes_score_as_one_does(copy, launch, phantoms):
    cases = write_list(copy.root / "data", test=phantoms[1:])
    options = {"threshold": copy.sparse_threshold(phantoms[3]["image"]), "dataset_dir": str(cases.parent)}
    code, output = launch("evaluate", WATCH, **options)
    assert code == 0, output
    first, second = seen(copy)
    assert not first & second
    assert len(first) - len(second) in {0, 1}
    stems = {case["image"].split("/")[-1].split(".")[0] for case in phantoms[1:]}
    assert {re.sub(r"_t\d+$", "", case) for case in first | second} == stems  # a frame of a sequence may be a case
    copy.run("evaluating", "evaluate.yaml", overlap=0.0, output_dir=str(copy.root / "alone"), **options)
    tables = sorted(path.name for path in copy.eval.glob("*.csv"))
    assert "metrics.csv" in tables
    for name in tables:
        assert (copy.eval / name).read_text() == (copy.root / "alone" / name).read_text()


@pytest.mark.slow
def test_the_death_of_one_process_ends_the_job_with_an_error(copy, launch, phantoms):
    cases = write_list(copy.root / "data", training=phantoms[:2], validation=phantoms[2:])
    killer = "{_target_: watchers.Killer, _disabled_: $@rank != 1}"
    code, output = launch("train", killer, dataset_dir=cases.parent, **{**SHORT, "epochs": 3})
    assert code != 0
    assert "SIGKILL" in output


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@for_bundles([path for path in BUNDLES if path.name == "svsnet_bundle"])
@pytest.mark.slow
def test_two_machines_that_run_the_same_command_train_together(copy, phantoms):
    """Two agents of torchrun on this machine, which meet as two machines do."""
    cases = write_list(copy.root / "data", training=phantoms[:2], validation=phantoms[2:])
    meet = ("--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{free_port()}")
    launcher = ("-m", "torch.distributed.run", *meet, "-m", "monai.bundle")
    files = str(copy.files("train.yaml", "multi_gpu_train.yaml"))

    def machine(_):
        return copy.command("training", "--config_file", files, launcher=launcher, dataset_dir=cases.parent, **SHORT)

    with ThreadPoolExecutor(2) as machines:
        ended = list(machines.map(machine, range(2)))
    assert [code for code, _ in ended] == [0, 0], ended
    output = "".join(text for _, text in ended)
    assert output.count("Epoch[1] Metrics -- val_dice") == 1
    assert output.count("wrote ") == 1
    check_weights(copy.weights, copy.network)
