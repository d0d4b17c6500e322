"""The command that converts published checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.bundle import ConfigParser
from torch import nn

from ..axis_order import with_axcodes
from ..files import check_writable, replacing, sha256_of, write_json_file
from ..weights import halve_weights, keep_released
from .comparing import compare_with_file, compare_with_module, random_input, write_check
from .mapping import Mapped, describe, map_tensors, match_norm_eps
from .reading import Checkpoint, is_hdf5, read_checkpoint
from .source import Pair, Source

TABLE = "PUBLISHED"  # in <package>.published: the sources of a bundle by name


class Conversion(NamedTuple):
    """A checkpoint as weights of a bundle."""

    name: str
    source: Source
    network: nn.Module
    """What the checkpoint fills, with its weights."""
    mapped: Mapped
    changed_norms: int
    checkpoint: Checkpoint | None
    """What the file held; None for HDF5."""


def convert(
    checkpoint: str,
    bundle: str = ".",
    out: str | None = None,
    source: str = "auto",
    allow_pickle: bool = False,
    half: bool = False,
    verify: str | None = None,
    overwrite: bool = False,
    **overrides: Any,
) -> str:
    """Convert a published checkpoint to weights of a bundle.

    Every tensor is mapped by its position, and shapes, roles and known names must agree; the map is printed. Beside the
    weights are written ``<stem>.json``, which says where they come from and is an overlay for inference and evaluation
    with the options under which the network was published, and, unless the outputs could be compared,
    ``<stem>_check.npz`` with an input and our output, for owners of the original network to compare.

    Args:
        checkpoint: file to convert: a state dict of torch, a training's checkpoint with one in it, or Keras' HDF5.
        bundle: folder of the bundle, or its name in the repository.
        out: file to write; by default models/model.pt of the bundle. Released weights there are kept as
            ``<stem>_released.pt``.
        source: kind of checkpoint, as the bundle's page lists them; "auto" finds it where names and shapes decide.
        allow_pickle: run code that the file names or holds, if it does; only for a file that you trust.
        half: write parameters in half precision, as weights are released; else in float32, which is exact.
        verify: .npz file with the arrays ``input`` and ``output`` of the original network, to compare with.
        overwrite: replace weights that are not the released ones.
        overrides: options of the network, such as ``--network_def::out_channels 3``.

    Returns:
        The file of the weights.

    Raises:
        FileNotFoundError: If there is no checkpoint or no bundle.
        ValueError: If the checkpoint does not fit, needs code, or computes something else; nothing is written then.
        OSError: If files cannot be written.
    """
    file, root = Path(checkpoint), _bundle(bundle)
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint at {file}: fetch it first; nothing is downloaded here")
    package, config = _config(root, overrides)
    conversion = _convert(file, config, _sources(package, source), allow_pickle)
    target = Path(out) if out else root / "models" / conversion.source.file
    _check_replaceable(target, overwrite)
    print(describe(conversion.mapped.pairs))
    compared = _compared(conversion, verify)
    weights = {target: conversion.mapped.pairs, **_companions(conversion, target)}
    for path, pairs in weights.items():
        _write(pairs, path, half)
    check = target.with_name(f"{target.stem}_check.npz")
    check.unlink(missing_ok=True)  # of an earlier conversion
    if compared is None:
        write_check(conversion.network, random_input(conversion.source.input_shape(conversion.network)), check)
    overlay = _overlay(conversion.source, package, overrides)
    write_json_file(target.with_suffix(".json"), {"converted": _origin(conversion, file, compared, half), **overlay})
    _tell(conversion, list(weights), compared)
    if overlay:
        _tell_command(target, root)
    return str(target)


def _bundle(name: str) -> Path:
    for root in (Path(name), Path("bundles") / name):
        if any((root / "configs" / f"inference.{suffix}").is_file() for suffix in ("yaml", "json")):
            return root.resolve()
    raise FileNotFoundError(
        f"no bundle at {name}: give with --bundle a folder that holds configs/inference, or its name in bundles/"
    )


def _config(root: Path, overrides: Mapping[str, Any]) -> tuple[str, ConfigParser]:
    """Return the name of a bundle's package, and its inference config with the user's options."""
    config = ConfigParser()
    config.read_config(next(path for path in sorted(root.glob("configs/inference.*"), reverse=True)))
    for name, value in overrides.items():
        if not name.startswith("network_def::") and name not in config:
            raise ValueError(f"there is no option {name!r}: options of the network look like --network_def::width")
        config[name] = value
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return str(config["network_def::_target_"]).split(".")[0], config


def _sources(package: str, name: str) -> dict[str, Source]:
    """Return the kinds of checkpoints of a bundle that ``name`` leaves open."""
    try:
        known: dict[str, Source] = getattr(import_module(f"{package}.published"), TABLE)
    except ModuleNotFoundError as error:
        raise ValueError(f"the bundle of {package!r} knows no published checkpoints ({error})") from error
    if name == "auto":
        return known
    if name not in known:
        raise ValueError(f"source must be auto or one of {', '.join(known)}, got {name!r}")
    return {name: known[name]}


def _convert(file: Path, config: ConfigParser, sources: Mapping[str, Source], allow_pickle: bool) -> Conversion:
    """Convert with the one source that fits."""
    hdf5 = is_hdf5(file)
    fitting = {name: source for name, source in sources.items() if (source.read_hdf5 is not None) == hdf5}
    if not fitting:
        kind = "a HDF5 file, as Keras writes it," if hdf5 else "no HDF5 file"
        raise ValueError(f"{file} is {kind} which none of these sources is: {', '.join(sources)}")
    checkpoint = None if hdf5 else read_checkpoint(file, allow_pickle)
    results = [_try(name, source, file, checkpoint, _network(config, source)) for name, source in fitting.items()]
    found = [result for result in results if isinstance(result, Conversion)]
    if len(found) > 1:
        names = " or ".join(conversion.name for conversion in found)
        raise ValueError(
            f"{file} fits {names}: their tensors are alike, their images were prepared differently; say which it is "
            "with --source"
        )
    if not found:
        raise ValueError("; ".join(map(str, results)))
    return found[0]


def _try(name: str, source: Source, file: Path, checkpoint: Checkpoint | None, network: nn.Module) -> Conversion | str:
    """Convert with one source, or return why that cannot be."""
    try:
        return _fit(name, source, file, checkpoint, network)
    except ValueError as error:
        return f"{file} is no checkpoint of {source.title} ({name}): {error}"


def _network(config: ConfigParser, source: Source) -> nn.Module:
    """Build what the checkpoint fills."""
    defined = dict(config["network_def"])
    for name, value in source.options.items():
        if name.startswith("network_def::"):
            defined.setdefault(name.removeprefix("network_def::"), value)
    parser = ConfigParser({**config.get(), "network_def": defined})
    network: nn.Module = parser.get_parsed_content("network_def")
    return network.get_submodule(source.part).eval()


def _fit(name: str, source: Source, file: Path, checkpoint: Checkpoint | None, network: nn.Module) -> Conversion:
    if source.read_hdf5:
        mapped = Mapped(source.read_hdf5(file, network), known=True)
    else:
        mapped = map_tensors(checkpoint.tensors if checkpoint else {}, network, source)
    pairs, changed = match_norm_eps(mapped.pairs, network, source.norm_eps)
    network.load_state_dict({pair.ours: pair.tensor for pair in pairs})
    return Conversion(name, source, network, mapped._replace(pairs=pairs), changed, checkpoint)


def _check_replaceable(target: Path, overwrite: bool) -> None:
    """Refuse to replace weights that are kept nowhere else, and names that are none of weights."""
    if target.suffix != ".pt":
        raise ValueError(f"out must be a file that ends in .pt, got {target}")
    kept = target.with_name(f"{target.stem}_released{target.suffix}")
    if target.exists() and kept.exists() and target.read_bytes() != kept.read_bytes() and not overwrite:
        raise ValueError(
            f"{target} holds weights that are not the released ones ({kept.name} has those): name another file with "
            "--out, or give --overwrite True"
        )
    check_writable(target.parent)


def _compared(conversion: Conversion, verify: str | None) -> str | None:
    """Compare outputs where that can be done, and return what was found."""
    if verify:
        return compare_with_file(conversion.network, verify)
    module = conversion.checkpoint.module if conversion.checkpoint else None
    if module is None:
        return None
    image = random_input(conversion.source.input_shape(conversion.network))
    return compare_with_module(conversion.network, module, image)


def _companions(conversion: Conversion, target: Path) -> dict[Path, list[Pair]]:
    """Return what else the checkpoint holds, such as heads, by the file that it becomes."""
    content = conversion.checkpoint.content if conversion.checkpoint else None
    found = {}
    for companion in conversion.source.companions:
        if isinstance(content, Mapping) and isinstance(content.get(companion.entry), Mapping):
            module = companion.build(conversion.network)
            path = target.with_name(f"{target.stem}_{companion.suffix}.pt")
            found[path] = map_tensors(content[companion.entry], module, conversion.source).pairs
    return found


def _write(pairs: list[Pair], path: Path, half: bool) -> None:
    keep_released(path)
    with replacing(path) as temporary:
        torch.save({pair.ours: pair.tensor.clone() for pair in pairs}, temporary)
        if half:
            halve_weights(temporary, temporary)


def _overlay(source: Source, package: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options under which the network was published; none for a part of a network."""
    if source.part:
        return {}
    options = {**source.options, **overrides}
    if source.axcodes:
        target = f"{package}.common.axis_order.{with_axcodes.__name__}"
        options["network"] = {
            "_target_": target,
            "network": "$@network_def.to(@device)",
            "axcodes": source.axcodes,
        }
    return options


def _origin(conversion: Conversion, file: Path, compared: str | None, half: bool) -> dict[str, Any]:
    """Return where weights come from."""
    return {
        "file": file.name,
        "sha256": sha256_of(file),
        "source": conversion.name,
        "title": conversion.source.title,
        "entry": conversion.checkpoint.entry if conversion.checkpoint else "",
        "names_as_published": conversion.mapped.known,
        "norms_adapted": conversion.changed_norms,
        "compared": compared,
        "half": half,
        "notes": list(conversion.source.notes),
        "map": [f"{pair.ours} {list(pair.tensor.shape)} <- {pair.theirs}" for pair in conversion.mapped.pairs],
    }


def _tell(conversion: Conversion, written: list[Path], compared: str | None) -> None:
    """Print what was done, and what is open."""
    print(f"\n{conversion.source.title} ({conversion.name}): {len(conversion.mapped.pairs)} tensors")
    if not conversion.mapped.known:
        print("names are not the published ones: mapped by position, shape and grouping alone")
    if conversion.changed_norms:
        own = conversion.source.norm_eps
        print(f"{conversion.changed_norms} batch norms: factors adapted, because theirs add {own} to the variance")
    check = written[0].with_name(f"{written[0].stem}_check.npz")
    print(
        compared
        or f"not compared: run the original network in evaluation mode on `input` of {check}; its output should be\n"
        "`output` there, or the sigmoid of it. Or save both in an .npz file and convert again with --verify FILE"
    )
    for note in conversion.source.notes:
        print(f"note: {note}")
    for path in written[1:]:
        print(f"wrote {path}")


def _tell_command(target: Path, root: Path) -> None:
    """Print how to run the network as published, from the bundle's folder."""
    target = target.resolve()
    default = target == root / "models" / "model.pt"
    overlay = target.with_suffix(".json")
    name = overlay.relative_to(root) if overlay.is_relative_to(root) else overlay
    config = next(path.name for path in sorted(root.glob("configs/inference.*"), reverse=True))
    command = f"python -m monai.bundle run --config_file \"['configs/{config}','{name}']\" --image SCAN"
    print(f"as published, in {root}:\n  {command}{'' if default else f' --checkpoint {target}'}")
