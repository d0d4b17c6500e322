"""The command that packs bundles for a release."""

from __future__ import annotations

from pathlib import Path

from .archive import RELEASE, pack_bundle, write_model_info

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


def pack(name: str = "all", out: str = "dist", source: str = RELEASE) -> None:
    """Pack bundles into zips that run without this repository.

    Writes ``out/<bundle>_v<version>.zip``, ``out/<bundle>_v<version>_<weights>.pt`` for weights that are too large for
    the model zoo's repository, and ``out/model_info.json``, which names every zip with its checksums. The same bundle
    gives the same bytes. Weights that a training here has written over the released ones are packed, and told.

    Args:
        name: a bundle of the repository, such as casnet_bundle, or "all".
        out: folder to write to.
        source: address of the release that the files will be attached to, for model_info.json and large_files.yml.

    Raises:
        ValueError: If there is no such bundle, or it is not fit for a release; names everything that is wrong.
        OSError: If ``out`` cannot be written.
    """
    known = sorted(path.name for path in BUNDLES.glob("*_bundle"))
    if name not in {"all", *known}:
        raise ValueError(f"there is no bundle {name!r}: name one of {', '.join(known)}, or all")
    for bundle in known if name == "all" else [name]:
        path = pack_bundle(BUNDLES / bundle, out, source)
        info = write_model_info(path, source)
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB  sha256 {info['sha256']}")
        for released in sorted((BUNDLES / bundle / "models").glob("*_released.pt")):
            trained = released.name.replace("_released", "")
            print(f"  its models/{trained} is of a training here: the released weights are {released}")
