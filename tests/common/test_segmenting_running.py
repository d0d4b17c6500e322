"""Inference with what memory there is: the GPU, smaller batches, the CPU."""

import json

import pytest
import torch
import yaml

from common.segmenting import running

OPTIONS = {"image": None, "output_dir": "eval", "device": "cuda", "amp": True}


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.yaml").write_text(yaml.safe_dump({**OPTIONS, "window_batch": 4}))
    return tmp_path


@pytest.fixture
def attempts(monkeypatch):
    """A stand-in for MONAI's workflow; what it was called with, and what it raises until the last answer is left."""

    class Attempts(list):
        errors = ()

    made = Attempts()

    class Workflow:
        def __init__(self, _config_file, **options):
            made.append({name: options[name] for name in options.keys() - {"workflow_type", "logging_file"}})

        def initialize(self):
            pass

        finalize = initialize

        def run(self):
            if len(made) <= len(made.errors):
                raise made.errors[len(made) - 1]

    monkeypatch.setattr(running, "ConfigWorkflow", Workflow)
    monkeypatch.setattr(running.gc, "collect", lambda: None)  # seconds, with all that the tests have imported
    return made


def run(bundle, cuda=True):
    return running.run_inference(bundle, bundle / "scan.nii.gz", bundle / "out", cuda)


def changed(options):
    return {name: value for name, value in options.items() if name not in {"bundle_root", "image", "output_dir"}}


def memory_error():
    return torch.OutOfMemoryError("CUDA out of memory")


def test_nothing_is_changed_where_the_memory_suffices(bundle, attempts, capsys):
    options = run(bundle)
    assert [changed(attempt) for attempt in attempts] == [{}]
    assert attempts[0]["image"] == str(bundle / "scan.nii.gz")
    assert options["window_batch"] == 4
    assert capsys.readouterr().out == ""


def test_out_of_memory_leads_to_smaller_batches_and_then_to_the_cpu_and_each_step_is_said(bundle, attempts, capsys):
    attempts.errors = [memory_error(), memory_error()]
    options = run(bundle)
    assert [changed(attempt) for attempt in attempts] == [
        {},
        {"window_batch": 1},
        {"window_batch": 1, "device": "$torch.device('cpu')", "amp": False},
    ]
    assert (options["window_batch"], options["amp"]) == (1, False)
    assert capsys.readouterr().out.splitlines() == [
        "Out of memory. Again with window_batch = 1.",
        "Out of memory. Again on the CPU, which takes longer.",
    ]


@pytest.mark.parametrize(
    "cause",
    [
        memory_error(),
        MemoryError("Unable to allocate 1 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["GPU", "NumPy", "torch on the CPU"],
)
def test_out_of_memory_within_a_transform_counts_too(bundle, attempts, cause):
    wrapped = RuntimeError("applying transform Invertd")
    wrapped.__cause__ = cause
    attempts.errors = [wrapped]
    run(bundle)
    assert len(attempts) == 2


def test_where_even_the_smallest_attempt_does_not_fit_the_image_is_named(bundle, attempts):
    attempts.errors = [memory_error()] * 3
    with pytest.raises(ValueError, match=r"scan\.nii\.gz does not fit into the memory"):
        run(bundle)


def test_without_a_gpu_there_is_no_attempt_on_the_cpu_beside_the_first_ones(bundle, attempts):
    attempts.errors = [memory_error()] * 2
    with pytest.raises(ValueError, match="does not fit"):
        run(bundle, cuda=False)
    assert [changed(attempt) for attempt in attempts] == [{}, {"window_batch": 1}]


def test_what_a_transform_refuses_is_told_without_its_wrapping(bundle, attempts):
    wrapped = RuntimeError("applying transform CheckVolumed")
    wrapped.__cause__ = ValueError("every voxel is 3")
    attempts.errors = [wrapped]
    with pytest.raises(ValueError, match=r"^every voxel is 3$"):
        run(bundle)
    assert len(attempts) == 1


def test_of_errors_that_caused_each_other_the_one_that_names_the_file_is_told(bundle, attempts):
    error, told = RuntimeError("applying transform"), ValueError("cannot read a.nii.gz; copy it again")
    error.__cause__, told.__cause__ = told, OSError("CRC check failed")
    attempts.errors = [error]
    with pytest.raises(ValueError, match=r"cannot read a\.nii\.gz"):
        running.run_inference(bundle, bundle / "a.nii.gz", bundle, cuda=False)


def test_another_error_is_not_taken_for_lack_of_memory(bundle, attempts):
    attempts.errors = [RuntimeError("a defect")]
    with pytest.raises(RuntimeError, match="a defect"):
        run(bundle)


def test_an_unpacked_bundle_has_its_config_in_json(bundle):
    (bundle / "configs" / "inference.yaml").unlink()
    (bundle / "configs" / "inference.json").write_text(json.dumps(OPTIONS))
    assert running.inference_config(bundle).name == "inference.json"


@pytest.mark.parametrize(("content", "reason"), [({"device": "cpu"}, "has no option amp, image, output_dir")])
def test_a_bundle_of_others_is_refused(bundle, content, reason):
    (bundle / "configs" / "inference.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=reason):
        running.inference_config(bundle)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no bundle: it has no configs"):
        running.inference_config(tmp_path)
