"""Clusters of centerline points: the worked examples of the published rules, and what DBSCAN would say."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from common.centerline.clusters import centroids, dbscan, kmeans_centers, merge_centroids
from common.centerline.raster import round_half_up

SLICE_7 = [  # (i, j, k)
    (100, 100, 7),
    (102, 101, 7.2),
    (104, 103, 6.6),
    (300, 310, 7),
    (301, 312, 7.4),
    (330, 340, 7),
    (400, 120, 7.49),
    (400, 120, 6.5),
    (50, 60, 8),
]


def slice_points():
    """The points of slice 7."""
    points = round_half_up(SLICE_7)
    return points[points[:, 2] == 7, :2]


def test_eight_nodes_belong_to_slice_7_and_make_four_clusters():
    points = slice_points()
    assert len(points) == 8
    found = centroids(points, dbscan(points))
    np.testing.assert_allclose(found, [(102, 304 / 3), (300.5, 311), (330, 340), (400, 120)])


def test_their_centroids_merge_to_three():
    points = slice_points()
    merged = merge_centroids(centroids(points, dbscan(points)), 50).astype(int)
    assert merged.tolist() == [[102, 101], [400, 120], [315, 325]]


def test_a_neighbour_at_exactly_eps_belongs_to_the_cluster():
    points = np.array([(0, 0), (3, 4), (10, 4), (16, 4)])
    assert dbscan(points, eps=5).tolist() == [0, 0, 1, 2]
    assert dbscan(points, eps=6).tolist() == [0, 0, 1, 1]


def test_clusters_are_those_of_dbscan_with_one_point_per_core():
    random = np.random.RandomState(1)
    for _ in range(10):
        points = random.randint(60, size=(60, 3))
        near = cdist(points, points) <= 5
        expected = np.full(60, -1)
        for first in range(60):  # DBSCAN: expand from each point that has no cluster yet
            if expected[first] < 0:
                front = [first]
                number = expected.max() + 1
                while front:
                    point = front.pop()
                    if expected[point] < 0:
                        expected[point] = number
                        front += np.flatnonzero(near[point]).tolist()
        np.testing.assert_array_equal(dbscan(points), expected)


def test_duplicates_weigh_in_a_centroid():
    points = np.array([(0, 0), (0, 0), (0, 0), (4, 0)])
    np.testing.assert_allclose(centroids(points, dbscan(points)), [(1, 0)])


def test_three_nodes_six_slices_apart_are_three_clusters():
    assert dbscan(np.array([(9, 9, 0), (9, 9, 6), (9, 9, 12)])).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([(0, 0), (40, 0), (80, 0), (200, 0), (200, 0)], [(200, 0), (200, 0), (40, 0)]),
        ([(0, 0), (60, 0), (30, 45)], [(0, 0), (60, 0), (30, 45)]),
        ([(0, 0), (49, 0), (75, 0), (120, 0)], [(61, 0)]),
        ([(5, 5), (5, 5)], [(5, 5), (5, 5)]),
        ([(5, 5), (5, 5), (15, 5)], [(25 / 3, 5)]),
        ([(0, 0)], [(0, 0)]),
        ([(0, 0), (300, 0), (10, 0), (310, 0), (150, 0)], [(150, 0), (5, 0), (305, 0)]),
    ],
    ids=["a chain collapses", "too far", "chain of four", "coincident", "coincident with a third", "one", "order"],
)
def test_centroids_merge_by_single_linkage(places, expected):
    np.testing.assert_allclose(merge_centroids(np.array(places, float), 50), expected)


def test_k_means_finds_separate_groups_and_repeats_itself():
    random = np.random.RandomState(2)
    truth = np.array([(20, 20), (80, 30), (50, 90)])
    points = np.concatenate([place + random.randint(-5, 6, size=(30, 2)) for place in truth])
    centers = kmeans_centers(points, 3)
    expected = [points[first : first + 30].mean(axis=0) for first in (0, 30, 60)]
    np.testing.assert_allclose(sorted(centers.tolist()), sorted(np.array(expected).tolist()))
    np.testing.assert_array_equal(centers, kmeans_centers(points, 3))


def test_k_means_has_no_more_centres_than_distinct_points():
    np.testing.assert_allclose(kmeans_centers(np.array([(3, 4), (3, 4)]), 5), [(3, 4)])


def test_no_points_have_no_clusters():
    assert len(dbscan(np.zeros((0, 3), int))) == 0
    assert merge_centroids(np.zeros((0, 2)), 50).shape == (0, 2)
