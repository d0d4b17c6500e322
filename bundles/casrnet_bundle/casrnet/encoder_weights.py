"""ImageNet weights of a DenseNet from a local file, in whichever dialect it was saved."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

FIRST = "conv0.weight"


def load_encoder_weights(path: str | Path, features: nn.Module) -> None:
    """Load the ImageNet weights of a DenseNet into the features of MONAI's, in place.

    MONAI's own ``pretrained=True`` downloads them, and silently leaves out every tensor whose name or shape differs.

    Args:
        path: state dict, or a mapping with the state dict under "state_dict", as torchvision saves it (with
            ``denselayer1.norm.1`` or ``denselayer1.norm1``) or MONAI (``denselayer1.layers.norm1``), with or without
            ``features.`` before the names. A classifier and ``num_batches_tracked`` are left aside. If the image has
            not three channels, the first kernel is adapted: summed for one, repeated and scaled by 3 / n for n.
        features: ``features`` of MONAI's ``DenseNet``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is unreadable, lacks a tensor, or has one of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no encoder weights at {path}: save the state dict of torchvision's densenet121(weights='DEFAULT') on a "
            "machine with an internet connection and copy it here, or set encoder_weights to null"
        )
    found = {_monai_name(name): tensor for name, tensor in _read(path).items()}
    wanted = {name: tensor for name, tensor in features.state_dict().items() if "num_batches_tracked" not in name}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of the {len(wanted)} tensors of the encoder, such as {missing[:3]}: "
            "is it the state dict of another network than DenseNet121?"
        )
    found[FIRST] = _adapt(found[FIRST], wanted[FIRST].shape[1])
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: {name!r} has shape {tuple(found[name].shape)}, the encoder needs {tuple(tensor.shape)}: "
                "is it the state dict of another network than DenseNet121?"
            )
        if not found[name].isfinite().all():
            raise ValueError(f"{path}: {name!r} holds NaN or infinite values: fetch the file again")
    features.load_state_dict({name: found[name] for name in wanted}, strict=False)  # all but num_batches_tracked


def _monai_name(name: str) -> str:
    name = name.removeprefix("module.").removeprefix("encoder.").removeprefix("features.")
    return re.sub(r"(denselayer\d+)\.(?:layers\.)?(norm|conv)\.?([12])\.", r"\1.layers.\2\3.", name)


def _adapt(kernel: Tensor, channels: int) -> Tensor:
    """Give the first convolution's kernel ``(out, 3, 7, 7)`` as many inputs as the image has channels."""
    own = kernel.shape[1] if kernel.ndim == 4 else 0
    if own != 3 or channels == 3:
        return kernel
    if channels == 1:
        return kernel.sum(1, keepdim=True)
    return kernel.repeat(1, -(-channels // 3), 1, 1)[:, :channels] * (3 / channels)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a file of weights that torch can load: fetch it again") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} must hold a state dict, or one under the key 'state_dict'")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
