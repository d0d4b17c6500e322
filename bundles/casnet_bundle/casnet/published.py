"""Published checkpoints of CAS-Net, for ``python -m casnet.common convert``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from re import Match

from torch import nn

from .common.conversion.source import Source, renamed


def _level(name: str) -> Callable[[Match[str]], str]:
    """Count the decoder's levels as the authors do, from 4 at the coarsest to 1."""
    return lambda match: name.format(4 - int(match[1]))


RULES = (
    (r"\bnorm(\d)$", r"bn\1"),
    (r"\bshortcut$", "conv1x1"),
    (r"^encoder\.0\b", "enc_input"),
    (r"^encoder\.(\d)", r"encoder\1"),
    (r"^bottleneck\.gates", "safe.branches"),
    (r"^bottleneck\.(query|key|value)", lambda match: f"safe.{match[1][0]}_conv"),
    (r"^decoder\.(\d)\.fusion\.reduce", _level("agff{}.channel_reduce")),
    (r"^decoder\.(\d)\.fusion\.attention", _level("agff{}.mlp")),
    (r"^decoder\.(\d)\.block", _level("decoder{}.conv")),
    (r"^decoder\.(\d)\.up", _level("deconv{}")),
    (r"^head\.compress", "msfa.compress"),
    (r"^head\.gates", "msfa.att_convs"),
    (r"^head\.output", "msfa.out_conv"),
)


def published_modules(network: nn.Module) -> Mapping[str, str]:
    """Return the names that the authors' code, and its port in ImageCAS-X, give to our modules."""
    return renamed(network, RULES)


def _input_shape(network: nn.Module) -> tuple[int, ...]:
    return (1, network.encoder[0].conv1.in_channels, 16, 32, 48)


PUBLISHED = {
    "official": Source(
        title="CAS-Net, the authors' code",
        modules=published_modules,
        input_shape=_input_shape,
        axcodes="SPL",
        options={"blend": "union", "overlap": 0.75},
        notes=(
            "that network ends in a sigmoid for each channel and was trained with a softmax after it; ours gives the "
            "logits in front of both: the larger channel is the same, probabilities are sharper",
            "how its images were windowed and resampled is not published: give the window_hu and the spacing of that "
            "training ([-1, -1, -1] for none), and keep_largest_k 1 if its labels had the aorta",
        ),
    ),
    "imagecas-x": Source(
        title="CAS-Net as trained by ImageCAS-X",
        modules=published_modules,
        input_shape=_input_shape,
        axcodes="LPS",
        options={"patch_size": [128, 160, 160], "mirror_axes": [0, 1]},
        notes=(
            "it averages logits over windows and mirror images, ours averages probabilities",
            "its volumes had the axes of their files; left-right and front-back were mirrored at random in training",
        ),
    ),
}
