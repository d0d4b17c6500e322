"""What MONAI's metadata schema asks for, checked without a network connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

TEXT, OBJECT = str, Mapping
FIELDS: dict[str, type] = {  # type of each field that the schema knows
    **dict.fromkeys(("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task"), TEXT),
    **dict.fromkeys(("description", "authors", "copyright", "data_source", "data_type", "intended_use"), TEXT),
    **dict.fromkeys(("image_classes", "label_classes", "pred_classes"), TEXT),
    **dict.fromkeys(("required_packages_version", "changelog", "eval_metrics", "supported_apps"), OBJECT),
    **dict.fromkeys(("references",), list),
    **dict.fromkeys(("network_data_format",), OBJECT),
}
REQUIRED = (
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
)
TENSOR: dict[str, type] = {
    **dict.fromkeys(("type", "format", "dtype"), str),
    **dict.fromkeys(("num_channels",), int),
    **dict.fromkeys(("spatial_shape", "value_range"), list),
}
OPTIONAL: dict[str, type] = {"is_patch_data": bool, "channel_def": OBJECT}  # of a tensor


def metadata_problems(metadata: Mapping[str, Any]) -> list[str]:
    """Return what in ``metadata.json`` does not fit the schema 20240725; an empty list if all does.

    Args:
        metadata: content of the file.

    Source:
        https://github.com/Project-MONAI/MONAI-extra-test-data/releases, meta_schema_20240725.json: required fields and
        types. MONAI's own ``verify_metadata`` downloads that file.
    """
    return list(_problems(metadata))


def _problems(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{name} is missing" for name in REQUIRED if name not in metadata)
    yield from _wrong_types("", metadata, FIELDS)
    yield from _items("references", metadata.get("references", []), (str,))
    for name, network in metadata.items():
        if name.endswith("_data_format") and isinstance(network, Mapping):
            for kind in ("inputs", "outputs"):
                if not isinstance(network.get(kind), Mapping):
                    yield f"{name}.{kind} must be an object"
            for kind in ("inputs", "outputs", "post_processed_outputs"):
                tensors = network.get(kind)
                if isinstance(tensors, Mapping):
                    for key, tensor in tensors.items():
                        yield from _tensor(f"{name}.{kind}.{key}", tensor)


def _tensor(where: str, tensor: Any) -> Iterator[str]:
    """Check the description of one input or output; the schema admits plain values too."""
    if isinstance(tensor, (bool, int, float, str)):
        return
    if not isinstance(tensor, Mapping):
        yield f"{where} must be an object or a plain value"
        return
    yield from (f"{where}.{name} is missing" for name in TENSOR if name not in tensor)
    yield from _wrong_types(f"{where}.", tensor, TENSOR | OPTIONAL)
    yield from _items(f"{where}.spatial_shape", tensor.get("spatial_shape", []), (str, int))
    yield from _items(f"{where}.value_range", tensor.get("value_range", []), (int, float))


def _wrong_types(where: str, content: Mapping[str, Any], kinds: Mapping[str, type]) -> Iterator[str]:
    for name, kind in kinds.items():
        value = content.get(name)
        if name in content and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            yield f"{where}{name} must be of type {kind.__name__}, got {value!r}"


def _items(where: str, values: Any, kinds: tuple[type, ...]) -> Iterator[str]:
    """Check what a list holds; that it is a list is checked elsewhere."""
    if isinstance(values, list):
        wrong = [value for value in values if not isinstance(value, kinds) or isinstance(value, bool)]
        yield from (
            f"{where} must hold {' or '.join(kind.__name__ for kind in kinds)}, got {value!r}" for value in wrong
        )
