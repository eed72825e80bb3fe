"""Whole pipelines: the deployment tree, the shipped example, runners, and the `tfx-edge` command.

`deployment_tree` loads on first use, since TFX takes many seconds to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx_edge.pipelines.tree.building import deployment_tree

__all__ = ['deployment_tree']


def __getattr__(name: str) -> Any:
    if name == 'deployment_tree':
        from tfx_edge.pipelines.tree import building

        return building.deployment_tree
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
