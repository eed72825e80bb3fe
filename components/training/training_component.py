"""The constructor that components which train share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypedDict, TypeVar

from tfx import types
from tfx.dsl.components.base import base_component
from tfx.orchestration import data_types

import tfx_edge
from tfx_edge import proto
from tfx_edge.components.tfx_interface import artifacts, exec_properties, user_module
from tfx_edge.components.training import training_spec
from tfx_edge.components.training.configuration import Configuration
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options, require_no_examples_needed
from tfx_edge.components.training.shared_arguments import show_shared_arguments


class TrainingArguments(TypedDict, total=False):
    """The arguments that all take by keyword; their defaults and meaning are those of `TrainingComponent`."""

    schema: types.BaseChannel | None
    transform_graph: types.BaseChannel | None
    fine_tuning: proto.FineTuning | str | data_types.RuntimeParameter | None
    signature_name: str | data_types.RuntimeParameter
    module_file: str | None
    module_path: str | None


_Constructor = TypeVar('_Constructor', bound=Callable[..., None])


class TrainingComponent(base_component.BaseComponent):
    """A component that makes a model with other weights of a model; the base class, no component by itself.

    A subclass has a spec, an executor, the configuration of both, and a constructor with the argument of that
    configuration, which leaves `**shared: Unpack[TrainingArguments]` to this one.

    Example:
      ```
      class Pruner(TrainingComponent):
          SPEC_CLASS = PrunerSpec
          EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
          CONFIGURATION = PRUNING

          @with_training_arguments
          def __init__(self, model, examples=None, *, pruning=None, **shared: Unpack[TrainingArguments]) -> None:
              super().__init__(model, examples, config=pruning, check=pruning_options, **shared)
      ```
    """

    CONFIGURATION: ClassVar[Configuration]

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        *,
        config: Any,
        check: Callable[[Any], object],
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        fine_tuning: proto.FineTuning | str | data_types.RuntimeParameter | None = None,
        signature_name: str | data_types.RuntimeParameter = '',
        module_file: str | None = None,
        module_path: str | None = None,
    ) -> None:
        """Checks the configuration and makes the component.

        Args:
          model: a Channel of Model: what a Trainer, Pruner, Clusterer or QATTrainer exported.
          examples: a Channel of Examples to train on; None with `num_steps` 0 only.
          config: the component's own message, its JSON, a RuntimeParameter, or None for its defaults.
          check: raises EdgeError when a value of the message is out of range.
          schema: a Channel of Schema, for defaults of absent features and features of variable length.
          transform_graph: a Channel of TransformGraph, applied to raw examples. Examples of an
            ExampleGen are raw, those of Transform are not; for others the step decides by features, or an error asks.
          fine_tuning: how to train; None for the defaults of `proto.FineTuning`.
          signature_name: a signature of the SavedModel (one with string inputs is cut after parsing) or a function that
            Keras saved; '' to choose (`core.dense_function.choice`, `tfx-edge inspect SAVED_MODEL`).
          module_file: a Python file with any of `loss_fn`, `augment_fn` and `optimizer_fn`
            (`core.compression.training.user_functions`); packed into a wheel when the pipeline is compiled.
          module_path: the dotted path of an importable module, instead of module_file.

        Raises:
          EdgeError: a value is out of range or not supported.
        """
        module = user_module.module_properties(module_file, module_path)
        channels = {
            artifacts.INPUT_MODEL: model,
            artifacts.EXAMPLES: examples,
            artifacts.SCHEMA: schema,
            artifacts.TRANSFORM_GRAPH: transform_graph,
        }
        arguments = {
            **{key: channel for key, channel in channels.items() if channel is not None},
            training_spec.FINE_TUNING: self._fine_tuning(fine_tuning, bool(module), examples is not None),
            training_spec.SIGNATURE_NAME: signature_name,
            exec_properties.VERSION: tfx_edge.__version__,
            **module,
            self.CONFIGURATION.key: exec_properties.encode(config, self.CONFIGURATION.message_class, check),
            **{key: types.Channel(type=output.type) for key, output in self.SPEC_CLASS.OUTPUTS.items()},
        }
        super().__init__(spec=self.SPEC_CLASS(**arguments))
        user_module.package(self)

    def _fine_tuning(self, fine_tuning: Any, has_module: bool, has_examples: bool) -> Any:
        """How to train as an exec property, with what can be checked at construction checked."""

        def check(message: proto.FineTuning) -> None:
            fine_tuning_options(
                message, has_module=has_module, trains_ranges=self.CONFIGURATION.trains_ranges
            )
            if not has_examples:
                require_no_examples_needed(message)

        return exec_properties.encode(fine_tuning, proto.FineTuning, check)


def with_training_arguments(constructor: _Constructor) -> _Constructor:
    """Has `help` and `inspect.signature` show the arguments that `**shared` of a subclass's constructor stands for.

    Its docstring describes its own arguments; `TrainingComponent` describes the others.
    """
    show_shared_arguments(constructor, TrainingComponent.__init__, TrainingArguments.__annotations__)
    return constructor
