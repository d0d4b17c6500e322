"""Networks of the CT bundles in sliding windows on a CPU: OpenVINO against torch, the released weights, one thread."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.case import Case, Variant
from common.inferers import VesselInferer
from common.weights import load_weights

BUNDLES = Path(__file__).parents[2] / "bundles"
QUICK_FLOOR = 1.3  # small windows gain less, 1.6 to 2.2 times, and not the same on every processor
NETWORKS = {  # bundle, class, options, weights, window of the config, a smaller one, least speed-up with the first
    "CAS-Net": ("casnet", "CASNet", {}, "model.pt", (160, 160, 128), (64, 64, 64), 2.0),
    "stage 1 of the centerline U-Net": (
        *("centerline_unet", "CenterlineUNet", {"in_channels": 1, "widths": [16, 32, 64, 128, 256]}, "model_coarse.pt"),
        *((80, 80, 80), (80, 80, 80), 1.5),
    ),
    "centerline U-Net": ("centerline_unet", "CenterlineUNet", {}, "model.pt", (64, 64, 32), (64, 64, 32), 1.5),
    "SynCAS": ("syncas", "SynCASNet", {}, "model.pt", (224, 224, 32), (96, 96, 32), 1.7),
}


class Setting(NamedTuple):
    """A volume of two windows that overlap by half, and what runs them by each engine."""

    volume: Tensor
    network: nn.Module
    inferers: dict[str, VesselInferer]


def cases(size: str) -> list[Case]:
    """Each network on two windows; ``full`` has the windows of its config."""
    return [
        Case(
            name=f"{name}, two windows",
            size="x".join(map(str, window)),
            prepare=functools.partial(_setting, bundle, network, options, weights, window),
            peer=Variant("torch", functools.partial(_probability, engine="torch")),
            ours=[
                Variant("openvino", functools.partial(_probability, engine="openvino"), least, needs="openvino"),
                Variant("openvino bf16", functools.partial(_probability, engine="openvino_bf16"), needs="openvino"),
            ],
            check=_compare,
        )
        for name, (bundle, network, options, weights, native, small, floor) in NETWORKS.items()
        for window, least in [(native, floor) if size == "full" else (small, QUICK_FLOOR)]
    ]


def _setting(bundle: str, network: str, options: dict[str, Any], weights: str, window: tuple[int, ...]) -> Setting:
    folder = BUNDLES / f"{bundle}_bundle"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    net = getattr(importlib.import_module(f"{bundle}.network"), network)(**options).eval()
    load_weights(folder / "models" / weights, net)
    channels = 2 if bundle == "centerline_unet" and not options else 1
    torch.manual_seed(0)
    volume = torch.rand(1, channels, window[0] * 3 // 2, *window[1:])
    engines = ("torch", "openvino", "openvino_bf16")
    return Setting(volume, net, {name: VesselInferer(window, 0.5, engine=name) for name in engines})


@torch.no_grad()
def _probability(setting: Setting, engine: str) -> Setting:
    probability = setting.inferers[engine](setting.volume, setting.network)
    return Setting(probability, setting.network, {engine: setting.inferers[engine]})


def _compare(ours: Setting, peer: Setting) -> str:
    """The probability within a hundredth in float32, a third in bf16, and how many voxels of the mask differ."""
    apart = float((ours.volume - peer.volume).abs().max())
    exact = "openvino" in ours.inferers
    assert apart < (0.01 if exact else 0.35), f"probabilities differ by {apart:.2g}"
    differ = float(((ours.volume > 0.5) != (peer.volume > 0.5)).float().mean())
    return f"probability within {apart:.1g}, {differ:.1g} of the voxels change sides"
