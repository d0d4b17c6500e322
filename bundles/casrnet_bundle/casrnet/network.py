"""The CASR-Net network: a U-Net with a DenseNet121 encoder and a decoder of self-organized operational layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from monai.networks.nets import DenseNet
from torch import Tensor, nn
from torch.nn import functional

from .encoder_weights import load_encoder_weights
from .self_onn import SelfONN2d

STRIDE = 32
"""Sides of an image must be multiples of this: the encoder halves them five times."""

STAGES = 5


class DenseNetEncoder(nn.Module):
    """The features of a DenseNet, tapped at five resolutions.

    The maps come from the end of each resolution, before its transition to the next: a transition's norm and ReLU
    still belong to it. Segmentation libraries tap a DenseNet at the same places.

    Args:
        in_channels: channels of the image.
        init_features: channels of the first map.
        growth_rate: channels that each dense layer adds.
        block_config: dense layers of the four blocks.

    Raises:
        ValueError: If there are not four blocks.
    """

    def __init__(
        self,
        in_channels: int = 3,
        init_features: int = 64,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
    ) -> None:
        super().__init__()
        if len(block_config) != 4:
            raise ValueError(f"block_config must name the dense layers of four blocks, got {list(block_config)}")
        self.frozen_statistics = False
        self.features = DenseNet(2, in_channels, 1, init_features, growth_rate, tuple(block_config)).features
        self.channels = [init_features]
        entering = init_features
        for layers in block_config:
            self.channels.append(entering + layers * growth_rate)
            entering = self.channels[-1] // 2

    def train(self, mode: bool = True) -> DenseNetEncoder:
        """Set the mode; norms with frozen statistics stay in evaluation mode."""
        super().train(mode)
        for module in self.features.modules() if self.frozen_statistics else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return five maps ``(B, channels[i], H / 2**(i+1), W / 2**(i+1))`` of an image ``(B, in_channels, H, W)``."""
        features = self.features
        taps = [features.relu0(features.norm0(features.conv0(image)))]
        x = features.pool0(taps[0])
        for number in (1, 2, 3):
            transition = features.get_submodule(f"transition{number}")
            x = features.get_submodule(f"denseblock{number}")(x)
            taps.append(transition.relu(transition.norm(x)))
            x = transition.pool(transition.conv(taps[-1]))
        return [*taps, features.norm5(features.denseblock4(x))]


class DecoderStage(nn.Module):
    """Doubles a map, joins it to its skip connection, and passes both through two layers.

    Args:
        in_channels: channels of the deeper map.
        skip_channels: channels of the skip connection, 0 for none.
        out_channels: channels of the output.
        q: highest power of the Self-ONN layers; None for plain convolutions with ReLU.
        bound_input: pass the joined map through a tanh; of no effect on plain convolutions.
        chunked: see :class:`.self_onn.SelfONN2d`.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        q: int | None,
        bound_input: bool = True,
        chunked: bool = True,
    ) -> None:
        super().__init__()
        self.bound = nn.Identity() if q is None or not bound_input else nn.Tanh()
        self.layers = nn.Sequential(
            *_layer(in_channels + skip_channels, out_channels, q, chunked),
            *_layer(out_channels, out_channels, q, chunked),
        )

    def forward(self, deeper: Tensor, skip: Tensor | None) -> Tensor:
        """Map ``(B, in_channels, H, W)`` and ``(B, skip_channels, 2H, 2W)`` to ``(B, out_channels, 2H, 2W)``."""
        x = functional.interpolate(self.bound(deeper), scale_factor=2.0, mode="nearest")  # commutes with the tanh
        return self.layers(x if skip is None else torch.cat([x, self.bound(skip)], 1))


class CASRNet(nn.Module):
    """Segments the coronary arteries in frames of an X-ray angiogram; logits out.

    Args:
        in_channels: channels of the image, enhanced differently.
        out_channels: channels of the logits; one channel means a sigmoid.
        q: highest power of the Self-ONN layers, one number or one for each of the five stages from coarse to fine.
        decoder: "self_onn", or "conv" for plain convolutions with ReLU, an ordinary U-Net.
        bound_input: a tanh before the first layer of each stage, which otherwise receives values far outside [-1, 1].
        widths: channels of the five decoder stages, from coarse to fine.
        dropout: share of the deepest map's channels dropped in training; None, as published, for none.
        encoder_weights: local file with the ImageNet weights of a DenseNet, see
            :func:`.encoder_weights.load_encoder_weights`; None starts from random ones.
        chunked: convolve one power after the other; equal up to rounding. On a CPU a step of training takes 0.77 of
            the time, and less memory; False makes one large convolution of each layer.
        init_features: channels of the encoder's first map.
        growth_rate: channels that each dense layer of the encoder adds.
        block_config: dense layers of the encoder's four blocks; (6, 12, 24, 16) is DenseNet121.

    Raises:
        FileNotFoundError: If there is no file ``encoder_weights``.
        ValueError: If an option is not one of its values, or the weights do not fit.

    Source:
        Hassan et al., "CASR-Net", 2025, https://arxiv.org/abs/2510.27315: DenseNet121 encoder, Self-ONN decoder. The
        widths, the order q = 3, the places of the skips and the bounding tanh are our choices: the published text does
        not state them, and no code is public.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        q: int | Sequence[int] = 3,
        decoder: str = "self_onn",
        bound_input: bool = True,
        widths: Sequence[int] = (256, 128, 64, 32, 16),
        dropout: float | None = None,
        encoder_weights: str | Path | None = None,
        chunked: bool = True,
        init_features: int = 64,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
    ) -> None:
        super().__init__()
        orders = _orders(q, decoder)
        if len(widths) != STAGES or min(widths) < 1:
            raise ValueError(f"widths must be {STAGES} positive numbers, one for each stage, got {list(widths)}")
        if dropout is not None and not 0 <= dropout < 1:
            raise ValueError(f"dropout must be None or in [0, 1), got {dropout}")
        self.encoder = DenseNetEncoder(in_channels, init_features, growth_rate, block_config)
        *skips, deepest = self.encoder.channels
        self.dropout = nn.Dropout2d(dropout or 0.0)
        self.decoder = nn.ModuleList(
            DecoderStage(before, skip, after, order, bound_input, chunked)
            for before, skip, after, order in zip(
                [deepest, *widths[:-1]], [*skips[::-1], 0], widths, orders, strict=True
            )
        )
        self.head = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        if encoder_weights is not None:
            load_encoder_weights(encoder_weights, self.encoder.features)

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.

        Raises:
            ValueError: If the input is not 4-D or a side is no multiple of 32.
        """
        _check_sides(image)
        *skips, x = self.encoder(image)
        x = self.dropout(x)
        for stage, skip in zip(self.decoder, [*skips[::-1], None], strict=True):
            x = stage(x, skip)
        return self.head(x)


def freeze_statistics(network: CASRNet) -> CASRNet:
    """Keep the statistics of the encoder's batch norms as they are in training, and return the network.

    For batches of less than four images, whose statistics are too noisy, and an encoder with ImageNet weights. The
    norms' factors and offsets are still trained.
    """
    network.encoder.frozen_statistics = True
    network.train(network.training)
    return network


def _layer(in_channels: int, out_channels: int, q: int | None, chunked: bool) -> list[nn.Module]:
    if q is None:
        convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    return [
        SelfONN2d(in_channels, out_channels, 3, q, padding=1, bias=False, chunked=chunked),
        nn.BatchNorm2d(out_channels),
        nn.Tanh(),
    ]


def _orders(q: int | Sequence[int], decoder: str) -> list[int | None]:
    if decoder not in {"self_onn", "conv"}:
        raise ValueError(f'decoder must be "self_onn" or "conv", got {decoder!r}')
    orders = [q] * STAGES if isinstance(q, int) else list(q)
    if len(orders) != STAGES or min(orders) < 1:
        raise ValueError(f"q must be a number of at least 1 or {STAGES} of them, one for each stage, got {q}")
    return [order if decoder == "self_onn" else None for order in orders]


def _check_sides(image: Tensor) -> None:
    if image.ndim != 4 or any(side % STRIDE or side == 0 for side in image.shape[2:]):
        raise ValueError(
            f"image must be (B, C, H, W) with sides that are multiples of {STRIDE}, got {tuple(image.shape)}: pad it, "
            "or infer with casrnet.inferers.FrameInferer, which does"
        )
