"""The executor that components which train share."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_executor

from tfx_edge.components.core.log_once import begin_step
from tfx_edge.components.core.step_time import limited_step_time
from tfx_edge.components.training.compressed_model import Compress, compress_model
from tfx_edge.components.training.configuration import Configuration


def _nothing() -> None:
    """Writes no output besides the model."""


@dataclasses.dataclass(frozen=True)
class Technique:
    """What one run does with its model.

    Attributes:
      compress: makes new values of the model's variables.
      write_outputs: writes the outputs besides the model, which is written by then.
      see_file: told the incoming model's float file before training, where one is made.
    """

    compress: Compress
    write_outputs: Callable[[], None] = _nothing
    see_file: Callable[[bytes], None] | None = None


class TrainingExecutor(base_executor.BaseExecutor, abc.ABC):
    """Writes the incoming model with the weights that a technique makes of it.

    A subclass names its configuration and makes the technique of it.

    Example:
      ```
      class Executor(TrainingExecutor):
          CONFIGURATION = PRUNING

          def technique(self, message, input_dict, output_dict):
              options = pruning_options(message)
              return Technique(lambda graph, tuning, batches: prune(graph, options, tuning, batches))
      ```
    """

    CONFIGURATION: ClassVar[Configuration]

    @abc.abstractmethod
    def technique(
        self,
        message: Any,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
    ) -> Technique:
        """What is done with the model.

        Args:
          message: the configuration.
          input_dict: artifacts by key of `TrainingSpec`.
          output_dict: `model`, and what else the spec has.

        Returns:
          The technique.

        Raises:
          EdgeError: a value of the message is out of range.
        """

    @limited_step_time()
    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `base_executor.BaseExecutor.Do`."""
        begin_step()
        technique = self.technique(self.CONFIGURATION.message(exec_properties), input_dict, output_dict)
        compress_model(
            input_dict,
            output_dict,
            exec_properties,
            self.CONFIGURATION,
            technique.compress,
            technique.write_outputs,
            technique.see_file,
        )
