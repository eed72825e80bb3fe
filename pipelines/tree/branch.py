"""A place in a tree that is being built, and what all its components share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component

from tfx_edge import proto


@dataclasses.dataclass(frozen=True)
class TreeInputs:
    """What the components of a tree are given alike.

    Attributes:
      examples: Channel of Examples.
      schema: Channel of Schema, or None.
      transform_graph: Channel of TransformGraph, or None.
      signature_name: of the Trainer's model.
      module: `module_file` or `module_path` of the components that train; {} for none.
    """

    examples: types.BaseChannel
    schema: types.BaseChannel | None = None
    transform_graph: types.BaseChannel | None = None
    signature_name: str = ''
    module: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def parsing(self) -> dict[str, types.BaseChannel]:
        """The examples with what is needed to read them, as arguments."""
        given = {'examples': self.examples, 'schema': self.schema, 'transform_graph': self.transform_graph}
        return {name: channel for name, channel in given.items() if channel is not None}


@dataclasses.dataclass(frozen=True)
class Branch:
    """What a route has come to.

    Attributes:
      steps: names of the steps so far.
      model: Channel of Model, what the last step made.
      fine_tuning: how the steps of this route train.
      calibration: Channel of tfx_edge.Calibration that belongs to the model, or None.
      components: of the steps so far, in order.
      recipe: lines of Python that make them.
      variable: what the recipe calls the last component.
    """

    steps: tuple[str, ...]
    model: types.BaseChannel
    fine_tuning: proto.FineTuning
    calibration: types.BaseChannel | None = None
    components: tuple[base_component.BaseComponent, ...] = ()
    recipe: tuple[str, ...] = ()
    variable: str = 'trainer'

    def then(
        self, step: str, component_class: Any, arguments: Mapping[str, Any], shown: str, **changes: Any
    ) -> Branch:
        """The branch with one more component.

        Args:
          step: name of the step; the component's id holds it.
          component_class: a TFX component with an output `model`.
          arguments: of its constructor, but the model.
          shown: the argument that a recipe shows, as Python.
          **changes: other fields of the new branch.

        Returns:
          A new branch; this one can be continued in other ways too.
        """
        steps = (*self.steps, step)
        name = component_class.__name__
        component = component_class(model=self.model, **arguments).with_id(f'{name}-{"-".join(steps)}')
        variable = _snake_case(name)
        inputs = [f"model={self.variable}.outputs['model']"]
        if arguments.get('calibration') is not None:
            inputs.append(f"calibration={self.variable}.outputs['calibration']")
        else:
            inputs += [f'{argument}={argument}' for argument in arguments if argument in _CHANNELS]
        line = f'{variable} = {name}({", ".join(inputs)},\n    {shown})'
        return dataclasses.replace(
            self,
            steps=steps,
            model=component.outputs['model'],
            components=(*self.components, component),
            recipe=(*self.recipe, line),
            variable=variable,
            **{'calibration': None, **changes},
        )


# Arguments that a recipe takes from variables of the same name.
_CHANNELS = ('examples', 'schema', 'transform_graph')


def _snake_case(name: str) -> str:
    """The name of a variable for a component.

    Example:
      ```
      _snake_case('TFLiteQuantizer')  # 'tflite_quantizer'
      ```
    """
    name = name.replace('TFLite', 'Tflite')
    letters = [f'_{letter}' if _begins_word(name, place) else letter for place, letter in enumerate(name)]
    return ''.join(letters).lower()


def _begins_word(name: str, place: int) -> bool:
    if not place or not name[place].isupper():
        return False
    return name[place - 1].islower() or name[place + 1 : place + 2].islower()
