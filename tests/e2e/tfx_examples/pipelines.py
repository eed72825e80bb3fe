"""Each of TFX's examples as a pipeline with tfx-edge behind its Trainer. `python -m` runs some, in one process.

`TF_USE_LEGACY_KERAS` says which Keras is tf.keras for their Trainer modules, and has to be set before TensorFlow is
imported."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx import v1 as tfx

from tests.e2e.tfx_examples.catalog import EXAMPLES, TFXExample
from tfx_edge import proto
from tfx_edge.components import EdgeEvaluator, Pruner, QATTrainer, TFLiteQuantizer
from tfx_edge.pipelines.local import BEAM_ARGS

SEED = 0
TRAIN_STEPS, TUNING_STEPS, FINE_TUNING_STEPS = 60, 2, 60


def connection(folder: pathlib.Path) -> Any:
    """To the metadata of the pipeline in a folder."""
    return tfx.orchestration.metadata.sqlite_metadata_connection_config(str(folder / 'metadata.sqlite'))


def eval_config(example: TFXExample) -> tfma.EvalConfig:
    """As the example's own pipeline gives it to Evaluator."""
    metric = tfma.MetricConfig(class_name=example.metric)
    metric.threshold.value_threshold.lower_bound.value = 0.6
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name='serving_default',
                label_key=example.label,
                preprocessing_function_names=[example.signature] if example.signature else [],
            )
        ],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[tfma.MetricsSpec(metrics=[metric, tfma.MetricConfig(class_name='ExampleCount')])],
    )


def create_pipeline(name: str, folder: pathlib.Path) -> tfx.dsl.Pipeline:
    """The example's own steps, tfx-edge to Pusher, and where it is compared stock Evaluator beside."""
    example = EXAMPLES[name]
    own = _own_steps(example, folder)
    trained, transform = own['Trainer'].outputs['model'], own['Transform']
    transformed = transform.outputs['transformed_examples']
    raw = {
        'examples': own['ExampleGen'].outputs['examples'],
        'transform_graph': transform.outputs['transform_graph'],
    }
    edge = [
        *compressing_steps(trained, transformed, raw),
        *(_comparing_steps(example, trained, raw) if example.compared else []),
    ]
    resolvers = [_latest_blessed('TFLiteQuantizer', 'EdgeEvaluator')] if example.tuned else []
    baseline = resolvers[0].outputs['model'] if resolvers else trained
    return tfx.dsl.Pipeline(
        pipeline_name=name,
        pipeline_root=str(folder / 'root'),
        metadata_connection_config=connection(folder),
        components=[
            *own.values(),
            *edge,
            *resolvers,
            *judging_steps(example, edge[2].outputs['model'], baseline, raw, str(folder / 'serving')),
        ],
        beam_pipeline_args=[*BEAM_ARGS, '--sdk_container_image=none'],
        enable_cache=True,
    )


def compressing_steps(trained: Any, transformed: Any, raw: dict[str, Any]) -> list[Any]:
    """Pruner, QATTrainer and TFLiteQuantizer.

    Args:
      trained: Channel of Model.
      transformed: Channel of Examples that Transform wrote; Pruner trains on them.
      raw: channels of `examples` and `transform_graph`; QATTrainer trains on them.
    """
    tuning = proto.FineTuning(num_steps=FINE_TUNING_STEPS)
    pruner = Pruner(model=trained, examples=transformed, fine_tuning=tuning)
    qat = QATTrainer(model=pruner.outputs['model'], **raw, fine_tuning=tuning)
    quantizer = TFLiteQuantizer(
        model=qat.outputs['model'],
        calibration=qat.outputs['calibration'],
        transform_graph=raw['transform_graph'],
    )
    return [pruner, qat, quantizer]


def judging_steps(
    example: TFXExample, model: Any, baseline: Any, raw: dict[str, Any], serving: str
) -> list[Any]:
    """EdgeEvaluator and Pusher."""
    evaluator = EdgeEvaluator(
        model=model,
        baseline_model=baseline,
        **raw,
        eval_config=eval_config(example),
        edge=proto.EdgeEvaluation(
            max_metric_drop=[{'metric': example.metric, 'margin': 0.1}],
            bless_undecided=True,
            max_file_bytes=100_000,
            # A few rides are 24 times as long as is usual, which the others leave most of a range to.
            min_range_used=0.05,
        ),
    )
    pusher = tfx.components.Pusher(
        model=model,
        model_blessing=evaluator.outputs['blessing'],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=serving)
        ),
    )
    return [evaluator, pusher]


def _own_steps(example: TFXExample, folder: pathlib.Path) -> dict[str, Any]:
    """ExampleGen to Trainer."""
    kind = tfx.components.CsvExampleGen if example.is_csv else tfx.components.ImportExampleGen
    gen = kind(input_base=str(folder / 'data')).with_id('ExampleGen')
    examples = gen.outputs['examples']
    statistics = tfx.components.StatisticsGen(examples=examples)
    schema = tfx.components.SchemaGen(
        statistics=statistics.outputs['statistics'], infer_feature_shape=example.has_fixed_shapes
    )
    transform = tfx.components.Transform(
        examples=examples,
        schema=schema.outputs['schema'],
        preprocessing_fn=f'{example.preprocessing}.preprocessing_fn',
    )
    given = {
        'examples': transform.outputs['transformed_examples'],
        'transform_graph': transform.outputs['transform_graph'],
        'schema': schema.outputs['schema'],
        'eval_args': tfx.proto.EvalArgs(num_steps=1),
    }
    steps = [gen, statistics, schema, transform]
    if example.tuned:
        tuner = tfx.components.Tuner(
            tuner_fn=f'{example.trainer}.tuner_fn',
            train_args=tfx.proto.TrainArgs(num_steps=TUNING_STEPS),
            **given,
        )
        steps.append(tuner)
        given['hyperparameters'] = tuner.outputs['best_hyperparameters']
    trainer = tfx.components.Trainer(
        run_fn=f'{example.trainer}.run_fn', train_args=tfx.proto.TrainArgs(num_steps=TRAIN_STEPS), **given
    )
    return {step.id: step for step in [*steps, trainer]}


def _comparing_steps(example: TFXExample, trained: Any, raw: dict[str, Any]) -> list[Any]:
    """Stock Evaluator on the Trainer's model, and EdgeEvaluator on the same model as a float file."""
    config = eval_config(example)
    resolvers = [_latest_blessed('Trainer', 'Evaluator')] if example.tuned else []
    evaluator = tfx.components.Evaluator(
        examples=raw['examples'],
        model=trained,
        baseline_model=resolvers[0].outputs['model'] if resolvers else None,
        eval_config=config,
    )
    float_file = TFLiteQuantizer(
        model=trained,
        transform_graph=raw['transform_graph'],
        quantization=proto.Quantization(mode='FLOAT32'),
    ).with_id('FloatFile')
    float_evaluator = EdgeEvaluator(
        model=float_file.outputs['model'], baseline_model=trained, **raw, eval_config=config
    ).with_id('FloatEvaluator')
    return [*resolvers, evaluator, float_file, float_evaluator]


def _latest_blessed(maker: str, judge: str) -> Any:
    """Without the steps' names it would resolve the newest of all models: the Trainer's, or a file."""
    artifacts = tfx.types.standard_artifacts
    return tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=artifacts.Model, producer_component_id=maker, output_key='model'),
        model_blessing=tfx.dsl.Channel(
            type=artifacts.ModelBlessing, producer_component_id=judge, output_key='blessing'
        ),
    ).with_id(f'LatestOf{maker}')


def run(name: str, folder: pathlib.Path) -> None:
    """Writes the data and runs the pipeline."""
    (folder / 'data').mkdir(parents=True)
    EXAMPLES[name].write_data(folder / 'data')
    # The examples' Trainers draw their weights unseeded: another net, and another judgement, at each run.
    tf.keras.utils.set_random_seed(SEED)
    for _ in range(2 if EXAMPLES[name].tuned else 1):
        tfx.orchestration.LocalDagRunner().run(create_pipeline(name, folder))


if __name__ == '__main__':
    for argument in sys.argv[2:]:
        run(argument, pathlib.Path(sys.argv[1], argument))
