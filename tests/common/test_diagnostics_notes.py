"""What is noted about an image reaches the report, through workers, collation and transforms."""

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, Invertd, Orientationd, Spacingd

from common.diagnostics.notes import NoteProbabilityd, note, note_values, note_warning, notes_of, warn


class Noting:
    """A transform that notes, as those do that load and check; at the top level, so that workers can have it."""

    def __call__(self, data):
        note_warning(data["image"], "first")
        note(data["image"], heart={"box": None, "found": True}, some=[1, 2, 3])
        return data


def image(value=1.0, size=6):
    return MetaTensor(torch.full((1, size, size, size), value), affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_notes_survive_loading_collation_and_inversion(num_workers):
    preprocessing = Compose(
        [
            Noting(),
            Orientationd("image", "LPS", labels=None),
            Spacingd("image", (3.0, 3.0, 3.0)),
        ]
    )
    loader = DataLoader(Dataset([{"image": image()}], preprocessing), num_workers=num_workers)
    batch = next(iter(loader))
    batch["pred"] = batch["image"].clone()
    (item,) = decollate_batch(batch)
    item = Invertd("pred", preprocessing, "image")(item)
    for key in ("image", "pred"):
        assert notes_of(item[key]) == {"warnings": ["first"], "heart": {"box": None, "found": True}, "some": [1, 2, 3]}


def test_a_warning_is_given_now_and_noted_once():
    volume = image()
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"^a\.nii: thick slices$"):
            warn(volume, "a.nii", "thick slices")
    assert notes_of(volume) == {"warnings": ["thick slices"]}


def test_a_tensor_without_metadata_has_no_notes():
    note(torch.zeros(3), some=1)
    assert notes_of(torch.zeros(3)) == {}


def test_notes_of_several_items_are_united():
    one, other = image(), image()
    note(one, a=1, b=1)
    note_warning(one, "x")
    note(other, b=2)
    note_warning(other, "y")
    note_warning(other, "x")
    assert notes_of(one, other) == {"a": 1, "b": 2, "warnings": ["x", "y"]}


def test_the_probability_is_noted_before_it_is_cut():
    probability = image(0.0)
    probability[0, 1, 1, :3] = torch.tensor([0.2, 0.4, 0.6])
    NoteProbabilityd("pred", threshold=0.4)({"pred": probability})
    assert notes_of(probability) == {"highest_probability": 0.6, "above_threshold": 2}


def test_values_of_a_small_image_are_measured_exactly_and_those_of_a_large_one_nearly():
    small = image()
    note_values(small, np.arange(101.0, dtype=np.float32).reshape(1, 101, 1, 1))
    measured = {"lowest": 0, "percentile_1": 1, "median": 50, "percentile_99": 99, "highest": 100, "mean": 50}
    assert notes_of(small)["values"] == pytest.approx(measured)
    note_values(small, np.arange(10001.0, dtype=np.float32).reshape(1, 10001, 1, 1))
    assert notes_of(small)["values"] == pytest.approx({name: 100 * value for name, value in measured.items()}, rel=0.01)
