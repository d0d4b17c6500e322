"""Several renderings of one anatomy as channels of one image: loading, choosing a pair, and changing each by itself."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, Randomizable
from torch import Tensor

from .common.grids import describe_difference
from .common.loading import CheckVolumed, LoadVolumed, file_of, grid_of


class AddViewsd(MapTransform):
    """Replace an image by all renderings that the case has of it, ``(V, X, Y, Z)``; alone it stays as it is.

    Args:
        keys: the loaded image, ``(1, X, Y, Z)``.
        views_key: item with the paths of all its renderings; nothing happens where a case has none.
        window_hu: see :class:`.common.loading.CheckVolumed`, which every rendering must pass.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self,
        keys: KeysCollection,
        views_key: str = "views",
        window_hu: Sequence[float] = (-150.0, 250.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.views_key = views_key
        self.load = LoadVolumed("view")
        self.check = CheckVolumed("view", window_hu, thick_slice_mm=np.inf)  # of the image itself it was said

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the renderings; the metadata are the image's.

        Raises:
            ValueError: If a rendering does not lie on the image.
        """
        added = dict(data)
        paths = added.pop(self.views_key, None)
        if paths:
            for key in self.key_iterator(added):
                image = added[key]
                channels = [self._load(path, image, str(key)) for path in paths]
                added[key] = MetaTensor(torch.cat(channels), meta=image.meta)
        return added

    def _load(self, path: str, image: MetaTensor, key: str) -> Tensor:
        view = self.check(self.load({"view": path}))["view"]
        difference = describe_difference(grid_of(image), grid_of(view))
        if difference:
            raise ValueError(
                f"{path} does not lie on {file_of(image, key)}, though both are views of one case: {difference}"
            )
        return torch.as_tensor(view.as_tensor())


class RandPairViewsd(Randomizable, MapTransform):
    """Choose two of the views of an image, in random order; a single view is paired with itself.

    Args:
        keys: images of V views, ``(V, *spatial)``; become ``(2, *spatial)``.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self._pair = [0, 0]

    def randomize(self, count: int) -> None:
        """Draw two different ones of ``count`` views."""
        self._pair = [0, 0] if count == 1 else self.R.choice(count, 2, replace=False).tolist()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw a pair for every item."""
        paired = dict(data)
        for key in self.key_iterator(paired):
            self.randomize(len(paired[key]))
            paired[key] = paired[key][self._pair]
        return paired


class EachViewd(Randomizable, MapTransform):
    """Apply random transforms to every channel of an item by itself, with draws of its own.

    MONAI's dictionary transforms change all channels alike, and a few array transforms have ``channel_wise``; the
    contrastive term needs views that differ.

    Args:
        keys: items ``(C, *spatial)``.
        transforms: array transforms; each sees one channel ``(1, *spatial)``.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, transforms: Sequence[Any], allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.compose = Compose(transforms)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> EachViewd:
        """Seed the transforms."""
        super().set_random_state(seed, state)
        self.compose.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the channels of every item."""
        changed = dict(data)
        for key in self.key_iterator(changed):
            changed[key] = torch.cat([self.compose(channel[None]) for channel in changed[key]])
        return changed
