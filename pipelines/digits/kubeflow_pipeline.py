"""The digits pipeline with parameters that are given when a run is started, not when it is compiled."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import json_format
from google.protobuf import message as protobuf_message
from tfx import v1 as tfx
from tfx.orchestration.data_types import RuntimeParameter

from tfx_edge import proto
from tfx_edge.pipelines.digits import pipeline as digits


def create_pipeline(
    pipeline_root: str,
    data_root: str,
    serving_dir: str,
    metadata_path: str | None = None,
    *,
    pipeline_name: str = digits.PIPELINE_NAME,
    train_steps: int = 1200,
    fine_tuning_steps: int = 1000,
    beam_pipeline_args: Sequence[str] = (),
    enable_cache: bool = True,
) -> tfx.dsl.Pipeline:
    """Builds the pipeline.

    Sparsity, clusters, steps, mode and limits are runtime parameters: `pruning`, `clustering`, `fine_tuning`,
    `quantization` and `limits`, each the JSON of a message of `tfx_edge.proto`.

    Args:
      pipeline_root: URI of the folder for the artifacts.
      data_root: folder with `train/` and `eval/`, which the steps can read.
      serving_dir: folder to which Pusher copies a blessed model, below a number that grows.
      metadata_path: the sqlite file of ML Metadata; None on a cluster, which keeps its own.
      pipeline_name: name of the pipeline.
      train_steps: of Trainer.
      fine_tuning_steps: default of `fine_tuning`'s `num_steps`.
      beam_pipeline_args: for ExampleGen, TFLiteQuantizer and EdgeEvaluator.
      enable_cache: whether a step whose inputs have not changed is skipped.

    Returns:
      A pipeline for `tfx-edge compile`; LocalDagRunner takes the defaults.

    Example:
      >>> create_pipeline('minio://mlpipeline/digits', '/data/digits', '/serving/digits').pipeline_name
      'digits'
    """
    return digits.create_pipeline(
        pipeline_root,
        data_root,
        serving_dir,
        metadata_path,
        pipeline_name=pipeline_name,
        train_steps=train_steps,
        pruning=_parameter('pruning', digits.PRUNING),
        clustering=_parameter('clustering', digits.CLUSTERING),
        fine_tuning=_parameter('fine_tuning', proto.FineTuning(num_steps=fine_tuning_steps)),
        quantization=_parameter('quantization', digits.QUANTIZATION),
        limits=_parameter('limits', digits.LIMITS),
        beam_pipeline_args=beam_pipeline_args,
        enable_cache=enable_cache,
    )


def _parameter(name: str, default: protobuf_message.Message) -> RuntimeParameter:
    text = json_format.MessageToJson(default, preserving_proto_field_name=True, sort_keys=True, indent=None)
    return RuntimeParameter(
        name, str, default=text, description=f'JSON of tfx_edge.proto.{type(default).__name__}'
    )
