"""Writing the zip of a bundle, and the list of what a release holds."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from ..files import replacing, write_json_file
from .checks import check_contents
from .contents import contents_of, large_names, release_name, version_of

RELEASE = "https://github.com/OWNER/REPO/releases/download/TAG"  # of a fork or mirror: the option `source`
EPOCH = (2022, 5, 30, 0, 0, 0)  # of every file in a zip, so that the same content gives the same bytes


def pack_bundle(bundle: Path, out: str | Path, source: str = RELEASE) -> Path:
    """Write the zip of a bundle, and beside it those of its files that are too large for the model zoo's repository.

    Args:
        bundle: folder of the bundle, in this repository.
        out: folder to write to.
        source: address of the release that the files will be attached to.

    Returns:
        Path of ``out/<bundle>_v<version>.zip``, with the one folder ``<bundle>/`` in it.

    Raises:
        ValueError: If the bundle is not fit for a release; names everything that is wrong.
        OSError: If ``out`` cannot be written.
    """
    contents = contents_of(bundle, source)
    check_contents(bundle.name, contents)
    version = version_of(json.loads(contents["configs/metadata.json"]))
    target = Path(out) / release_name(bundle.name, version)
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(f"{bundle.name}/{name}", EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # as on Unix, wherever it is packed
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".pt") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=9)
    for name in large_names(contents):
        with replacing(Path(out) / release_name(bundle.name, version, name)) as temporary:
            temporary.write_bytes(contents[name])
    return target


def write_model_info(archive: Path, source: str = RELEASE) -> dict[str, str]:
    """Enter a zip in ``model_info.json`` beside it, in which MONAI looks up the versions of bundles.

    Args:
        archive: the zip; its name is that of the entry.
        source: address of the release.

    Returns:
        The entry: ``checksum`` (SHA-1, as in the model zoo), ``sha256`` and ``source``.
    """
    content = archive.read_bytes()
    entry = {
        "checksum": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "source": f"{source}/{archive.name}",
    }
    path = archive.with_name("model_info.json")
    known = json.loads(path.read_text("ascii")) if path.is_file() else {}
    write_json_file(path, dict(sorted({**known, archive.stem: entry}.items())))
    return entry
