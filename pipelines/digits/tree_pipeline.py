"""The digits pipeline with a deployment tree: all routes from the Trainer's model to a file, the best is pushed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

# Not tfx.v1, which imports Google Cloud's AI Platform too; that takes seconds.
from tfx.orchestration.pipeline import Pipeline

from tfx_edge import proto
from tfx_edge.pipelines.digits.pipeline import LIMITS, eval_config, metadata_config, pusher_of, training
from tfx_edge.pipelines.tree.building import deployment_tree

PIPELINE_NAME = 'digits-tree'

_MODES = [proto.Quantization(mode=mode) for mode in ('FLOAT16', 'DYNAMIC_INT8', 'INT8')]
# 60 % zeros or none, 16 clusters or none, each after training in three modes; int8 through QATTrainer too.
TREE = proto.DeploymentTree(pruning=[{'target_sparsity': 0.6}], quantization=_MODES)


@dataclasses.dataclass(frozen=True)
class Steps:
    """Of each training.

    Attributes:
      training: of Trainer.
      fine_tuning: of every Pruner, Clusterer and QATTrainer.
    """

    training: int = 1200
    fine_tuning: int = 1000


def create_pipeline(
    pipeline_root: str,
    data_root: str,
    serving_dir: str,
    metadata_path: str | None = None,
    *,
    pipeline_name: str = PIPELINE_NAME,
    tree: proto.DeploymentTree = TREE,
    limits: proto.EdgeEvaluation = LIMITS,
    steps: Steps = Steps(),
    beam_pipeline_args: Sequence[str] = (),
    enable_cache: bool = True,
) -> Pipeline:
    """Builds the pipeline.

    Args:
      pipeline_root: folder for the artifacts.
      data_root: folder with `train/` and `eval/`, as `data.write_examples` makes it.
      serving_dir: folder to which Pusher copies a blessed model, below a number that grows.
      metadata_path: the sqlite file of ML Metadata; None on a cluster, which keeps its own.
      pipeline_name: name in ML Metadata.
      tree: the routes; without `fine_tuning`, all train as `steps` says.
      limits: what every EdgeEvaluator demands beside the accuracy.
      steps: of each training.
      beam_pipeline_args: for ExampleGen and every TFLiteQuantizer and EdgeEvaluator.
      enable_cache: whether a step whose inputs have not changed is skipped.

    Returns:
      A pipeline for LocalDagRunner, or for `tfx-edge compile`.

    Example:
      ```
      pipeline = create_pipeline('run/root', 'run/data', 'run/serving', 'run/metadata.sqlite')
      ```
    """
    example_gen, trainer = training(data_root, steps.training)
    routes = proto.DeploymentTree()
    routes.CopyFrom(tree)
    if not routes.fine_tuning:
        routes.fine_tuning.add(num_steps=steps.fine_tuning)
    components = deployment_tree(
        trainer.outputs, example_gen.outputs['examples'], eval_config(), edge=limits, tree=routes
    )
    selector = components[-1]
    pusher = pusher_of(selector.outputs['model'], selector.outputs['blessing'], serving_dir)
    return Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=os.fspath(pipeline_root),
        components=[example_gen, trainer, *components, pusher],
        metadata_connection_config=metadata_config(metadata_path),
        beam_pipeline_args=list(beam_pipeline_args),
        enable_cache=enable_cache,
    )
