"""Writing the masks and probability maps of angiograms in the form that the angiogram came in, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.config import DtypeLike, KeysCollection
from monai.data import MetaTensor
from monai.transforms import SaveImaged
from monai.utils import ImageMetaKey, MetaKeys
from numpy.typing import NDArray
from PIL import Image

from ..files import check_writable, replacing
from .sources import angiogram_case_name, frame_files


class SaveAngiogramd(SaveImaged):
    """Write masks as their angiogram came: a picture for a picture, NIfTI for NIfTI and DICOM, a folder for a folder.

    ============================  ===============================================================================
    angiogram                     written to ``output_dir``
    ============================  ===============================================================================
    picture (PNG, PGM, ...)       ``<case>_<postfix>.png``, 0 and 255
    NIfTI                         ``<case>_<postfix>.nii.gz``, 0 and 1, with the angiogram's axes and affine
    DICOM                         the same, of axes ``(W, H)`` or ``(W, H, T)``, with the pixel size in the affine
    folder of pictures            ``<case>_<postfix>/`` of PNG files, each named like the frame it belongs to
    ============================  ===============================================================================

    With a floating-point ``output_dtype`` the items are taken as probabilities: NIfTI is then float32, a PNG has 16
    bits, of which 65535 is 1.

    MONAI's ``SaveImaged`` writes one format for all inputs, leaves half a file where the disk is full, and cuts names
    at a dot. This stays a ``SaveImaged`` because MONAI Label, which writes files itself, drops those.

    Args:
        keys: items to write, ``(T, H, W)`` on the pixels of the loaded angiogram (after ``Invertd``), with the metadata
            that :class:`.loading.LoadAngiogramd` gave it.
        output_dir: folder to write to; made if it is absent.
        postfix: what stands between the case and the suffix; with several keys they need one transform each.
        output_dtype: unsigned bytes for a mask, ``float32`` for a probability map.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        postfix: str = "seg",
        output_dtype: DtypeLike = np.uint8,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, output_dir=output_dir, allow_missing_keys=allow_missing_keys)
        self.output_dir = Path(output_dir)
        self.postfix = postfix
        self.output_dtype = np.dtype(output_dtype)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the items and return ``data`` unchanged.

        The case is ``data["case"]`` where the data list gives it, else the file name of the input.

        Raises:
            OSError: If the folder or a file cannot be written; no part of the output remains.
            ValueError: If an item is not ``(T, H, W)`` with the metadata of a loaded angiogram.
        """
        for key in self.key_iterator(dict(data)):
            item = data[key]
            _check(item, key)
            case = data.get("case") or angiogram_case_name(item.meta[ImageMetaKey.FILENAME_OR_OBJ])
            self._write(item, self.output_dir / f"{case}_{self.postfix}")
        return dict(data)

    def _write(self, item: MetaTensor, stem: Path) -> None:
        """Write one item; ``stem`` is its path without suffix."""
        frames = item.numpy(force=True)
        kind = item.meta["format"]
        if kind == "image":
            with replacing(stem.with_name(stem.name + ".png")) as part:
                self._save_png(frames[0], part)
        elif kind == "folder":
            names = [file.stem for file in frame_files(item.meta[ImageMetaKey.FILENAME_OR_OBJ])]
            with _replacing_folder(stem) as folder:
                for frame, number in zip(frames, item.meta["frames"], strict=True):
                    self._save_png(frame, folder / f"{names[int(number)]}.png")
        else:
            with replacing(stem.with_name(stem.name + ".nii.gz")) as part:
                self._save_nifti(frames, item.meta, part)

    def _save_png(self, frame: NDArray[Any], path: Path) -> None:
        """Write one frame: bytes 0 and 255, or 16 bits for a probability."""
        if np.issubdtype(self.output_dtype, np.floating):
            Image.fromarray(np.rint(np.clip(frame, 0, 1) * 65535).astype(np.uint16)).save(path)
        else:
            Image.fromarray(np.where(frame > 0, 255, 0).astype(np.uint8)).save(path, optimize=False)

    def _save_nifti(self, frames: NDArray[Any], meta: Mapping[str, Any], path: Path) -> None:
        """Write all frames, of axes ``(W, H)``, ``(W, H, T)`` or, where the angiogram has them, ``(W, H, 1, T)``."""
        affine = np.asarray(meta[MetaKeys.ORIGINAL_AFFINE], dtype=np.float64)
        voxels = frames.astype(self.output_dtype).transpose(2, 1, 0)
        in_time = int(meta.get("frame_axis", 2)) == 3 and len(frames) > 1
        if len(frames) == 1:
            voxels = voxels[..., 0]
        elif in_time:
            voxels = voxels[:, :, None]
        image: Any = nibabel.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
        image.header.set_xyzt_units("mm", "msec" if in_time else None)
        if in_time:
            image.header.set_zooms((*image.header.get_zooms()[:3], float(meta["frame_ms"])))
        for set_form in (image.set_sform, image.set_qform):  # viewers read one or the other
            set_form(affine, code="scanner")
        nibabel.save(image, path)


def _check(item: Any, key: Hashable) -> None:
    """Raise unless ``item`` is a sequence of frames that knows the angiogram it belongs to."""
    if not isinstance(item, MetaTensor) or item.ndim != 3:
        raise ValueError(
            f"{key!r} must be a MetaTensor (T, H, W), as Invertd leaves it, got a {type(item).__name__} of "
            f"{tuple(item.shape)}"
        )
    missing = [name for name in (ImageMetaKey.FILENAME_OR_OBJ, "format", "frames") if name not in item.meta]
    if missing:
        raise ValueError(f"{key!r} does not know its angiogram: its metadata has no {', '.join(missing)}")
    if len(item) != len(item.meta["frames"]):
        raise ValueError(f"{key!r} has {len(item)} frames, its angiogram {len(item.meta['frames'])}")


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``, which takes its place if the block succeeds and is removed if not."""
    check_writable(path.parent)
    temporary = path.with_name(f".part.{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    except OSError as error:
        raise OSError(f"cannot write {path} ({error}): free some space, or choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
