"""Grey values of picture files (PNG, PGM, BMP, JPEG, TIFF), however the grey was stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_PLAIN = {"1": "L", "P": "RGBA", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}  # modes whose numbers are no grey values
_BITS = {"uint8": 8, "uint16": 16, "int32": 16}  # Pillow gives 16-bit PGM as int32


def read_picture(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read one picture.

    Args:
        path: picture of 8 or 16 bits in grey, in a palette of greys, or in colour of equal channels.

    Returns:
        Grey values ``(H, W)``, 0 to ``2 ** bits - 1``, and the bits, 0 for floating-point TIFF. Pillow stretches PGM
        files whose largest value is not 255 or 65535.

    Raises:
        ValueError: If the picture has colours, several pages, or transparent parts.
        OSError: If it is damaged.
    """
    with Image.open(path) as file:
        check_one_page(file, path)
        pixels = np.asarray(file.convert(_PLAIN[file.mode]) if file.mode in _PLAIN else file)
    if pixels.ndim == 3:
        pixels = one_channel(_without_alpha(pixels, path), path)
    return pixels.astype(np.float32), _BITS.get(pixels.dtype.name, 0)


def check_one_page(picture: Image.Image, path: Path) -> None:
    """Raise a ``ValueError`` if an opened picture has several pages, as TIFF files can."""
    pages = getattr(picture, "n_frames", 1)
    if pages > 1:
        raise ValueError(
            f"{path} has {pages} pages; save them as numbered files in a folder, or as one NIfTI file (W, H, T)"
        )


def one_channel(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return the one grey channel that equal channels stand for.

    Args:
        pixels: ``(*spatial, channels)``.
        path: file they were read from.

    Raises:
        ValueError: If the channels differ.
    """
    first = pixels[..., 0]
    for channel in range(1, pixels.shape[-1]):
        differing = int((pixels[..., channel] != first).sum())
        if differing:
            raise ValueError(
                f"{path} is a colour image: its channels differ in {differing} of {first.size} pixels. Export the "
                "angiogram in grey, without coloured text or overlays"
            )
    return np.ascontiguousarray(first)


def _without_alpha(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Drop an opacity, the last of 2 or 4 channels, that is the same everywhere."""
    if pixels.shape[-1] not in (2, 4):
        return pixels
    if np.ptp(pixels[..., -1]) > 0:
        raise ValueError(f"{path} has transparent parts; export the angiogram without transparency (alpha channel)")
    return pixels[..., :-1]
