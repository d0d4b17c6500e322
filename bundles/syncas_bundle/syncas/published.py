"""Published checkpoints of SynCAS, for ``python -m syncas.common convert``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .common.conversion.source import Companion, Source
from .heads import ProjectionHeads

BLOCK = 3  # layers: convolution, norm, activation


def published_modules(network: nn.Module) -> Mapping[str, str]:
    """Return the names that the authors' code gives to our modules: all layers are counted in one list.

    The list holds activations, poolings and upsamplings too. The projection heads have our names.
    """
    if isinstance(network, ProjectionHeads):
        return {name: name for name in dict.fromkeys(name.rpartition(".")[0] for name in network.state_dict())}
    names = {}
    index = 0
    for level in ("", *(f"encoder.{depth}" for depth in range(5)), *(f"decoder.{depth}" for depth in range(4))):
        for block in (f"{level}.first", f"{level}.second") if level else ("stem",):
            names |= {f"{block}.conv": f"model.{index}", f"{block}.norm": f"model.{index + 1}"}
            index += BLOCK
        index += bool(level)  # a pooling or an upsampling follows
    return names | {"head": f"model.{index - 1}"}


PUBLISHED = {
    "official": Source(
        title="SynCAS, the authors' code",
        modules=published_modules,
        input_shape=lambda network: (1, network.stem.conv.in_channels, 32, 48, 32),
        axcodes="SPL",
        options={"slice_profile": "nearest"},
        companions=(
            Companion(
                entry="projection_heads_weights",
                suffix="heads",
                build=lambda network: ProjectionHeads(network.tap_channels),
            ),
        ),
        notes=("the axes are turned for inference and evaluation; training would see them in the bundle's order",),
    ),
}
