"""From a file to the network and back: resampling against MONAI's ``Spacing``, reading against its ``LoadImage``."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor, NibabelReader
from monai.transforms import Compose, LoadImage, Spacingd
from torch import Tensor

from benchmarks.case import Case, Variant
from benchmarks.data import coronary_mask, noisy_logits
from common.loading import LoadVolumed
from common.transforms import ResampleToSpacingd

AFFINE = np.diag([0.35, 0.35, 0.5, 1])
MODES = {"image": "bilinear", "label": "nearest"}


class File(NamedTuple):
    """A scan in a folder that lives as long."""

    path: Path
    folder: tempfile.TemporaryDirectory[str]


class Volume(NamedTuple):
    """An image or a label as a NIfTI file holds it, axes from the innermost to the outermost."""

    kind: str
    values: MetaTensor


def cases(size: str) -> list[Case]:
    """Resampling of images and labels to 0.5 mm and back; ``full`` has the size of a scan."""
    shape = (512, 512, 275) if size == "full" else (192, 192, 128)
    text = "x".join(map(str, shape))
    floors = {("image", False): 3, ("image", True): 2, ("label", False): 8, ("label", True): 4}
    reading = Case(
        name="reading of a compressed NIfTI file",
        size=text,
        prepare=functools.partial(_file, shape),
        peer=Variant("MONAI", _read_by_monai),
        ours=[Variant("at once, isal", _read, floor=2, needs="isal")],
        check=_compare_bits,
    )
    return [
        reading,
        *(
            Case(
                name=f"resampling of {kind}s to 0.5 mm{' and back' if back else ''}",
                size=text,
                prepare=functools.partial(_volume, kind, shape),
                peer=Variant("MONAI", functools.partial(_resample, transform=Spacingd, back=back)),
                ours=[
                    Variant(
                        "axis by axis",
                        functools.partial(_resample, transform=ResampleToSpacingd, back=back),
                        floor=floor,
                        memory_ceiling=0.7,
                    )
                ],
                check=functools.partial(_compare, kind),
            )
            for (kind, back), floor in floors.items()
        ),
    ]


def _volume(kind: str, shape: tuple[int, int, int]) -> Volume:
    mask = coronary_mask(shape)
    values = 100 * noisy_logits(mask) if kind == "image" else mask.astype(np.float32)
    return Volume(kind, MetaTensor(np.asfortranarray(values)[None], affine=torch.as_tensor(AFFINE)))


def _file(shape: tuple[int, int, int]) -> File:
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "scan.nii.gz"
    voxels = (100 * noisy_logits(coronary_mask(shape))).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), path)
    return File(path, folder)


def _read_by_monai(file: File) -> Tensor:
    load = LoadImage(image_only=True, ensure_channel_first=True, reader=NibabelReader())
    return torch.as_tensor(load(file.path))


def _read(file: File) -> Tensor:
    return torch.as_tensor(LoadVolumed("image")({"image": file.path})["image"])


def _compare_bits(ours: Tensor, peer: Tensor) -> str:
    assert ours.dtype == peer.dtype
    assert bool((ours == peer).all())
    return "bit-equal"


def _resample(volume: Volume, transform: type[Spacingd], back: bool) -> Tensor:
    steps = Compose([transform("image", 0.5, mode=MODES[volume.kind], dtype=np.float32)])
    resampled = steps({"image": volume.values})
    return torch.as_tensor((steps.inverse(resampled) if back else resampled)["image"].as_tensor())


def _compare(kind: str, ours: Tensor, peer: Tensor) -> str:
    """Of images the largest difference, which is MONAI's rounding in single precision; labels but for ties."""
    if kind == "label":
        share = float((ours != peer).float().mean())
        assert share < 1e-3, f"{share:.2g} of the voxels differ"
        return f"{share:.1g} of the voxels differ (half way between two)"
    apart = float((ours - peer).abs().max())
    assert apart < 0.5, f"{apart:.2g} HU apart"
    return f"within {apart:.2g} of {float(peer.max() - peer.min()):.0f} HU"
