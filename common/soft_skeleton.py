"""Soft skeletons: what repeated soft openings leave over, differentiable, for losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.autograd.function import once_differentiable

try:
    from .accelerated import soft_skeleton as _kernels
except ImportError:  # numba is optional
    _kernels = None  # type: ignore[assignment]

# A step of the plain route on a CPU works on about so many voxels, so that all it touches stays in the cache.
_SLAB_VOXELS = 2**17


def soft_skeleton(probabilities: Tensor, iterations: int) -> Tensor:
    """Soft skeleton of each channel, equal to MONAI's ``soft_skel`` at a fraction of its time and memory.

    A level takes away what an opening (3-voxel cross erosion, 3 x 3 x 3 dilation) removes and goes on with the eroded
    image, so a vessel is reduced to its middle only if its radius in voxels is at most ``iterations``.

    Args:
        probabilities: values in [0, 1], ``(B, C, X, Y, Z)`` or ``(B, C, H, W)``; computed in float32.
        iterations: erosions before the last opening, at least 0.

    Returns:
        Skeleton in [0, 1], same shape, float32. Differentiable once; where neighbours have equal values one of them
        receives the gradient. On a GPU the gradient is summed by atomic additions in no fixed order.

    Raises:
        ValueError: If the shape, the range or the number of iterations is not as above.

    Source:
        Shit et al., "clDice", CVPR 2021, https://arxiv.org/abs/2003.07311, with the structuring elements of the
        authors' code and of ``monai.losses.cldice.soft_skel`` (MONAI 1.6.1).
    """
    _check(probabilities, iterations)
    probabilities = _plain(probabilities)
    low, high = torch.aminmax(probabilities.detach())
    if low < 0 or high > 1:  # NaN passes: it must reach the loss, where a gradient scaler looks for it
        raise ValueError(
            f"probabilities must lie in [0, 1], got {low.item():.4g} to {high.item():.4g}: "
            "apply the sigmoid or softmax first"
        )
    skeleton: Tensor = _SoftSkeleton.apply(  # type: ignore[no-untyped-call]
        _as_volumes(probabilities.float()), iterations + 1
    )
    return skeleton.view(probabilities.shape)


def soft_skeleton_of_label(label: Tensor, iterations: int) -> tuple[Tensor, bool]:
    """The same skeleton of a binary mask, without gradient and several times cheaper.

    Args:
        label: values 0 and 1 of any type, ``(B, C, X, Y, Z)`` or ``(B, C, H, W)``.
        iterations: as for :func:`soft_skeleton`.

    Returns:
        Boolean skeleton of the same shape, and whether it is complete: False if the label is thicker than
        ``iterations`` voxels somewhere, so that the middle of the vessel is missing from its skeleton.

    Raises:
        ValueError: If the shape or the number of iterations is not as above.
    """
    _check(label, iterations)
    masks = _as_volumes(_plain(label) != 0).to(torch.uint8)
    skeletons = torch.zeros_like(masks)
    complete = True
    for mask, skeleton in zip(masks, skeletons, strict=True):
        box = _foreground_box(mask)
        opened = skeleton[box]
        for _, eroded, opened in _levels(mask[box].contiguous(), iterations + 1, slab=None):
            skeleton[box] |= eroded > opened
            if not opened.any():
                break
        complete = complete and not opened.any()
    return skeletons.view(label.shape).bool(), complete


def _check(image: Tensor, iterations: int) -> None:
    if image.ndim not in (4, 5) or image.numel() == 0:
        raise ValueError(f"the image must be (B, C, H, W) or (B, C, X, Y, Z) and not empty, got {tuple(image.shape)}")
    if iterations < 0:
        raise ValueError(f"iterations must be at least 0, got {iterations}")


def _plain(image: Tensor) -> Tensor:
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def _as_volumes(image: Tensor) -> Tensor:
    """Every channel as a volume ``(B * C, X, Y, Z)``; the rows of a 2-D image become planes one voxel thick."""
    spatial = image.shape[2:] if image.ndim == 5 else (image.shape[2], 1, image.shape[3])
    return image.reshape(-1, *spatial).contiguous()


def _foreground_box(mask: Tensor) -> tuple[slice, ...]:
    """Box of the foreground and one voxel around it; all that is outside of it stays 0 in every step."""
    box = []
    for dim in range(mask.ndim):
        others = [axis for axis in range(mask.ndim) if axis != dim]
        found = mask.amax(others).nonzero()
        box.append(slice(max(int(found[0]) - 1, 0), int(found[-1]) + 2) if len(found) else slice(0, 1))
    return tuple(box)


class _SoftSkeleton(torch.autograd.Function):
    """Skeletons of float32 volumes ``(N, X, Y, Z)``; only the volumes are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, volumes: Tensor, levels: int) -> Tensor:
        ctx.levels = levels
        ctx.save_for_backward(volumes)
        if _kernels is not None and volumes.device.type == "cpu":
            return torch.from_numpy(_kernels.soft_skeleton(volumes.numpy(), levels))
        return 1 - _remainder(volumes, levels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (volumes,) = ctx.saved_tensors
        upstream = upstream.contiguous()
        if _kernels is not None and volumes.device.type == "cpu":
            gradient = _kernels.soft_skeleton_gradient(volumes.numpy(), upstream.numpy(), ctx.levels)
            return torch.from_numpy(gradient), None
        return _gradient(volumes, upstream, ctx.levels), None


def _remainder(volumes: Tensor, levels: int) -> Tensor:
    """Product of 1 - delta over the levels, delta = max(eroded - opened, 0): one minus the skeleton."""
    product = torch.ones_like(volumes)
    for volume, rest in zip(volumes, product, strict=True):
        for planes, eroded, opened in _levels(volume, levels, _slab(volume)):
            delta = torch.sub(eroded, opened).clamp_(min=0)
            rest[planes].addcmul_(rest[planes], delta, value=-1)
    return product


def _gradient(volumes: Tensor, upstream: Tensor, levels: int) -> Tensor:
    """Gradient with respect to the volumes.

    Every eroded or opened value is a copy of one voxel. So a voxel travels through the minima and maxima as a key, its
    value's bits (which are ordered as the values are, because none is negative) above its index, and what comes out
    says where the gradient belongs.
    """
    product = _remainder(volumes, levels)
    gradients = torch.zeros_like(volumes)
    index = torch.arange(volumes[0].numel(), device=volumes.device).view(volumes.shape[1:])
    for n, gradient in enumerate(gradients.flatten(1)):
        keys = (volumes[n].view(torch.int32).long() << 32).bitwise_or_(index)
        for planes, eroded, opened in _levels(keys, levels, _slab(keys)):
            delta = _value(eroded) - _value(opened)
            rest = 1 - delta
            # Without this level's factor; if that is 0, all other deltas are 0, since their sum is at most 1.
            share = torch.where(rest > 0, product[n, planes] / rest, 1).mul_(upstream[n, planes]).mul_(delta > 0)
            gradient.index_add_(0, _index(eroded), share.flatten())
            gradient.index_add_(0, _index(opened), share.flatten(), alpha=-1)
    return gradients


def _value(keys: Tensor) -> Tensor:
    return (keys >> 32).int().view(torch.float32)


def _index(keys: Tensor) -> Tensor:
    return (keys & 0xFFFFFFFF).flatten()


def _slab(volume: Tensor) -> int | None:
    """Planes for one step of :func:`_levels`: all on a GPU, where few large steps are best."""
    return max(1, _SLAB_VOXELS // volume[0].numel()) if volume.device.type == "cpu" else None


def _levels(volume: Tensor, levels: int, slab: int | None) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Erode and open level by level, in waves of ``slab`` planes in which each level is one plane behind the last.

    Args:
        volume: ``(X, Y, Z)`` of any type that has an order.
        levels: number of openings.
        slab: planes that a level advances by in a wave; None: all.

    Yields:
        Planes (for each level in order, from first to last), the eroded image there, and its opening.
    """
    count = len(volume)
    slab = slab or count + levels + 1
    eroded = [volume, *(torch.empty_like(volume) for _ in range(levels))]
    widened = [torch.empty_like(volume) for _ in range(levels)]  # dilated within the planes
    for wave in range(0, count + levels + 1, slab):
        for level in range(levels):
            new = _clip(wave - level - 1, slab, count)
            if new.start < new.stop:
                _erode(eroded[level], eroded[level + 1], new)
                rows = _maximum_of_three(eroded[level + 1][new], dim=2)
                widened[level][new] = _maximum_of_three(rows, dim=1)
            done = _clip(wave - level - 2, slab, count)
            if done.start < done.stop:
                yield done, eroded[level][done], _dilate_across(widened[level], done)


def _clip(start: int, length: int, count: int) -> slice:
    return slice(max(start, 0), min(start + length, count))


def _erode(source: Tensor, target: Tensor, planes: slice) -> None:
    """Minimum of each voxel and its 6 neighbours; what lies outside the volume does not count."""
    out, inside = target[planes], source[planes]
    out.copy_(inside)
    for dim in (1, 2):
        size = out.shape[dim] - 1
        _lower(out.narrow(dim, 1, size), inside.narrow(dim, 0, size))
        _lower(out.narrow(dim, 0, size), inside.narrow(dim, 1, size))
    first, last = max(planes.start, 1), min(planes.stop, len(source) - 1)
    _lower(target[first : planes.stop], source[first - 1 : planes.stop - 1])
    _lower(target[planes.start : last], source[planes.start + 1 : last + 1])


def _lower(target: Tensor, other: Tensor) -> None:
    torch.minimum(target, other, out=target)


def _maximum_of_three(image: Tensor, dim: int) -> Tensor:
    """Maximum of each voxel and its two neighbours along ``dim``."""
    size = image.shape[dim] - 1
    if size == 0:
        return image
    pairs = torch.maximum(image.narrow(dim, 0, size), image.narrow(dim, 1, size))
    out = torch.empty_like(image)
    torch.maximum(pairs.narrow(dim, 0, size - 1), pairs.narrow(dim, 1, size - 1), out=out.narrow(dim, 1, size - 1))
    out.select(dim, 0).copy_(pairs.select(dim, 0))
    out.select(dim, size).copy_(pairs.select(dim, size - 1))
    return out


def _dilate_across(widened: Tensor, planes: slice) -> Tensor:
    """Maximum over a plane and its two neighbours."""
    out = widened[planes].clone()
    first, last = max(planes.start, 1), min(planes.stop, len(widened) - 1)
    lower, upper = out[first - planes.start :], out[: last - planes.start]
    torch.maximum(lower, widened[first - 1 : planes.stop - 1], out=lower)
    torch.maximum(upper, widened[planes.start + 1 : last + 1], out=upper)
    return out
