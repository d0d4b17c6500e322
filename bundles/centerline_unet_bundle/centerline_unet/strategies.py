"""Where training patches come from, by name."""

from __future__ import annotations

from monai.transforms import MapTransform


def chosen(strategy: str, **cutters: MapTransform) -> MapTransform:
    """Return the transform that cuts patches by a strategy.

    A config could switch transforms off instead; but with a mistyped name nothing would be cut.

    Args:
        strategy: name of one of the others.
        cutters: transforms by name.

    Raises:
        ValueError: If there is none of that name.
    """
    if strategy not in cutters:
        raise ValueError(f"strategy must be one of {', '.join(cutters)}, got {strategy!r}")
    return cutters[strategy]
