"""What the specs and constructors of Pruner, Clusterer and QATTrainer share."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

import tfx_edge
from tfx_edge import proto
from tfx_edge.components import artifacts, exec_properties, user_module
from tfx_edge.components.core.compression.training.fine_tuning import FineTuningOptions
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.fine_tuning_options import fine_tuning_options

FINE_TUNING = 'fine_tuning'
SIGNATURE_NAME = 'signature_name'

PARAMETERS = {
    FINE_TUNING: ExecutionParameter(type=str),
    SIGNATURE_NAME: ExecutionParameter(type=str),
    exec_properties.VERSION: ExecutionParameter(type=str),
    **user_module.PARAMETERS,
}
INPUTS = {
    artifacts.INPUT_MODEL: ChannelParameter(type=standard_artifacts.Model),
    artifacts.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples, optional=True),
    artifacts.SCHEMA: ChannelParameter(type=standard_artifacts.Schema, optional=True),
    artifacts.TRANSFORM_GRAPH: ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
}
OUTPUTS = {artifacts.MODEL: ChannelParameter(type=standard_artifacts.Model)}


def spec_arguments(
    *,
    model: types.BaseChannel,
    examples: types.BaseChannel | None,
    schema: types.BaseChannel | None,
    transform_graph: types.BaseChannel | None,
    fine_tuning: Any,
    signature_name: Any,
    module_file: str | None,
    module_path: str | None,
    trains_ranges: bool = False,
) -> dict[str, Any]:
    """Arguments of a spec, with what can be checked at construction checked.

    Raises:
      EdgeError: training steps without examples, a module given twice, or a value of `fine_tuning` out of range.
    """
    module = user_module.module_properties(module_file, module_path)
    encoded = exec_properties.encode(
        fine_tuning,
        proto.FineTuning,
        lambda message: fine_tuning_options(message, has_module=bool(module), trains_ranges=trains_ranges),
    )
    if examples is None and isinstance(encoded, str):
        require_no_examples_needed(exec_properties.decode(encoded, proto.FineTuning))
    channels = {
        artifacts.INPUT_MODEL: model,
        artifacts.EXAMPLES: examples,
        artifacts.SCHEMA: schema,
        artifacts.TRANSFORM_GRAPH: transform_graph,
    }
    return {
        **{key: channel for key, channel in channels.items() if channel is not None},
        FINE_TUNING: encoded,
        SIGNATURE_NAME: signature_name,
        exec_properties.VERSION: tfx_edge.__version__,
        **module,
        artifacts.MODEL: types.Channel(type=standard_artifacts.Model),
    }


def require_no_examples_needed(options: proto.FineTuning | FineTuningOptions) -> None:
    """Refuses options that need examples.

    Raises:
      EdgeError: there are steps to train, or batch norms to compute anew.
    """
    for field in ('num_steps', 'batch_norm_batches'):
        if getattr(options, field):
            raise EdgeError(
                f'FineTuning.{field} is {getattr(options, field)}, which needs examples; '
                f'give examples, or set {field} to 0.'
            )
