"""SVS-net: segments one frame of an X-ray angiogram from a short window of consecutive frames.

Source:
    Hao et al., "Sequential vessel segmentation via deep channel attention network", Neural Networks 128 (2020)
    172-187, https://arxiv.org/abs/2102.05229; structure and order of the tensors as in the authors' released graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

BN_EPS = 1e-3
BN_MOMENTUM = 0.1  # the authors' Keras 0.99 (0.01 here) leaves the statistics behind for hundreds of steps

DROPOUT = 0.5


class ResidualBlock(nn.Module):
    """Two convolutions of kernel 3, added to the input.

    Args:
        channels: channels of input and output.
        dimensions: 3 for frames over time, 2 for single maps.
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv3d, nn.BatchNorm3d) if dimensions == 3 else (nn.Conv2d, nn.BatchNorm2d)
        self.conv1 = conv(channels, channels, 3, padding=1, bias=False)
        self.norm1 = norm(channels, BN_EPS, BN_MOMENTUM)
        self.conv2 = conv(channels, channels, 3, padding=1, bias=False)
        self.norm2 = norm(channels, BN_EPS, BN_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, *spatial)`` to the same shape."""
        hidden = F.relu_(self.norm1(self.conv1(x)))
        return F.relu_(self.norm2(self.conv2(hidden)) + x)


class Down(nn.Module):
    """Halve H and W and widen; time keeps its length: a zero frame is thought after the last one.

    Convolving with one zero frame on both sides and dropping the first result spares the copy that ``F.pad`` makes.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 2, stride=(1, 2, 2), padding=(1, 0, 0), bias=False)
        self.norm = nn.BatchNorm3d(out_channels, BN_EPS, BN_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, T, H, W)`` to ``(B, out_channels, T, H/2, W/2)``."""
        return F.relu_(self.norm(self.conv(x)[:, :, 1:]))


class Up(nn.Module):
    """Double H and W by repetition and narrow, with zeros below the last row and right of the last column.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, BN_EPS, BN_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, 2H, 2W)``."""
        enlarged = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.relu_(self.norm(self.conv(enlarged)[:, :, 1:, 1:]))


class SkipAttention(nn.Module):
    """Weigh the channels of a map by what is brightest in each of them within a window.

    Args:
        channels: channels C.
        frames: frames T of a window.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.hidden = nn.Conv3d(channels, channels, 1)
        self.gate = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return every window of ``(B, C, N, H, W)``, weighted: ``(B * (N - T + 1), C, T, H, W)``."""
        windows = x.unfold(2, self.frames, 1).permute(0, 2, 1, 5, 3, 4).flatten(0, 1)
        peak = windows.amax((2, 3, 4), keepdim=True)
        return windows * torch.sigmoid(self.gate(F.relu_(self.hidden(peak))))


class EncoderStage(nn.Module):
    """One resolution of the encoder: a residual block, its fusion over time for the decoder, and the way down.

    Args:
        channels: channels at this resolution.
        out_channels: channels at the next one.
        frames: frames of a window.
        attention: weigh the channels before the fusion.
        dropout: share of the channels dropped in training, on the way down only.
    """

    def __init__(self, channels: int, out_channels: int, frames: int, attention: bool, dropout: float) -> None:
        super().__init__()
        self.block = ResidualBlock(channels, 3)
        self.attention = SkipAttention(channels, frames) if attention else None
        self.fuse = nn.Conv3d(channels, channels, (frames, 1, 1))
        self.dropout = nn.Dropout3d(dropout)
        self.down = Down(channels, out_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(B, C, N, H, W)`` to the windows' fused maps ``(B, C, N - T + 1, H, W)`` and the next stage's input."""
        x = self.block(x)
        if self.attention is None:
            fused = self.fuse(x)
        else:
            fused = self.fuse(self.attention(x))[:, :, 0].unflatten(0, (x.shape[0], -1)).transpose(1, 2)
        return fused, self.down(self.dropout(x))


class DecoderStage(nn.Module):
    """One resolution of the decoder: enlarge, add the skip weighted by channel attention, and a residual block.

    Args:
        in_channels: channels of the deeper map.
        channels: channels C of skip and output.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.up = Up(in_channels, channels)
        self.hidden = nn.Conv2d(2 * channels, channels, 1)
        self.gate = nn.Conv2d(channels, channels, 1)
        self.block = ResidualBlock(channels, 2)

    def forward(self, deeper: Tensor, skip: Tensor) -> Tensor:
        """Map ``(B, in_channels, H/2, W/2)`` and the skip ``(B, C, H, W)`` to ``(B, C, H, W)``."""
        return self.block(self.merge(skip, self.up(deeper)))

    def merge(self, skip: Tensor, enlarged: Tensor) -> Tensor:
        """Add two maps ``(B, C, H, W)``, the skip's channels weighted by the means of both."""
        means = torch.cat([skip.mean((2, 3), keepdim=True), enlarged.mean((2, 3), keepdim=True)], dim=1)
        weights = torch.sigmoid(self.gate(F.relu_(self.hidden(means))))
        return torch.addcmul(enlarged, weights, skip)


class SVSNet(nn.Module):
    """SVS-net, logits out; the defaults are the paper's, and tensors are registered in the published order.

    Args:
        frames: frames T of a window; the one segmented is ``frames // 2``.
        widths: channels at each resolution, at least two; every further one halves H and W once more. Dropout acts
            on the way down from the last two encoder stages, the channel attention on the skip of the last one.
        stage6_attention: False leaves that attention out: so does the paper's figure, but not the authors' code.
        dropout: share of the channels dropped in training; None for the paper's 0.5.
        in_channels: channels of the image.
        out_channels: channels of the logits; 1 for the probability of a vessel by a sigmoid.

    Raises:
        ValueError: If ``frames``, ``widths`` or ``dropout`` is out of range.
    """

    def __init__(
        self,
        frames: int = 4,
        widths: Sequence[int] = (8, 16, 32, 64, 128, 256, 512),
        stage6_attention: bool = True,
        dropout: float | None = None,
        in_channels: int = 1,
        out_channels: int = 1,
    ) -> None:
        super().__init__()
        share = DROPOUT if dropout is None else dropout
        if frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}")
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths must be two or more positive numbers, got {list(widths)}")
        if not 0 <= share < 1:
            raise ValueError(f"dropout must be None or in [0, 1), got {dropout}")
        self.frames = frames
        self.stride = 2 ** (len(widths) - 1)
        """What H and W must be multiples of."""
        last = len(widths) - 2
        self.stem = nn.Conv3d(in_channels, widths[0], 1)
        self.encoder = nn.ModuleList(
            EncoderStage(
                widths[stage],
                widths[stage + 1],
                frames,
                attention=stage6_attention and stage == last,
                dropout=share if stage >= last - 1 else 0.0,
            )
            for stage in range(last + 1)
        )
        self.bottleneck = nn.Conv3d(widths[-1], widths[-1], (frames, 1, 1))
        self.decoder = nn.ModuleList(
            DecoderStage(deeper, channels) for deeper, channels in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], out_channels, 1)
        self.apply(_initialize)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits of one frame.

        Args:
            image: ``(B, in_channels, T, H, W)`` in [0, 1], vessels dark; H and W multiples of 64 (with 7 widths).

        Returns:
            Logits ``(B, out_channels, H, W)`` of frame ``T // 2``.

        Raises:
            ValueError: If the input is not 5-D, has another number of frames, or H or W cannot be halved so often.
        """
        if image.ndim != 5 or image.shape[2] != self.frames:
            raise ValueError(
                f"image must be (B, C, T, H, W) with T = {self.frames} frames, got {list(image.shape)}: "
                "cut windows from a sequence, or infer with SequenceInferer"
            )
        return self.decode([fused[:, :, 0] for fused in self.encode(image)])

    def encode(self, sequence: Tensor) -> list[Tensor]:
        """Compute what the decoder needs, for every window of T consecutive frames.

        Args:
            sequence: ``(B, in_channels, N, H, W)`` with N >= T.

        Returns:
            For each resolution, finest first, ``(B, C, N - T + 1, H, W)``. One window alone (N = T) is the published
            network. In a longer sequence the convolutions see the neighbours of a window where it has zeros.

        Raises:
            ValueError: If H or W cannot be halved so often.
        """
        if sequence.shape[-1] % self.stride or sequence.shape[-2] % self.stride:
            raise ValueError(
                f"H and W must be multiples of {self.stride}, got {list(sequence.shape)}: "
                "pad the frames, or infer with SequenceInferer"
            )
        x = self.stem(sequence)
        maps: list[Tensor] = []
        for stage in self.encoder:
            fused, x = stage(x)
            maps.append(fused)
        maps.append(self.bottleneck(x))
        return maps

    def decode(self, maps: list[Tensor]) -> Tensor:
        """Map what ``encode`` gives for one window, ``(B, C, H, W)`` each, to logits ``(B, out_channels, H, W)``."""
        x = maps[-1]
        for depth, stage in enumerate(self.decoder):
            x = stage(x, maps[len(maps) - 2 - depth])
        return self.head(x)


def to_channels_last(network: nn.Module) -> nn.Module:
    """Return the network with weights, and so maps, laid out channels last: a training step takes 0.6 of the time.

    Names, values and results stay; measured on one CPU core, windows of 256 x 256, batch 4.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)
        elif isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return network


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
