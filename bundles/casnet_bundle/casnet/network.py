"""CAS-Net: an attention-guided, multi-scale residual U-Net for coronary arteries in CT angiography.

Source:
    Dong et al., "A novel multi-attention, multi-scale 3D deep network for coronary artery segmentation",
    Medical Image Analysis 85 (2023) 102745, https://doi.org/10.1016/j.media.2023.102745.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

STRIDE = 16  # four times halved


class ResidualBlock(nn.Module):
    """Two convolutions beside a 1x1x1 shortcut; the second activation comes before the sum, another after it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.BatchNorm3d(out_channels)
        self.shortcut = nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, X, Y, Z)`` to ``(B, out_channels, X, Y, Z)``."""
        hidden = F.relu(self.norm1(self.conv1(x)))
        hidden = F.relu(self.norm2(self.conv2(hidden)))
        return F.relu(hidden + self.shortcut(x))


class DecoderBlock(nn.Sequential):
    """Twice convolution, normalization and ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv3d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(),
            nn.Conv3d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(),
        )


class AttentionGuidedFusion(nn.Module):
    """AGFF: a skip connection whose channels are weighted by what encoder and decoder see together.

    The deeper map is reduced to the skip's channels *before* it is enlarged: a 1x1x1 convolution commutes with linear
    interpolation, and costs an eighth there. The attention has two weights for each skip channel; those of the deeper
    half are computed and not used, as in the authors' code, which keeps its checkpoints loadable.

    Args:
        channels: channels C of the encoder map; the deeper map has 2C.
        reduction: the attention has one hidden layer of ``2 * channels // reduction`` units.

    Raises:
        ValueError: If ``reduction`` leaves no hidden unit.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = 2 * channels // reduction
        if hidden < 1:
            raise ValueError(f"reduction must be at most 2 * channels ({2 * channels}), got {reduction}")
        self.reduce = nn.Conv3d(2 * channels, channels, 1)
        self.attention = nn.Sequential(
            nn.Linear(2 * channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, 2 * channels, bias=False)
        )

    def forward(self, encoder: Tensor, deeper: Tensor) -> Tensor:
        """Fuse ``(B, C, X, Y, Z)`` with ``(B, 2C, X/2, Y/2, Z/2)`` into ``(B, C, X, Y, Z)``."""
        enlarged = F.interpolate(self.reduce(deeper), encoder.shape[2:], mode="trilinear", align_corners=True)
        mean = torch.cat([encoder.mean((2, 3, 4)), enlarged.mean((2, 3, 4))], dim=1)  # (B, 2C)
        peak = torch.cat([encoder.amax((2, 3, 4)), enlarged.amax((2, 3, 4))], dim=1)  # (B, 2C)
        weights = torch.sigmoid(self.attention(mean) + self.attention(peak))[:, : encoder.shape[1]]
        return torch.addcmul(enlarged, weights[:, :, None, None, None], encoder)


class ScaleAwareEnhancement(nn.Module):
    """SAFE: gated dilated convolutions in four channel groups, then one self-attention over all positions.

    Query, key and value each look along one axis. The attention's softmax runs in float32 whatever autocast says.

    Args:
        channels: channels C of input and output, a multiple of the number of dilations.
        dilations: one for each channel group.
        scaled: divide the attention scores by the square root of C.

    Raises:
        ValueError: If the channels cannot be shared out evenly.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (1, 2, 3, 5), scaled: bool = True) -> None:
        super().__init__()
        if channels % len(dilations):
            raise ValueError(f"channels must be a multiple of {len(dilations)} (the dilations), got {channels}")
        group = channels // len(dilations)
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Conv3d(group, group, 3, padding=rate, dilation=rate), nn.BatchNorm3d(group), nn.Sigmoid())
            for rate in dilations
        )
        self.query = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        self.key = nn.Conv3d(channels, channels, (1, 3, 1), padding=(0, 1, 0))
        self.value = nn.Conv3d(channels, channels, (1, 1, 3), padding=(0, 0, 1))
        self.scale = channels**-0.5 if scaled else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, X, Y, Z)`` to the same shape."""
        groups = x.chunk(len(self.gates), dim=1)
        mixed = torch.cat([gate(part) * part for gate, part in zip(self.gates, groups, strict=True)], dim=1)
        query, key, value = (
            conv(mixed).flatten(2).transpose(1, 2)[:, None].float() for conv in (self.query, self.key, self.value)
        )  # (B, 1, N, C)
        with torch.autocast(x.device.type, enabled=False):
            attended = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return mixed + attended[:, 0].transpose(1, 2).reshape(mixed.shape).to(mixed.dtype)


class MultiScaleAggregation(nn.Module):
    """MSFA: the head, which merges the decoder levels from coarse to fine through learned gates.

    Args:
        in_channels: channels of the decoder maps, coarse to fine.
        channels: channels to which every level is compressed.
        out_channels: channels of the logits.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 8, out_channels: int = 2) -> None:
        super().__init__()
        self.compress = nn.ModuleList(nn.Conv3d(count, channels, 1) for count in in_channels)
        self.gates = nn.ModuleList(nn.Conv3d(2 * channels, channels, 3, padding=1) for _ in in_channels[1:])
        self.output = nn.Conv3d(channels, out_channels, 3, padding=1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Merge maps ``(B, in_channels[i], ...)``, coarse to fine, into logits in the size of the finest."""
        coarsest, *finer = [compress(level) for compress, level in zip(self.compress, levels, strict=True)]
        merged = coarsest
        for gate, level in zip(self.gates, finer, strict=True):
            enlarged = F.interpolate(merged, level.shape[2:], mode="trilinear", align_corners=True)
            weights = torch.sigmoid(gate(torch.cat([level, enlarged], dim=1)))
            merged = torch.addcmul(enlarged, weights, level)
        return self.output(merged)


class DecoderLevel(nn.Module):
    """One step up: attention-guided skip, transposed convolution of the deeper map, and a decoder block over both.

    Args:
        channels: channels C of the skip and of the output; the deeper map has 2C.
        upsample: False leaves out the transposed convolution: so does the paper's figure, but not the authors' code.
    """

    def __init__(self, channels: int, upsample: bool = True) -> None:
        super().__init__()
        self.fusion = AttentionGuidedFusion(channels)
        self.block = DecoderBlock(2 * channels if upsample else channels, channels)
        self.up = nn.ConvTranspose3d(2 * channels, channels, 2, stride=2) if upsample else None

    def forward(self, encoder: Tensor, deeper: Tensor) -> Tensor:
        """Map ``(B, C, X, Y, Z)`` and ``(B, 2C, X/2, Y/2, Z/2)`` to ``(B, C, X, Y, Z)``."""
        fused = self.fusion(encoder, deeper)
        return self.block(fused if self.up is None else torch.cat([fused, self.up(deeper)], dim=1))


class CASNet(nn.Module):
    """CAS-Net, logits out; the defaults are the paper's, and tensors are registered in the authors' order.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits, background first.
        width: channels at full resolution; every level below doubles them. A multiple of 8.
        dropout: share of bottleneck channels dropped in training; None as in the paper, which has none.
        scaled_attention: divide the attention scores by the square root of the channels.
        decoder_input: "concat" (the authors' code) or "agff" (the paper's figure: fused skip only).
        final_activation: None for logits; "sigmoid" to compare with the authors' network, never for training.

    Raises:
        ValueError: If ``width`` is not a positive multiple of 8, or an option is not one of its values.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        width: int = 16,
        dropout: float | None = None,
        scaled_attention: bool = True,
        decoder_input: str = "concat",
        final_activation: str | None = None,
    ) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"width must be a positive multiple of 8, got {width}")
        if decoder_input not in {"concat", "agff"}:
            raise ValueError(f'decoder_input must be "concat" or "agff", got {decoder_input!r}')
        if final_activation not in {None, "sigmoid"}:
            raise ValueError(f'final_activation must be None or "sigmoid", got {final_activation!r}')
        widths = [width * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(
            ResidualBlock(before, after) for before, after in zip([in_channels, *widths[:4]], widths, strict=True)
        )
        self.bottleneck = ScaleAwareEnhancement(widths[4], scaled=scaled_attention)
        self.decoder = nn.ModuleList(DecoderLevel(channels, decoder_input == "concat") for channels in widths[3::-1])
        self.head = MultiScaleAggregation(widths[3::-1], out_channels=out_channels)
        self.dropout = nn.Dropout3d(dropout or 0.0)
        self.activation = nn.Sigmoid() if final_activation == "sigmoid" else nn.Identity()
        self.apply(_initialize)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            image: ``(B, in_channels, X, Y, Z)``, intensities in [0, 1], every side a multiple of 16.

        Returns:
            Logits ``(B, out_channels, X, Y, Z)``.

        Raises:
            ValueError: If the input is not 5-D or a side is not a multiple of 16.
        """
        _check_sides(image)
        skips = [self.encoder[0](image)]
        for block in self.encoder[1:]:
            skips.append(block(F.max_pool3d(skips[-1], 2)))
        deeper = self.dropout(self.bottleneck(skips.pop()))
        levels = []
        for level in self.decoder:
            deeper = level(skips.pop(), deeper)
            levels.append(deeper)
        return self.activation(self.head(levels))


def _check_sides(image: Tensor) -> None:
    if image.ndim != 5 or any(side % STRIDE or side == 0 for side in image.shape[2:]):
        raise ValueError(
            f"image must be (B, C, X, Y, Z) with sides that are multiples of {STRIDE}, got {tuple(image.shape)}: "
            "pad it, or infer with a sliding window"
        )


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d | nn.Linear):  # transposed convolutions keep torch's default, as the authors' do
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
