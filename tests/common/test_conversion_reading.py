"""Files that others have written, read without running what is in them."""

import collections
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from common.conversion.reading import is_hdf5, read_checkpoint

STATE = {"conv.weight": torch.ones(2, 1, 3), "conv.bias": torch.zeros(2)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pth"


class Foreign(nn.Module):
    """A network of somebody else."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize(
    ("content", "entry"),
    [
        (STATE, ""),
        ({"state_dict": STATE, "epoch": 3}, "state_dict"),
        ({"model": {"state_dict": STATE}, "optimizer": {}}, "model.state_dict"),
        ({"model_state": STATE, "optimizer_state": STATE, "args": {"lr": 0.1}}, "model_state"),
        ({"projection_heads_weights": {}, "network_weights": STATE}, "network_weights"),
    ],
    ids=["bare", "wrapped", "twice", "training", "with heads"],
)
def test_the_state_dict_is_found_where_trainings_keep_it(path, content, entry):
    torch.save(content, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.entry == entry
    assert list(checkpoint.tensors) == list(STATE)
    assert checkpoint.module is None


def test_the_order_of_the_file_is_kept(path):
    torch.save(collections.OrderedDict(reversed(STATE.items())), path)
    assert list(read_checkpoint(path).tensors) == ["conv.bias", "conv.weight"]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_numbers_and_arrays_of_numpy_in_a_log_need_no_permission(path, zipped):
    log = {"dice": [np.float64(0.5), np.float32(0.25)], "curve": np.arange(3.0), "epoch": np.int64(3)}
    torch.save({"network_weights": STATE, "logging": log}, path, _use_new_zipfile_serialization=zipped)
    assert list(read_checkpoint(path).tensors) == list(STATE)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_pickle_that_needs_code_is_refused_with_what_is_in_it(path, zipped):
    torch.save({"model": Foreign()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"names .*Foreign.*--allow_pickle True"):
        read_checkpoint(path)


def test_a_trusted_pickle_of_a_module_gives_its_weights_and_can_be_run(path):
    module = Foreign()
    torch.save(module, path)
    checkpoint = read_checkpoint(path, allow_pickle=True)
    image = torch.rand(1, 1, 5)
    assert list(checkpoint.tensors) == list(STATE)
    assert torch.equal(checkpoint.module(image), module(image))


def test_a_module_whose_code_is_elsewhere_is_refused_with_the_cure(path, monkeypatch):
    torch.save(Foreign(), path)
    monkeypatch.delattr(f"{__name__}.Foreign")
    with pytest.raises(ValueError, match=r"code is not here .*Foreign.*PYTHONPATH"):
        read_checkpoint(path, allow_pickle=True)


def test_torchscript_is_a_program_and_needs_permission(path):
    module = Foreign()
    torch.jit.trace(module, torch.rand(1, 1, 5)).save(str(path))
    with pytest.raises(ValueError, match=r"TorchScript, which holds a program.*--allow_pickle True"):
        read_checkpoint(path)
    checkpoint = read_checkpoint(path, allow_pickle=True)
    assert torch.equal(checkpoint.tensors["conv.weight"], module.conv.weight)
    assert torch.equal(checkpoint.module(torch.ones(1, 1, 5)), module(torch.ones(1, 1, 5)))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    ],
    ids=["empty", "plain pickle"],
)
@pytest.mark.parametrize("allow", [False, True], ids=["strict", "trusted"])
def test_a_file_that_torch_did_not_write_is_refused(path, write, allow):
    write(path)
    with pytest.raises(ValueError, match=r"is not a file that torch can load .*: fetch it again"):
        read_checkpoint(path, allow)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\n<!DOCTYPE html><html>quota exceeded</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    ],
)
def test_what_downloads_leave_in_the_place_of_a_checkpoint_is_named(path, content, kind):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=kind):
        read_checkpoint(path)


def test_an_archive_around_a_checkpoint_is_named(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/model.pth", b"")
    with pytest.raises(ValueError, match="is an archive, not a checkpoint: unpack it"):
        read_checkpoint(path)


def test_a_truncated_file_is_refused(path):
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="is not a file that torch can load"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ({"epoch": 3, "optimizer": {}}, r"it holds the entries \['epoch', 'optimizer'\]"),
        ({"state_dict": {"epoch": 3}}, "its entry 'state_dict' holds the entries"),
        ([STATE], "it holds list"),
        ({}, "it holds the entries"),
    ],
    ids=["no weights", "no tensors", "list", "empty"],
)
def test_a_file_without_a_state_dict_says_what_it_holds(path, content, held):
    torch.save(content, path)
    with pytest.raises(ValueError, match=f"must hold a state dict.*{held}"):
        read_checkpoint(path)


def test_hdf5_is_told_by_its_first_bytes(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    assert is_hdf5(path)
    torch.save(STATE, path)
    assert not is_hdf5(path)
