"""The command ``python -m common segment``: one image in, its mask out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..files import check_writable

# What needs torch is imported when it is used: that takes seconds, and a wrong path is told at once.
BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


@dataclass(frozen=True)
class Segmentation:
    """What was done with an image.

    Attributes:
        bundle: folder of the bundle that made the mask.
        reasons: what was chosen and why, in sentences.
        files: what was written: masks first, then pictures and films, reports last. Frames in a folder are one
            entry, their folder.
    """

    bundle: Path
    reasons: tuple[str, ...]
    files: tuple[Path, ...]

    def __str__(self) -> str:
        """List the results."""
        return "\n".join(["Results:", *(f"  {path}" for path in self.files)])


def segment(
    image: str | Path, bundle: str | Path = "auto", out: str | Path = "segmentation", series: int | str | None = None
) -> Segmentation:
    """Segment the coronary arteries in one image, whatever it is: CT with contrast or without, X-ray still or sequence.

    What it is follows from its header and values; what was chosen and why is printed before the work begins. Where a
    GPU has too little memory, smaller batches are tried, then the CPU.

    Args:
        image: NIfTI, NRRD or MetaImage volume; picture (PNG, BMP, ...); DICOM file; folder of numbered pictures; or
            folder of DICOM files, in which those of several series may lie anywhere.
        bundle: "auto" for the one that fits the image; name of a bundle of this repository; or folder of one, such as
            an unpacked download, whose code is run, so it must come from a place that you trust.
        out: folder for the results; made if it is absent.
        series: which image of a folder: its number in the list that is shown where there are several, or its UID.

    Returns:
        The bundle, the reasons, and the files.

    Raises:
        FileNotFoundError: If there is no such image or bundle, or the bundle has no weights.
        ValueError: If the image cannot be read, is of no known kind or may be of several, or a folder holds several.
        OSError: If ``out`` cannot be written.
    """
    image, out = Path(str(image)), Path(str(out))  # fire makes numbers of names such as 12
    if not image.exists():
        raise FileNotFoundError(f"there is no file or folder {image}; give the image to segment")
    named = None if str(bundle) == "auto" else _bundle_folder(str(bundle))
    check_writable(out)
    with TemporaryDirectory(prefix="segment_") as temporary:
        return _segment(image, named, out, series, Path(temporary))


def _bundle_folder(name: str) -> Path:
    """Return the folder of a bundle that is named, or given as a folder."""
    for folder in (BUNDLES / name, Path(name)):
        if (folder / "configs").is_dir():
            return folder
    known = ", ".join(sorted(path.name for path in BUNDLES.glob("*_bundle"))) or f"none in {BUNDLES}"
    raise FileNotFoundError(
        f"there is no bundle {name!r}: name one of this repository ({known}), or give the folder of one"
    )


def _segment(image: Path, named: Path | None, out: Path, series: int | str | None, temporary: Path) -> Segmentation:
    """Choose what is left to choose, run the bundle, and collect what it wrote."""
    from ..preview import preview
    from .recognise import recognise
    from .running import run_inference
    from .series import find_image

    found = find_image(image, series, temporary)
    reasons = [found.said] if found.said else []
    print(*reasons, sep="\n", end="\n" * len(reasons), flush=True)  # also where the image is refused next
    if named is None:
        recognition = recognise(found.path, found.header)
        said = [*recognition.reasons, recognition.choice]
        print(*said, sep="\n")
        reasons += said
        named = _bundle_folder(recognition.bundle)
    print(f"{named.name} runs now.", flush=True)
    before = _times(out)
    options = run_inference(named, found.path, out)
    if "film" not in options:  # of X-ray images the bundles themselves write something to look at
        preview(str(found.path), str(out), str(out))
    written = [path for path, time in _times(out).items() if before.get(path) != time]
    written.sort(key=lambda path: ("_seg" not in path.name, path.suffix == ".json", path))
    return Segmentation(named, tuple(reasons), tuple(written))


def _times(folder: Path) -> dict[Path, int]:
    """Return when each entry of a folder was written; not of hidden ones, such as files half written by others."""
    return {path: path.lstat().st_mtime_ns for path in folder.iterdir() if not path.name.startswith(".")}
