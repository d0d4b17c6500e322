"""Choosing the frame of a sequence in which the vessels are filled best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, grey_closing

VESSEL_SHARE = 1 / 24  # of the shorter side: 6 mm in a view of 15 cm; what is wider is no coronary artery
COMPARED_PX = 256  # frames are compared at about this size
SMOOTHING_PX = 1.5  # standard deviation at that size, against noise


def darkest_frame(frames: NDArray[np.float32]) -> int:
    """Return the number of the frame in which thin dark structures stand out most: the best filled one.

    The black top-hat, which is the closing minus the frame, tells how much darker each pixel is than anything wider
    than a vessel around it. The frame is chosen in which the sum of what it exceeds twice its median by, that is the
    level of noise and background, is largest.

    Args:
        frames: ``(T, H, W)``.
    """
    step = max(1, min(frames.shape[1:]) // COMPARED_PX)
    height, width = (edge // step for edge in frames.shape[1:])
    blocks = frames[:, : height * step, : width * step].reshape(len(frames), height, step, width, step)
    small = blocks.mean(axis=(2, 4))
    size = max(3, round(min(height, width) * VESSEL_SHARE))
    scores = []
    for frame in small:
        smooth = gaussian_filter(frame, SMOOTHING_PX)
        tophat = grey_closing(smooth, size=size) - smooth
        scores.append(np.maximum(tophat - 2 * np.median(tophat), 0).sum(dtype=np.float64))
    return int(np.argmax(scores))
