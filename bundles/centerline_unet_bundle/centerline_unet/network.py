"""The 2-D and 3-D U-Net that segments coronary arteries along a centerline.

Source:
    The network of https://github.com/FrancescoLeni/CoronarySegmentation, from its description: five levels, two
    convolutions each, and a 1x1 convolution after every concatenation, which MONAI's UNet and BasicUNet do not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
ENCODER_DROPOUT = 0.05  # of the published code, at every encoder level; the decoder has none


class ConvNormAct(nn.Module):
    """A convolution of kernel 3, batch normalization and LeakyReLU.

    The norm is registered first, as in the published code: its checkpoints can then be mapped by position.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = BATCH_NORM[spatial_dims](out_channels)
        self.conv = CONVOLUTION[spatial_dims](in_channels, out_channels, 3, padding=1)
        self.act = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, *spatial)`` to ``(B, out_channels, *spatial)``."""
        return self.act(self.norm(self.conv(x)))


class TwoConvolutions(nn.Sequential):
    """Convolution, element-wise dropout, convolution, at one resolution.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
        dropout: share of the elements set to zero in training.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__(
            ConvNormAct(spatial_dims, in_channels, out_channels),
            nn.Dropout(dropout),
            ConvNormAct(spatial_dims, out_channels, out_channels),
        )


class UpBlock(nn.Module):
    """Enlarge a deep feature map, join it with the skip connection, and convolve.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels H of the deep map.
        out_channels: channels L of the skip connection and of the output.
        dropout: share of the elements set to zero in training.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.enlarge = TRANSPOSED[spatial_dims](in_channels, out_channels, 2, stride=2)
        self.join = CONVOLUTION[spatial_dims](2 * out_channels, out_channels, 1)
        self.convolve = TwoConvolutions(spatial_dims, out_channels, out_channels, dropout)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Map ``(B, H, *spatial / 2)`` and ``(B, L, *spatial)`` to ``(B, L, *spatial)``."""
        return self.convolve(self.join(torch.cat([skip, self.enlarge(deep)], dim=1)))


class CenterlineUNet(nn.Module):
    """A U-Net whose input is an image and, as second channel, the centerline of its vessels.

    With one input channel it is a plain U-Net without any prior: stage 1 of the pipeline.

    Args:
        spatial_dims: 2 or 3.
        in_channels: 2 for image and centerline channel, 1 for the image alone.
        out_channels: logits: 2 for background and vessel.
        widths: channels at full resolution and after each halving.
        dropout: share of the elements set to zero between the two convolutions of every level; None for the published
            rates (0.05 in the encoder, 0 in the decoder).

    Raises:
        ValueError: If ``spatial_dims`` is neither 2 nor 3, or there are fewer than two widths.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 2,
        out_channels: int = 2,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        if spatial_dims not in CONVOLUTION:
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
        if len(widths) < 2:
            raise ValueError(f"widths needs at least two levels, got {list(widths)}")
        down, up = (ENCODER_DROPOUT, 0.0) if dropout is None else (dropout, dropout)
        self.stride = 2 ** (len(widths) - 1)
        self.encoder = nn.ModuleList(
            TwoConvolutions(spatial_dims, inner, outer, down)
            for inner, outer in zip((in_channels, *widths), widths, strict=False)
        )
        self.pool = MAX_POOL[spatial_dims](2)
        self.decoder = nn.ModuleList(
            UpBlock(spatial_dims, deep, skip, up) for deep, skip in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = CONVOLUTION[spatial_dims](widths[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, out_channels, *spatial)``.

        Args:
            x: image and, where there is one, centerline channel in {0, 1}, ``(B, in_channels, *spatial)``.

        Raises:
            ValueError: If a side is not a multiple of the network's stride, 16 with five widths.
        """
        if any(side % self.stride for side in x.shape[2:]):
            raise ValueError(
                f"every spatial side must be a multiple of {self.stride}, got {list(x.shape)}: choose such a "
                "patch_size; the inferers pad volumes by themselves"
            )
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        for depth, block in enumerate(self.decoder):
            x = block(x, skips[-2 - depth])
        return self.head(x)
