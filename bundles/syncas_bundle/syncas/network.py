"""The SynCAS network: a 3-D U-Net whose feature maps at four resolutions can be contrasted between two views.

Source:
    Hao et al., SynCAS (2025), from its description. MONAI's UNet and BasicUNet differ in padding (reflect here), in
    the first block, in nearest upsampling and in the last convolution, so that no published weights would fit them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MIN_EDGE = 32
"""Shortest edge of an input in voxels: at the bottleneck, 1/16 of it, reflect padding needs two voxels."""

DOWNSAMPLINGS = 4


class ConvNormAct(nn.Module):
    """A convolution of kernel 3 without bias and with reflect padding, batch normalization and ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        dropout: share of the output's channels set to zero in training.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 3, padding=1, padding_mode="reflect", bias=False)
        self.norm = nn.BatchNorm3d(out_channels)
        self.act = nn.ReLU()
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, X, Y, Z)`` to ``(B, out_channels, X, Y, Z)``."""
        return self.dropout(self.act(self.norm(self.conv(x))))


class Level(nn.Module):
    """Two blocks at one resolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        dropout: share of the channels set to zero in training.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.first = ConvNormAct(in_channels, out_channels, dropout)
        self.second = ConvNormAct(out_channels, out_channels, dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(B, in_channels, X, Y, Z)`` to the outputs of both blocks, ``(B, out_channels, X, Y, Z)`` each."""
        first = self.first(x)
        return first, self.second(first)


class SynCASNet(nn.Module):
    """Segments coronary arteries in non-contrast CT.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits; 2 for background and coronary artery.
        width: channels at full resolution; each of the four downsamplings doubles them.
        dropout: share of the channels set to zero in training, after every block; None, as published, for none.

    Raises:
        ValueError: If ``width`` is below 1 or ``dropout`` is not in [0, 1).
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 2, width: int = 16, dropout: float | None = None
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        share = 0.0 if dropout is None else dropout
        if not 0 <= share < 1:
            raise ValueError(f"dropout must be None or in [0, 1), got {dropout}")
        widths = [width * 2**level for level in range(DOWNSAMPLINGS + 1)]
        self.tap_channels = [widths[3], widths[2], widths[1], widths[0]]
        self.stem = ConvNormAct(in_channels, width, share)
        self.encoder = nn.ModuleList(
            Level(before, after, share) for before, after in zip([width, *widths], widths, strict=False)
        )
        self.decoder = nn.ModuleList(
            Level(deep + skip, skip, share) for deep, skip in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv3d(width, out_channels, 3, padding=1, padding_mode="reflect", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image ``(B, in_channels, X, Y, Z)`` to logits ``(B, out_channels, X, Y, Z)``.

        Raises:
            ValueError: If an edge is shorter than 32 voxels or no multiple of 16.
        """
        return self.with_features(x)[0]

    def with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits, and the four feature maps that the contrastive term compares.

        Returns:
            Logits, and the taps ``(B, 8w, X/8, Y/8, Z/8)`` from the encoder, ``(B, 4w, X/4, ...)``,
            ``(B, 2w, X/2, ...)`` and ``(B, w, X, Y, Z)`` from the decoder, where w is the width.

        Raises:
            ValueError: If an edge is shorter than 32 voxels or no multiple of 16.
        """
        check_edges(x.shape[2:])
        x = self.stem(x)
        skips: list[Tensor] = []
        taps: list[Tensor] = []
        for depth, level in enumerate(self.encoder):
            first, x = level(functional.max_pool3d(x, 2) if depth else x)
            skips.append(x)
            if depth == len(self.encoder) - 2:  # above the bottleneck
                taps.append(first)
        for depth, level in enumerate(self.decoder):
            enlarged = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            first, x = level(torch.cat([skips[-2 - depth], enlarged], dim=1))
            if depth in (1, 2):
                taps.append(first)
        taps.append(x)  # the last level is tapped after its second block
        return self.head(x), taps


def check_edges(shape: list[int], shortest: int = MIN_EDGE, factor: int = 2**DOWNSAMPLINGS) -> None:
    """Refuse an input that the network cannot halve four times.

    The limits are arguments because TorchScript knows no global numbers.

    Raises:
        ValueError: If an edge is shorter than 32 voxels or no multiple of 16.
    """
    if min(shape) < shortest or any(edge % factor for edge in shape):
        raise ValueError(
            f"the edges of an input must be multiples of {factor} and at least {shortest} voxels, got {list(shape)}: "
            "choose such a patch_size; the inferer pads what is smaller"
        )
