"""Projection heads: they map a voxel's features to the unit sphere on which the contrastive term compares them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class ProjectionHead(nn.Module):
    """Two linear layers and a normalization, for one voxel at a time; needed in training only.

    Args:
        in_channels: channels C of the feature map.
        out_channels: edges of the space in which features are compared, and of the hidden layer.
    """

    def __init__(self, in_channels: int, out_channels: int = 128) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(in_channels, out_channels), nn.ReLU(), nn.Linear(out_channels, out_channels))

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(..., C)`` to float32 vectors of length 1, ``(..., out_channels)``."""
        return functional.normalize(self.mlp(features).float(), dim=-1)


class ProjectionHeads(nn.ModuleList):
    """One head for each feature map that the network hands out.

    Args:
        channels: channels of the maps, in the network's order (its ``tap_channels``).
        out_channels: edges of the space in which features are compared.
    """

    def __init__(self, channels: Sequence[int], out_channels: int = 128) -> None:
        super().__init__(ProjectionHead(count, out_channels) for count in channels)
