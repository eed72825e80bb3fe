"""The user's function that builds a pipeline of a tree, called with other trees."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.user_pipeline import PipelineOptions, built_by, load_function

_TREE = 'tree'


class TreeFunction:
    """A function whose parameter `tree` is the deployment tree that its pipeline has.

    Args:
      target: 'module[:function]' or 'file.py[:function]'.
      options: what else to call the function with; steps are always cached, since trials share them.

    Raises:
      EdgeError: there is no such function, or it has no such parameter.

    Example:
      ```
      function = TreeFunction('my_package.pipeline', PipelineOptions(pipeline_root='run'))
      pipeline = function.pipeline(with_routes(function.tree, ['zeros50-int8']))
      ```
    """

    def __init__(self, target: str, options: PipelineOptions) -> None:
        self._target = target
        self._options = dataclasses.replace(options, enable_cache=True)
        self._function = load_function(target)
        parameter = inspect.signature(self._function).parameters.get(_TREE)
        if parameter is None or not isinstance(parameter.default, proto.DeploymentTree):
            raise EdgeError(
                f'{target} has no parameter {_TREE!r} with a proto.DeploymentTree as its default, which is what is '
                f'searched; add one, and hand it on: deployment_tree(..., {_TREE}={_TREE}).'
            )
        if any(text.partition('=')[0] == _TREE for text in options.parameters):
            raise EdgeError(
                f'--set {_TREE} cannot be given: a search sets it; change the default in {target} instead.'
            )
        self._tree = parameter.default

    @property
    def tree(self) -> proto.DeploymentTree:
        """A copy of the tree to search, whatever the number of its routes."""
        tree = proto.DeploymentTree()
        tree.CopyFrom(self._tree)
        tree.max_routes = 2**62
        return tree

    def pipeline(self, tree: proto.DeploymentTree) -> Any:
        """The pipeline with another tree.

        Args:
          tree: to call the function with.

        Returns:
          A `tfx.v1.dsl.Pipeline`, with an ML Metadata.

        Raises:
          EdgeError: its other arguments are wrong, or it returns something else.
        """
        return built_by(self._function, self._target, self._options, **{_TREE: tree})


def with_routes(tree: proto.DeploymentTree, names: list[str]) -> proto.DeploymentTree:
    """A tree with some of its routes.

    Args:
      tree: with all routes.
      names: of the routes.

    Returns:
      A new message. It has no limits of time, which would leave out routes that are made already.

    Example:
      >>> with_routes(proto.DeploymentTree(), ['int8']).only
      ['int8']
    """
    some = proto.DeploymentTree()
    some.CopyFrom(tree)
    del some.only[:]
    some.only.extend(names)
    some.selection.ClearField('stop_at_first')
    some.selection.ClearField('budget_minutes')
    return some
