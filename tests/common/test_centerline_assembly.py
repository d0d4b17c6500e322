"""Windows cut anywhere, and put back where they were."""

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map

from common.centerline.assembly import assemble, cut_window
from common.centerline.crops import crop_starts, tiles


@pytest.mark.parametrize(
    ("centre", "padded"),
    [((256, 256), 0), ((10, 500), 10760), ((0, 0), 12288), ((511, 511), 12159), ((448, 64), 0), ((449, 63), 255)],
    ids=str,
)
def test_a_crop_that_overhangs_the_image_is_padded_where_it_overhangs(centre, padded):
    image = torch.ones(1, 512, 512)
    image[0, centre[0], centre[1]] = 2
    window = cut_window(image, np.array(centre) - 64, (128, 128))
    assert window.shape == (1, 128, 128)
    assert int((window == 0).sum()) == padded
    assert window[0, 64, 64] == 2


def test_the_padding_of_a_crop_near_a_corner_begins_where_the_image_ends():
    window = cut_window(torch.ones(1, 512, 512), (10 - 64, 500 - 64), (128, 128), value=-7)[0]
    rows, columns = (window == 1).any(dim=1).nonzero()[:, 0], (window == 1).any(dim=0).nonzero()[:, 0]
    assert int(rows[0]) == 54
    assert int(columns[-1]) == 75
    assert set(window.unique().tolist()) == {-7, 1}


def test_a_window_beside_the_volume_is_all_padding():
    assert (cut_window(torch.ones(1, 8, 8), (20, -9), (4, 4), value=3) == 3).all()


@pytest.mark.parametrize("shape", [(32, 48, 16), (33, 40, 21), (10, 16, 8)], ids=str)
def test_tiles_put_back_give_the_volume(shape):
    volume = torch.rand(2, *shape)
    patch = (16, 16, 8)
    starts = tiles(shape, patch)
    windows = [cut_window(volume, start, patch) for start in starts]
    assembled, covered = assemble(windows, starts, shape, torch.ones(patch))
    torch.testing.assert_close(assembled, volume)
    assert covered.all()


@pytest.mark.parametrize("blend", ["constant", "gaussian"])
@pytest.mark.parametrize("mode", ["coverage", "kmeans", "reference"])
def test_crops_of_a_constant_map_give_the_constant_wherever_a_crop_lies(mode, blend):
    shape, patch = (90, 80, 96), (32, 32, 16)
    weights = compute_importance_map(patch, blend)
    for seed in range(4):
        random = np.random.RandomState(seed)
        points = np.concatenate([random.uniform(0, (90, 80, 60), (20, 3)), [(40, 40, k) for k in range(60)]])
        starts = crop_starts(points, shape, patch, mode)
        assembled, covered = assemble((torch.full((1, *patch), 0.3) for _ in starts), starts, shape, weights)
        expected = torch.zeros(shape, dtype=torch.bool)
        for start in starts:
            expected[tuple(slice(max(a, 0), max(a + n, 0)) for a, n in zip(start, patch, strict=True))] = True
        assert torch.equal(covered, expected)
        torch.testing.assert_close(assembled[0][covered], torch.full((int(covered.sum()),), 0.3))
        assert (assembled[0][~covered] == 0).all()


def test_windows_that_overlap_are_averaged_with_their_weights():
    weights = torch.tensor([1.0, 3.0])
    windows = [torch.tensor([[1.0, 1.0]]), torch.tensor([[5.0, 5.0]])]
    assembled, covered = assemble(windows, np.array([[0], [1]]), (4,), weights)
    assert assembled.tolist() == [[1.0, (3 * 1 + 1 * 5) / 4, 5.0, 0.0]]
    assert covered.tolist() == [True, True, True, False]


def test_what_cannot_be_assembled_is_refused():
    with pytest.raises(ValueError, match="windows must not be empty"):
        assemble([], np.zeros((0, 3), int), (8, 8, 8), torch.ones(4, 4, 4))
    with pytest.raises(ValueError, match=r"weights must be above 0, got a minimum of 0.0"):
        assemble([torch.ones(1, 4)], np.array([[0]]), (8,), torch.zeros(4))
