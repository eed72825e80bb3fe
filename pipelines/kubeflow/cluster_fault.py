"""The error that means: the cluster is at fault, not what a step was given."""

from __future__ import annotations

from tfx_edge.components.core.errors import EdgeError


class ClusterFault(EdgeError):
    """A store, an engine or a volume does not do its part; one line with the remedy, as any EdgeError.

    The step may succeed when it is run again, so that no branch of an EdgeSelector is given up for it.
    """
