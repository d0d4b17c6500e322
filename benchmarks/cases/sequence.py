"""SVS-net on a whole sequence against reading, preparing and running every window anew."""

from __future__ import annotations

import functools
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.case import Case, Variant
from common.angiograms.loading import LoadAngiogramd, ScaleAngiogramd

BUNDLE = Path(__file__).parents[2] / "bundles" / "svsnet_bundle"
FRAMES = 4


class Setting(NamedTuple):
    """A file of ``frames`` frames in a folder that lives as long, four windows, and the network padded in two ways."""

    path: Path
    frames: int
    windows: Tensor
    folder: tempfile.TemporaryDirectory[str]
    reference: nn.Module
    network: nn.Module


class Logits(NamedTuple):
    """Of every frame or window, and whether they are approximate."""

    values: Tensor
    approximate: bool = False


def cases(size: str) -> list[Case]:
    """A sequence and the network alone; ``full`` has frames as they come from the scanner."""
    shape = (16, 512, 512) if size == "full" else (8, 128, 128)
    text = "x".join(map(str, shape))
    prepare = functools.partial(_setting, shape)
    return [
        Case(
            name="SVS-net on a sequence",
            size=text,
            prepare=prepare,
            peer=Variant("each window anew", _each_window),
            ours=[
                Variant("shared, windows", functools.partial(_sequence, mode="window"), floor=1.2),
                Variant("shared, dense", functools.partial(_sequence, mode="dense"), floor=1.2),
            ],
            check=_compare,
        ),
        Case(
            name="SVS-net, four windows",
            size=text,
            prepare=prepare,
            peer=Variant("F.pad", _padded),
            ours=[Variant("padding in the convolutions, channels last", _unpadded)],
            check=_compare,
        ),
    ]


def _setting(shape: tuple[int, int, int]) -> Setting:
    if str(BUNDLE) not in sys.path:
        sys.path.insert(0, str(BUNDLE))
    network = importlib.import_module("svsnet.network")
    torch.manual_seed(0)
    ours = network.SVSNet().eval()
    torch.manual_seed(0)
    reference = _pad_by_hand(network.SVSNet().eval(), network)
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "sequence.nii.gz"
    pixels = np.random.default_rng(0).integers(0, 256, shape[::-1], dtype=np.uint8)
    nib.save(nib.Nifti1Image(pixels, np.diag([-0.3, -0.3, 1, 1])), path)
    windows = torch.rand(4, 1, FRAMES, *shape[1:])
    return Setting(path, shape[0], windows, folder, reference, network.to_channels_last(ours))


def _pad_by_hand(network: nn.Module, module: Any) -> nn.Module:
    """Make the network copy every map into a padded one before it is convolved, as its reference does."""

    def down(stage: Any, x: Tensor) -> Tensor:
        return torch.relu(stage.norm(stage.conv(functional.pad(x, (0, 0, 0, 0, 0, 1)))))

    def up(stage: Any, x: Tensor) -> Tensor:
        enlarged = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return torch.relu(stage.norm(stage.conv(functional.pad(enlarged, (0, 1, 0, 1)))))

    def convolve(conv: Any, x: Tensor) -> Tensor:
        return torch.as_tensor(type(conv).forward(conv, functional.pad(x, (1, 1) * (x.ndim - 2))))

    parts: list[Any] = list(network.modules())
    for part in parts:
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            part.padding = (0,) * len(part.padding)
            if set(part.kernel_size) == {3}:
                vars(part)["forward"] = functools.partial(convolve, part)
        elif isinstance(part, module.Down | module.Up):
            vars(part)["forward"] = functools.partial(down if isinstance(part, module.Down) else up, part)
    return network


def _prepare(path: Path) -> Tensor:
    """Frames ``(T, H, W)`` as the bundle prepares them."""
    prepared = Compose([LoadAngiogramd("image"), ScaleAngiogramd("image")])({"image": str(path)})
    return torch.as_tensor(prepared["image"].as_tensor())


def _each_window(setting: Setting) -> Logits:
    logits: list[Tensor] = []
    for t in range(setting.frames):
        frames = _prepare(setting.path)
        indices = np.clip(np.arange(FRAMES) + t - FRAMES // 2, 0, setting.frames - 1)
        with torch.inference_mode():
            logits.append(setting.reference(frames[indices][None, None])[0])
    return Logits(torch.cat(logits))


def _sequence(setting: Setting, mode: str) -> Logits:
    inferer = importlib.import_module("svsnet.inferers").SequenceInferer(frames=FRAMES, mode=mode)
    with torch.inference_mode():
        return Logits(inferer(_prepare(setting.path)[None], setting.network)[0], mode == "dense")


def _padded(setting: Setting) -> Logits:
    with torch.inference_mode():
        return Logits(setting.reference(setting.windows))


def _unpadded(setting: Setting) -> Logits:
    with torch.inference_mode():
        return Logits(setting.network(setting.windows))


def _compare(ours: Logits, peer: Logits) -> str:
    """Equal but for rounding; of the dense mode, the first two frames and the last, and how far the others are."""
    error = (ours.values - peer.values).abs().flatten(1).amax(1) / peer.values.std()
    exact = error[[0, 1, -1]] if ours.approximate else error
    assert exact.max() < 1e-4, f"{exact.max():.2g} of the deviation apart"
    if ours.approximate:
        return f"ends {exact.max():.1g}, inside up to {error.max():.2g} of the deviation apart (another function)"
    return f"{error.max():.1g} of the deviation apart"
