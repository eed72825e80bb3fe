"""What codebooks there are, how large they may be, and where their centroids may start."""

from __future__ import annotations

GRANULARITIES = ('DEPLOYED', 'TENSOR', 'CHANNEL')
# Of the centroids (`centroid_initialization`).
INITIALIZATIONS = ('KMEANS_PLUS_PLUS', 'LINEAR', 'DENSITY')
# A tensor with more distinct values than this, or with fewer than two weights for each value, does not count as
# clustered: eight-bit weights have up to 255 values, and a small kernel has few weights.
MAX_CLUSTERS = 64
# -127, 0 and 127 are members of a deployed codebook that keeps zeros.
MIN_CLUSTERS = {'DEPLOYED': 3, 'TENSOR': 2, 'CHANNEL': 2}
