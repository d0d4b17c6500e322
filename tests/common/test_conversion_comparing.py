"""Outputs of a converted and an original network."""

import numpy as np
import pytest
import torch
from torch import nn

from common.conversion.comparing import compare_with_file, compare_with_module, random_input, write_check


class Original(nn.Module):
    """The same network, which gives its output as somebody else's does."""

    def __init__(self, network, give):
        super().__init__()
        self.network, self.give = network, give

    def forward(self, x):
        return self.give(self.network(x))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))


@pytest.mark.parametrize(
    ("give", "reading"),
    [
        (lambda y: y, "as logits"),
        (torch.sigmoid, "as sigmoid of the logits"),
        (lambda y: y.softmax(1), "as softmax of the logits"),
        (lambda y: {"logits": y}, "as logits"),
        (lambda y: (y, [y, y]), "as logits"),
    ],
    ids=["logits", "sigmoid", "softmax", "mapping", "tuple"],
)
def test_the_forms_in_which_networks_give_their_output_are_recognized(network, give, reading):
    found = compare_with_module(network, Original(network, give), random_input((1, 1, 5, 5)))
    assert reading in found
    assert "largest difference 0" in found


def test_a_network_that_computes_something_else_is_refused(network):
    other = nn.Sequential(nn.Conv2d(1, 2, 3))
    with pytest.raises(ValueError, match="does not compute what the network in the checkpoint does"):
        compare_with_module(network, other, random_input((1, 1, 5, 5)))


def test_a_network_that_wants_more_than_an_image_is_not_compared(network):
    def give(_):
        raise TypeError("forward() missing 1 required positional argument")

    with pytest.warns(UserWarning, match=r"does not run here: .* missing 1 required"):
        assert compare_with_module(network, Original(network, give), random_input((1, 1, 5, 5))) is None


def test_an_output_of_another_shape_is_refused(network):
    with pytest.raises(ValueError, match=r"output has shape \[1, 1, 3, 3\] in .*, ours has \[1, 2, 3, 3\]"):
        compare_with_module(network, Original(network, lambda y: y[:, :1]), random_input((1, 1, 5, 5)))


def test_a_network_that_gives_no_tensor_is_refused(network):
    with pytest.raises(ValueError, match="gives out str, not a tensor"):
        compare_with_module(network, Original(network, lambda _: {"mask": "none"}), random_input((1, 1, 5, 5)))


def test_what_is_written_to_compare_with_compares_as_equal(network, tmp_path):
    path = tmp_path / "check.npz"
    write_check(network, random_input((1, 1, 5, 5)), path)
    assert "equal to" in compare_with_file(network, path)
    with np.load(path) as arrays:
        changed = {"input": arrays["input"], "output": arrays["output"] + 0.01}
    np.savez(path, **changed)
    with pytest.raises(ValueError, match=r"does not compute what .*check.npz does: its outputs differ by 0.01"):
        compare_with_file(network, path)


def test_not_a_number_is_no_agreement(network, tmp_path):
    np.savez(tmp_path / "check.npz", input=np.zeros((1, 1, 5, 5)), output=np.full((1, 2, 3, 3), np.nan))
    with pytest.raises(ValueError, match="does not compute what"):
        compare_with_file(network, tmp_path / "check.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"input": np.zeros((1, 1, 5, 5))}, "must be an .npz file with the arrays 'input' and 'output'"),
        ({"input": np.zeros((1, 4, 5, 5)), "output": np.zeros(1)}, r"cannot take an input of shape \[1, 4, 5, 5\]"),
    ],
    ids=["no output", "other channels"],
)
def test_a_file_that_cannot_be_compared_with_is_refused(network, tmp_path, arrays, message):
    np.savez(tmp_path / "check.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        compare_with_file(network, tmp_path / "check.npz")


def test_a_file_that_is_no_npz_is_refused(network, tmp_path):
    (tmp_path / "check.npz").write_text("output")
    with pytest.raises(ValueError, match=r"must be an .npz file"):
        compare_with_file(network, tmp_path / "check.npz")
    with pytest.raises(FileNotFoundError):
        compare_with_file(network, tmp_path / "none.npz")


def test_the_random_input_is_always_the_same():
    assert torch.equal(random_input((2, 3)), random_input((2, 3)))
