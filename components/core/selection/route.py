"""How a candidate was made, as a selection names it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Route:
    """The way from the float model to a candidate.

    Attributes:
      name: unique among the candidates, such as 'zeros50-clusters16-qat-int8'.
      steps: in order, such as ('zeros50', 'clusters16', 'qat', 'int8'); () where not known.
      recipe: lines of Python that make it in a pipeline; '' where not known.
      components: ids of the components that it passes, in order.
    """

    name: str
    steps: tuple[str, ...] = ()
    recipe: str = ''
    components: tuple[str, ...] = ()
