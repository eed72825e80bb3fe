"""Inputs, outputs and parameters that components which train share."""

from __future__ import annotations

from tfx.types import component_spec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from tfx_edge.components.tfx_interface import artifacts, exec_properties, user_module
from tfx_edge.components.tfx_interface.keys import FINE_TUNING, SIGNATURE_NAME


class TrainingSpec(component_spec.ComponentSpec):
    """A component's spec adds the parameter of its configuration, and outputs where it has more than the model.

    Example:
      ```
      class PrunerSpec(TrainingSpec):
          PARAMETERS = {**TrainingSpec.PARAMETERS, PRUNING.key: ExecutionParameter(type=str)}
      ```
    """

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
    TYPE_ANNOTATION = None
