"""Published checkpoints of the centerline U-Net, for ``python -m centerline_unet.common convert``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from re import Match

from torch import nn

from .common.conversion.source import Source, renamed


def _level(name: str) -> Callable[[Match[str]], str]:
    return lambda match: name.format(int(match[1]) + 1)


RULES = (
    (r"^encoder\.0\.", "encoder.stem.conv_conv."),
    (r"^encoder\.(\d)\.", r"encoder.down\1.maxpool_conv.1.conv_conv."),
    (r"^decoder\.(\d)\.enlarge", _level("decoder.up{}.up")),
    (r"^decoder\.(\d)\.join", _level("decoder.up{}.conv.0")),
    (r"^decoder\.(\d)\.convolve", _level("decoder.up{}.conv.1.conv_conv")),
    (r"^head", "decoder.out_conv"),
)
NOTES = (
    "its images were (HU + 440.9) / 518.7 without a window, at the scan's own spacing, which no option gives: use its "
    "masks only after fine-tuning on images as this bundle prepares them",
    "it was trained on true centerlines; the bundle's page says what that is worth",
)


def published_modules(network: nn.Module) -> Mapping[str, str]:
    """Return the names that the authors' code gives to our modules."""
    return renamed(network, RULES)


def _input_shape(network: nn.Module) -> tuple[int, ...]:
    first = network.encoder[0][0].conv
    return (1, first.in_channels, 32, 48, 32)[: first.weight.ndim]


PUBLISHED = {
    "official": Source(
        title="the 3-D U-Net of CoronarySegmentation",
        modules=published_modules,
        input_shape=_input_shape,
        axcodes="SLP",
        options={"patch_size": [128, 128, 32]},
        notes=NOTES,
    ),
    "official-2d": Source(
        title="the 2-D U-Net of CoronarySegmentation",
        modules=published_modules,
        input_shape=_input_shape,
        axcodes="LP",
        options={"network_def::spatial_dims": 2, "patch_size": [128, 128, 1]},
        notes=NOTES,
    ),
}
