"""What a search chooses between: of each level of a deployment tree one of its steps, or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # It imports TFX.
    from tfx_edge.pipelines.tree.plan import PlannedRoute

# The choice of a route that passes a level over.
NONE = 'none'
_FINE_TUNING = 'fine_tuning'


@dataclasses.dataclass(frozen=True)
class Space:
    """The parameters of a search, and the combinations of their choices that are routes.

    Attributes:
      choices: by parameter, which is a level's name or 'fine_tuning': the names of its choices.
      routes: by name of the route, in the order of the tree: its choice of each parameter.
    """

    choices: Mapping[str, tuple[str, ...]]
    routes: Mapping[str, Mapping[str, str]]

    def route(self, combination: Mapping[str, str]) -> str | None:
        """The route that a combination of choices stands for.

        Args:
          combination: a choice of each parameter.

        Returns:
          Its name; None where the tree has no such route.
        """
        return next((name for name, choices in self.routes.items() if choices == combination), None)

    def nearest(self, combination: Mapping[str, str], names: Collection[str]) -> list[str]:
        """The routes that differ from a combination in the fewest parameters.

        Args:
          combination: a choice of each parameter, whether it is a route or not.
          names: of the routes to take into account.

        Returns:
          At least one name, in the order of the tree.
        """
        distances = {
            name: sum(choice != combination[parameter] for parameter, choice in choices.items())
            for name, choices in self.routes.items()
            if name in names
        }
        return [name for name, distance in distances.items() if distance == min(distances.values())]


def space_of(routes: Sequence[PlannedRoute]) -> Space:
    """The space whose combinations hold the given routes.

    A level is a parameter if any route has a step of it; 'none' is among its choices if any route has not. The ways to
    train are a parameter if there are several.

    Args:
      routes: of one tree.

    Returns:
      The space.

    Example:
      ```
      space_of(planned_routes(tree, LEVELS)).choices
      # {'pruning': ('none', 'zeros50'), 'quantization': ('float16', 'int8')}
      ```
    """
    taken = {route.name: _steps(route) for route in routes}
    parameters = list(dict.fromkeys(parameter for steps in taken.values() for parameter in steps))
    complete = {
        name: {parameter: steps.get(parameter, NONE) for parameter in parameters}
        for name, steps in taken.items()
    }
    choices = {
        parameter: tuple(dict.fromkeys(steps[parameter] for steps in complete.values()))
        for parameter in parameters
    }
    return Space(choices, complete)


def _steps(route: PlannedRoute) -> dict[str, str]:
    training = {_FINE_TUNING: route.training} if route.training else {}
    return {**training, **{stage.level: stage.step for stage in route.stages}}
