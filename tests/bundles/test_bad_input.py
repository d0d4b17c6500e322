"""What a user gets wrong ends with a message that names the thing and the cure, and never with a silent result.

What only X-ray angiograms can have wrong is in test_angiogram_bad_input.py.
"""

import json
import re

import nibabel
import numpy as np
import pytest
import torch

from ..conftest import CT
from .conftest import SHORT, for_bundles, write_case, write_list

RUN_IDS = {"train": "training", "evaluate": "evaluating", "inference": "run"}
ALL = ["train", "evaluate", "inference"]
LABELLED = ["train", "evaluate"]
WITH_WEIGHTS = ["evaluate", "inference"]


def first_image(folder, config):
    """The first image that a config reads."""
    return folder / "images" / f"{0 if config != 'evaluate' else 3}.nii.gz"


def noise():
    return np.random.default_rng(0).normal(100, 300, (20, 24, 28))


def refusal(copy, config, toy_set, **options):
    """Run a config that must fail; return what the exception and those that caused it say."""
    options = {"dataset_dir": str(toy_set / "images" if config == "inference" else toy_set), **options}
    options |= SHORT if config == "train" else {}
    with pytest.raises((ValueError, OSError, RuntimeError)) as caught:
        copy.run(RUN_IDS[config], f"{config}.yaml", **options)
    error, texts = caught.value, []
    while error:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    assert not list(copy.root.rglob("*_seg.nii.gz"))
    return "\n".join(texts)


@pytest.mark.parametrize("config", WITH_WEIGHTS)
def test_missing_weights_are_never_replaced_by_random_ones(copy, toy_set, config):
    copy.weights.unlink()
    assert re.search(r"no weights at .*model\.pt: train first", refusal(copy, config, toy_set))


def test_missing_weights_to_start_from_are_an_error(copy, toy_set):
    assert "no weights at absent.pt" in refusal(copy, "train", toy_set, pretrained="absent.pt")


@pytest.mark.parametrize("config", WITH_WEIGHTS)
def test_the_weights_of_another_network_are_refused(copy, toy_set, config):
    torch.save({"conv.weight": torch.zeros(1)}, copy.weights)
    message = refusal(copy, config, toy_set)
    assert re.search(r"model\.pt does not fit the network: \d+ tensors missing .* 1 unknown", message)


@pytest.mark.parametrize("config", WITH_WEIGHTS)
def test_weights_of_another_width_are_refused(copy, toy_set, config):
    state = copy.network.state_dict()
    name = next(iter(state))
    torch.save(state | {name: torch.zeros(1, 1)}, copy.weights)
    message = refusal(copy, config, toy_set)
    assert re.search(rf"model\.pt: '{re.escape(name)}' has shape \(1, 1\), the network needs", message)


@pytest.mark.parametrize("config", ALL)
def test_an_empty_dataset_dir_says_what_was_looked_for(copy, tmp_path, config):
    (tmp_path / "empty" / "images").mkdir(parents=True)
    message = refusal(copy, config, tmp_path / "empty")
    expected = (
        r"there is no (image to segment|angiogram)"
        if config == "inference"
        else r"there is no data list .*dataset\.json"
    )
    assert re.search(expected, message)


def test_segmenting_a_data_set_points_to_its_images(copy, toy_set):
    message = refusal(copy, "inference", toy_set, dataset_dir=str(toy_set))
    assert re.search(r"it is a data set for training: give .*images to segment its images", message)


@pytest.mark.parametrize(("config", "section"), [("train", "training"), ("train", "validation"), ("evaluate", "test")])
def test_an_empty_section_is_named(copy, toy_set, config, section):
    lists = json.loads((toy_set / "dataset.json").read_text())
    write_list(toy_set, **lists | {section: []})
    assert re.search(rf"the section '{section}' of .*dataset\.json is empty", refusal(copy, config, toy_set))


@pytest.mark.parametrize("config", LABELLED)
def test_a_case_in_two_sections_is_named(copy, toy_set, config):
    lists = json.loads((toy_set / "dataset.json").read_text())
    write_list(toy_set, **lists | {"validation": lists["test"]})
    assert re.search(r"case '3' is in 'validation' and in 'test' of .*dataset\.json", refusal(copy, config, toy_set))


@pytest.mark.parametrize("config", ALL)
def test_a_truncated_image_is_named(copy, toy_set, config):
    file = first_image(toy_set, config)
    file.write_bytes(file.read_bytes()[:-1000])
    message = refusal(copy, config, toy_set)
    assert re.search(rf"cannot read .*{file.name}; is it complete, .* Copy or export it again", message)


@for_bundles(CT)
@pytest.mark.parametrize("config", ALL)
def test_a_plane_image_is_named(copy, toy_set, config):
    file = first_image(toy_set, config)
    nibabel.save(nibabel.Nifti1Image(noise()[:, :, 0], np.eye(4)), file)
    message = refusal(copy, config, toy_set)
    assert re.search(rf"{file.name}.*(3 axes|\(20, 24\))", message)


@for_bundles(CT)
@pytest.mark.parametrize("config", ALL)
def test_voxels_that_are_no_numbers_are_counted(copy, toy_set, config):
    voxels = noise()
    voxels[3, 4, 5] = np.nan
    file = write_case(toy_set, first_image(toy_set, config).name.split(".")[0], voxels)
    message = refusal(copy, config, toy_set)
    assert re.search(rf"{file.name}: 1 voxels are NaN or infinite; replace them", message)


@for_bundles(CT)
def test_the_workers_of_a_data_loader_report_the_same(copy, toy_set):
    voxels = noise()
    voxels[3, 4, 5] = np.nan
    write_case(toy_set, "3", voxels)
    message = refusal(copy, "evaluate", toy_set, num_workers=1)
    assert re.search(r"3\.nii\.gz: 1 voxels are NaN or infinite; replace them", message)


@for_bundles(CT)
@pytest.mark.parametrize("config", LABELLED)
def test_label_values_other_than_0_and_1_are_named(copy, toy_set, config):
    label = np.zeros((20, 24, 28))
    label[5:8, 5:8] = 3
    file = write_case(toy_set, first_image(toy_set, config).name.split(".")[0], noise(), label)
    message = refusal(copy, config, toy_set)
    assert re.search(rf"labels/{file.name}: a label is 0 .* but it holds \[3\.0\]", message)


@for_bundles(CT)
@pytest.mark.parametrize("config", LABELLED)
@pytest.mark.parametrize("fault", ["shape", "place"])
def test_a_label_that_does_not_lie_on_its_image_is_named(copy, toy_set, config, fault):
    file = first_image(toy_set, config)
    label = toy_set / "labels" / file.name
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    if fault == "place":
        affine[0, 3] = 6
    shape = (20, 24, 27 if fault == "shape" else 28)
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine), label)
    message = refusal(copy, config, toy_set)
    assert re.search(rf"labels/{file.name} does not lie on .*(shape \(20, 24, 28\)|6 mm apart)", message)


@pytest.mark.parametrize("config", ALL)
def test_an_output_that_cannot_be_written_is_named(copy, toy_set, config):
    (copy.root / "taken").write_text("a file where the folder should be")
    message = refusal(copy, config, toy_set, output_dir=str(copy.root / "taken"))
    assert re.search(r"cannot write .*taken.*choose another", message)


def test_nothing_to_resume_is_an_error(copy, toy_set):
    assert re.search(r"nothing to resume: .*last\.pt does not exist", refusal(copy, "train", toy_set, resume=True))
