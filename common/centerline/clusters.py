"""Groups of centerline points, one patch centre each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

EPS = 5.0  # voxels: points this near are one cluster


def dbscan(points: NDArray[np.int64], eps: float = EPS) -> NDArray[np.int64]:
    """Cluster points as DBSCAN does with ``min_samples`` 1.

    With one point enough for a core, every point is a core point and there is no noise: the clusters are exactly the
    connected components of the graph "distance at most ``eps``", so that a KD-tree does it without scikit-learn.

    Args:
        points: ``(N, axes)`` in voxels; duplicates are allowed.
        eps: largest distance of neighbours in voxels, itself included.

    Returns:
        Cluster of each point, ``(N,)``: 0, 1, ... in the order of their first points.
    """
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64)
    places, place = np.unique(points, axis=0, return_inverse=True)
    pairs = cKDTree(places).query_pairs(eps, output_type="ndarray")
    return _in_order(_components(pairs, len(places))[place.reshape(-1)])


def centroids(points: NDArray[np.int64], clusters: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean point of each cluster, ``(clusters, axes)``; duplicates weigh.

    Args:
        points: ``(N, axes)``.
        clusters: cluster of each point, ``(N,)``, none of the numbers from 0 missing.
    """
    counts = np.bincount(clusters)
    sums = [np.bincount(clusters, weights=column) for column in points.T]
    return np.stack(sums, axis=1) / counts[:, None]


def merge_centroids(places: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Replace centroids that are near each other by their mean, once (single linkage).

    Two are linked when their distance is above 0 and at most ``limit``; chains collapse into one, while coincident
    centroids without another neighbour both stay. Those are the published rules, chains included.

    Args:
        places: centroids, ``(N, axes)``.
        limit: largest distance of linked centroids in voxels, itself included.

    Returns:
        First the centroids without a link in their order, then the merged ones in the order of their first members.
    """
    distance = cdist(places, places)
    group = _in_order(_components(np.argwhere((distance > 0) & (distance <= limit)), len(places)))
    size = np.bincount(group, minlength=1)
    alone = size[group] == 1 if len(places) else np.zeros(0, dtype=bool)
    merged = [places[group == index].mean(axis=0) for index in np.flatnonzero(size > 1)]
    return np.concatenate([places[alone], np.reshape(merged, (-1, places.shape[1]))])


def kmeans_centers(points: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Centres of ``count`` clusters by K-means, started from points far from each other; the same every time.

    Args:
        points: ``(N, axes)`` in voxels, at least one.
        count: number of clusters, at least 1.

    Returns:
        ``(count, axes)``, or fewer where there are fewer distinct points.
    """
    points = points.astype(float)
    seeds = [points[0]]
    distance = np.full(len(points), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, np.linalg.norm(points - seeds[-1], axis=1))
        if distance.max() == 0:
            break
        seeds.append(points[distance.argmax()])
    return np.asarray(kmeans(points, np.stack(seeds))[0])


def _components(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Connected component of each of ``count`` nodes under the given pairs, ``(N, 2)``."""
    links = coo_matrix((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def _in_order(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number groups by their first members."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group.reshape(-1)]
