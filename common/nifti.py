"""Compressed NIfTI files, read at once and checked: several times as fast as MONAI's reader."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.config import PathLike
from monai.data import MetaTensor, NibabelReader
from monai.data.utils import correct_nifti_header_if_necessary
from monai.transforms import LoadImage
from monai.utils import ensure_tuple

_fast = find_spec("isal") is not None  # optional, so not for everybody
HEADERS = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}  # by the length that a header begins with


def load_nifti(path: Path, load: LoadImage) -> MetaTensor:
    """Load a NIfTI file.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        load: MONAI's transform, which makes the metadata.

    Returns:
        What MONAI's ``NibabelReader`` gives, ``(1, X, Y, Z)``, but X is the innermost axis in memory, as in the file.

    Raises:
        OSError, EOFError, ValueError, RuntimeError, HeaderDataError, WrapStructError: If the file is damaged.
    """
    reader = WholeFileReader()
    volume: MetaTensor = load(path, reader)
    return volume.permute(0, 3, 2, 1) if reader.reversed else volume  # type: ignore[return-value]


def whole_image(path: Path) -> Any:
    """Return nibabel's image of a NIfTI file, unpacked at once and checked to the end.

    ISA-L (the package ``isal``, where it is installed, else Python's own gzip) checks the length and the checksum of
    what it unpacks, so a damaged file is refused; ITK, which is as fast, returns such a file as if it were whole.

    Args:
        path: ``.nii`` or ``.nii.gz``.

    Returns:
        A ``Nifti1Image`` or ``Nifti2Image``; None where the file begins like neither.

    Raises:
        EOFError: If the file ends too early.
        OSError: If it cannot be read, or its checksum is wrong.
        HeaderDataError, WrapStructError: If its header is damaged.
    """
    content = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        content = _unpack(content)
    kind = HEADERS.get(int.from_bytes(content[:4], "little")) or HEADERS.get(int.from_bytes(content[:4], "big"))
    return kind and kind.from_bytes(content)


class WholeFileReader(NibabelReader):
    """MONAI's NIfTI reader for compressed files: unpacked at once, and never turned in memory.

    See :func:`whole_image`. The geometry is nibabel's. MONAI would turn the voxels in memory, which takes longer than
    to read them, so a volume of three axes comes with its axes in reverse; :attr:`reversed` says so. What is not
    compressed, has other axes or no real numbers, or is neither NIfTI-1 nor NIfTI-2 is left to MONAI.
    """

    reversed = False

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Any:
        """Return the image of one file, or those of several.

        Raises:
            EOFError: If the file ends too early.
            OSError: If its checksum is wrong.
        """
        names = ensure_tuple(data)
        if len(names) == 1 and str(names[0]).lower().endswith(".gz"):
            image = whole_image(Path(names[0]))
            if image is not None:
                self.filenames = names
                return correct_nifti_header_if_necessary(image)  # type: ignore[no-untyped-call]
        return super().read(data, **kwargs)

    def _get_array_data(self, img: Any, filename: PathLike) -> Any:
        """Return the voxels as float32, ``(Z, Y, X)`` where they are taken from a whole file."""
        stored, voxels = img.file_map["image"].fileobj, img.dataobj
        if not isinstance(stored, BytesIO) or len(img.shape) != 3 or voxels.dtype.kind not in "iuf":
            return super()._get_array_data(img, filename)  # type: ignore[no-untyped-call]
        if min(img.shape) < 1:
            raise ValueError(f"its header says {img.shape} voxels")
        self.reversed = True
        values = np.frombuffer(stored.getbuffer(), voxels.dtype, int(np.prod(img.shape)), voxels.offset)
        values = values.reshape(img.shape[::-1])
        if (voxels.slope, voxels.inter) == (1, 0):
            return values.astype(np.float32)
        scaled = np.empty(values.shape, np.float32)
        for index, plane in enumerate(values):  # in double precision, which would be too much for the whole
            scaled[index] = plane * np.float64(voxels.slope) + np.float64(voxels.inter)
        return scaled


def _unpack(content: bytes) -> bytes:
    """Return what a gzip file holds."""
    if not _fast:
        return gzip.decompress(content)
    try:
        unpacked: bytes = import_module("isal.igzip").decompress(content)
        return unpacked
    except import_module("isal.igzip_lib").IsalError as error:  # ISA-L's own kind of zlib.error
        raise OSError(f"the compressed data are damaged: {error}") from error
