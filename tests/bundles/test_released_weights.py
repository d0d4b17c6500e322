"""The weights that come with the bundles."""

import pytest
import torch
from monai.bundle import ConfigParser

from common.weights import check_weights

from .conftest import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_released_weights_fit_their_network_in_half_precision(bundle, name):
    config = ConfigParser()
    config.read_config(bundle / "configs" / "inference.yaml")
    if name not in config:
        pytest.skip(f"the method has no {name}")
    path = bundle / "models" / NETWORKS[name]
    check_weights(path, config.get_parsed_content(name))
    state = torch.load(path, weights_only=True)
    kinds = {tensor.dtype for key, tensor in state.items() if not key.split(".")[-1].startswith(("running_", "num_"))}
    assert kinds == {torch.float16}
