"""The digits pipeline: from tf.Examples to a pushed `.tflite` file, with all five components."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2  # TFMA 0.52 does not export every message

# Not tfx.v1, which imports Google Cloud's AI Platform too; that takes seconds.
from tfx.components import ImportExampleGen, Pusher, Trainer
from tfx.orchestration import metadata
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2
from tfx.types import BaseChannel

import tfx_edge
from tfx_edge import proto
from tfx_edge.components import Clusterer, EdgeEvaluator, Pruner, QATTrainer, TFLiteQuantizer
from tfx_edge.pipelines.digits.data import LABEL

PIPELINE_NAME = 'digits'

PRUNING = proto.Pruning(target_sparsity=0.6)
CLUSTERING = proto.Clustering(number_of_clusters=16)
QUANTIZATION = proto.Quantization(mode=proto.Quantization.INT8)
# A microcontroller's share of flash for the model, and of an update that is sent to it.
LIMITS = proto.EdgeEvaluation(min_agreement=0.95, max_file_bytes=65_536, max_zip_bytes=32_768)


def create_pipeline(
    pipeline_root: str,
    data_root: str,
    serving_dir: str,
    metadata_path: str | None = None,
    *,
    pipeline_name: str = PIPELINE_NAME,
    train_steps: int = 1200,
    fine_tuning_steps: int = 1000,
    pruning: proto.Pruning | RuntimeParameter = PRUNING,
    clustering: proto.Clustering | RuntimeParameter = CLUSTERING,
    fine_tuning: proto.FineTuning | RuntimeParameter | None = None,
    quantization: proto.Quantization | RuntimeParameter = QUANTIZATION,
    limits: proto.EdgeEvaluation | RuntimeParameter = LIMITS,
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
      train_steps: of Trainer.
      fine_tuning_steps: of Pruner, Clusterer and QATTrainer, each.
      pruning: of Pruner; a RuntimeParameter holds the message's JSON, as for the next four.
      clustering: of Clusterer.
      fine_tuning: of Pruner, Clusterer and QATTrainer, instead of `fine_tuning_steps`.
      quantization: of TFLiteQuantizer.
      limits: what EdgeEvaluator demands beside the accuracy.
      beam_pipeline_args: for ExampleGen, TFLiteQuantizer and EdgeEvaluator.
      enable_cache: whether a step whose inputs have not changed is skipped.

    Returns:
      A pipeline for LocalDagRunner, or for `tfx-edge compile`.

    Example:
      >>> create_pipeline('run/root', 'run/data', 'run/serving', 'run/metadata.sqlite').pipeline_name
      'digits'
    """
    if fine_tuning is None:
        fine_tuning = proto.FineTuning(num_steps=fine_tuning_steps)
    example_gen, trainer = training(data_root, train_steps)
    pruner, clusterer, qat_trainer = _compression(trainer, example_gen, pruning, clustering, fine_tuning)
    deployment = _deployment(qat_trainer, trainer, example_gen, quantization, limits, serving_dir)
    return Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=pipeline_root,
        components=[example_gen, trainer, pruner, clusterer, qat_trainer, *deployment],
        metadata_connection_config=metadata_config(metadata_path),
        beam_pipeline_args=list(beam_pipeline_args),
        enable_cache=enable_cache,
    )


def training(data_root: str, steps: int) -> tuple[ImportExampleGen, Trainer]:
    """The stock components that a pipeline begins with."""
    splits = [example_gen_pb2.Input.Split(name=name, pattern=f'{name}/*') for name in ('train', 'eval')]
    example_gen = ImportExampleGen(input_base=data_root, input_config=example_gen_pb2.Input(splits=splits))
    trainer = Trainer(
        run_fn='tfx_edge.pipelines.digits.trainer_module.run_fn',
        examples=example_gen.outputs['examples'],
        train_args=trainer_pb2.TrainArgs(num_steps=steps),
        eval_args=trainer_pb2.EvalArgs(),
        # For the cache key only, which does not include the code of a run_fn that is named by its path.
        custom_config={'tfx_edge_version': tfx_edge.__version__},
    )
    return example_gen, trainer


def _compression(
    trainer: Trainer,
    example_gen: ImportExampleGen,
    pruning: proto.Pruning | RuntimeParameter,
    clustering: proto.Clustering | RuntimeParameter,
    fine_tuning: proto.FineTuning | RuntimeParameter,
) -> tuple[Pruner, Clusterer, QATTrainer]:
    """Zeros, then few distinct values, then the deployed arithmetic; each keeps what the one before made."""
    examples = example_gen.outputs['examples']
    pruner = Pruner(
        model=trainer.outputs['model'],
        examples=examples,
        pruning=pruning,
        fine_tuning=fine_tuning,
    )
    clusterer = Clusterer(
        model=pruner.outputs['model'],
        examples=examples,
        clustering=clustering,
        fine_tuning=fine_tuning,
    )
    qat_trainer = QATTrainer(model=clusterer.outputs['model'], examples=examples, fine_tuning=fine_tuning)
    return pruner, clusterer, qat_trainer


def _deployment(
    qat_trainer: QATTrainer,
    trainer: Trainer,
    example_gen: ImportExampleGen,
    quantization: proto.Quantization | RuntimeParameter,
    limits: proto.EdgeEvaluation | RuntimeParameter,
    serving_dir: str,
) -> tuple[TFLiteQuantizer, EdgeEvaluator, Pusher]:
    """The file, what it is worth beside the Trainer's model, and where it goes if it holds."""
    quantizer = TFLiteQuantizer(
        model=qat_trainer.outputs['model'],
        calibration=qat_trainer.outputs['calibration'],
        quantization=quantization,
    )
    evaluator = EdgeEvaluator(
        model=quantizer.outputs['model'],
        examples=example_gen.outputs['examples'],
        baseline_model=trainer.outputs['model'],
        eval_config=eval_config(),
        edge=limits,
    )
    pusher = pusher_of(quantizer.outputs['model'], evaluator.outputs['blessing'], serving_dir)
    return quantizer, evaluator, pusher


def pusher_of(model: BaseChannel, blessing: BaseChannel, serving_dir: str) -> Pusher:
    """The stock Pusher, which copies a blessed model to a folder, below a number that grows."""
    return Pusher(
        model=model,
        model_blessing=blessing,
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_dir)
        ),
    )


def metadata_config(path: str | None) -> Any:
    """The connection to a sqlite file of ML Metadata, whose folder is made; None for none."""
    if path is None:
        return None
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    return metadata.sqlite_metadata_connection_config(path)


def eval_config() -> tfma.EvalConfig:
    """Accuracy over all images and for each digit; over all, at most 1.5 points under the float model's."""
    accuracy = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={'value': 0.9}),
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={'value': -0.015}
        ),
    )
    # A digit has 36 images, each worth three points of accuracy: slices of digits have no threshold.
    overall = config_pb2.PerSliceMetricThreshold(slicing_specs=[tfma.SlicingSpec()], threshold=accuracy)
    metrics = [
        tfma.MetricConfig(class_name='ExampleCount'),
        tfma.MetricConfig(class_name='SparseCategoricalAccuracy', per_slice_thresholds=[overall]),
    ]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key=LABEL)],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[LABEL])],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )
