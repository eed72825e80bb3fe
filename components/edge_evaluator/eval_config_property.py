"""TFMA's configuration as an exec property, checked when the pipeline is constructed."""

from __future__ import annotations

from typing import Any

import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx.orchestration import data_types

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.metrics.eval_config import check_eval_config, check_needs_no_baseline
from tfx_edge.components.core.evaluation.metrics.tested_metrics import find_tested_metrics
from tfx_edge.components.edge_evaluator.options import metric_drops
from tfx_edge.components.tfx_interface import exec_properties


def encode_eval_config(config: Any, *, has_baseline: bool, has_transform_graph: bool = False) -> Any:
    """TFMA's configuration as an exec property.

    Args:
      config: a `tfma.EvalConfig`, its JSON, or a RuntimeParameter (checked when the step runs).
      has_baseline: whether the component is given a baseline.
      has_transform_graph: whether it is given a transform graph.

    Returns:
      A JSON string with sorted keys, or the RuntimeParameter.

    Raises:
      EdgeError: there is none, or it asks for what cannot be done.
    """
    if isinstance(config, data_types.RuntimeParameter):
        return config
    if isinstance(config, str):
        config = decode_eval_config(config)
    if not isinstance(config, config_pb2.EvalConfig):
        given = 'nothing' if config is None else type(config).__name__
        raise EdgeError(
            f'eval_config is {given}; expected a tfma.EvalConfig, its JSON or a RuntimeParameter. Its metrics '
            'and thresholds say what a good model is, and no default could.'
        )
    check_eval_config(config, has_baseline=has_baseline, has_transform_graph=has_transform_graph)
    if not has_baseline:
        check_needs_no_baseline(config)
    return json_format.MessageToJson(config, preserving_proto_field_name=True, sort_keys=True, indent=None)


def decode_eval_config(text: str) -> tfma.EvalConfig:
    """TFMA's configuration from its JSON."""
    try:
        return json_format.Parse(text, config_pb2.EvalConfig())
    except json_format.ParseError as error:
        raise EdgeError(
            f'eval_config is not the JSON of a tfma.EvalConfig ({error}); use the names and types of its fields.'
        ) from error


def check_tested_metrics(eval_config: str, edge: str) -> None:
    """Refuses `max_metric_drop` for metrics that eval_config has not, or that cannot be tested.

    Args:
      eval_config: the exec property.
      edge: the exec property.
    """
    drops = metric_drops(exec_properties.decode(edge, proto.EdgeEvaluation))
    find_tested_metrics(decode_eval_config(eval_config), drops)
