"""What components which train refuse of their parameters alone, without TensorFlow and TFX."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tfx_edge import proto
from tfx_edge.components.tfx_interface import exec_properties
from tfx_edge.components.tfx_interface.keys import EXAMPLES, FINE_TUNING, MODULE_FILE, MODULE_PATH
from tfx_edge.components.training.configuration import Configuration
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options, require_no_examples_needed


def check_training_parameters(
    configuration: Configuration,
    check: Callable[[Any], object],
    properties: Mapping[str, Any],
    inputs: Collection[str],
) -> None:
    """Refuses what `TrainingExecutor` would refuse of the parameters alone.

    Args:
      configuration: of the component.
      check: raises EdgeError when a value of the component's own message is out of range.
      properties: exec properties.
      inputs: keys of the inputs that have artifacts.

    Raises:
      EdgeError: names the field, and what was expected.
    """
    check(configuration.message(properties))
    options = fine_tuning_options(
        exec_properties.decode(properties[FINE_TUNING], proto.FineTuning),
        has_module=bool(properties.get(MODULE_FILE) or properties.get(MODULE_PATH)),
        trains_ranges=configuration.trains_ranges,
    )
    if EXAMPLES not in inputs:
        require_no_examples_needed(options)
