"""A deployment tree on photographs of hands, as a user's pipeline: `make demo-tree DATA=DIR`."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from compression_bench import load_data
from tfx import v1 as tfx

from tfx_edge import proto
from tfx_edge.pipelines import deployment_tree

TREE = proto.DeploymentTree(
    pruning=[{'target_sparsity': 0.75, 'scope': 'GLOBAL'}],
    quantization=[{'mode': mode} for mode in ('FLOAT16', 'DYNAMIC_INT8', 'INT8')],
    fine_tuning=[{'num_steps': 600}],
)


def create_pipeline(
    pipeline_root: str, data: str, tree: proto.DeploymentTree = TREE, max_zip_bytes: int = 40_000
) -> tfx.dsl.Pipeline:
    """Builds the pipeline.

    Args:
      pipeline_root: folder for the artifacts; examples are written beside them.
      data: folder with the .npz files.
      tree: the routes.
      max_zip_bytes: of every file.

    Returns:
      A pipeline for `tfx-edge run`.
    """
    examples = pathlib.Path(pipeline_root) / 'examples'
    _write_examples(examples, pathlib.Path(data))
    splits = [tfx.proto.Input.Split(name=name, pattern=f'{name}/*') for name in ('train', 'eval')]
    example_gen = tfx.components.ImportExampleGen(str(examples), input_config=tfx.proto.Input(splits=splits))
    trainer = tfx.components.Trainer(
        run_fn='signs_trainer.run_fn',
        examples=example_gen.outputs['examples'],
        train_args=tfx.proto.TrainArgs(num_steps=1500),
        eval_args=tfx.proto.EvalArgs(),
    )
    components = deployment_tree(
        trainer.outputs,
        example_gen.outputs['examples'],
        _eval_config(),
        edge=proto.EdgeEvaluation(max_zip_bytes=max_zip_bytes, min_agreement=0.9),
        tree=tree,
    )
    selector = components[-1]
    pusher = tfx.components.Pusher(
        model=selector.outputs['model'],
        model_blessing=selector.outputs['blessing'],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=f'{pipeline_root}/serving')
        ),
    )
    return tfx.dsl.Pipeline(
        'signs-tree', pipeline_root, components=[example_gen, trainer, *components, pusher], enable_cache=True
    )


def _write_examples(folder: pathlib.Path, source: pathlib.Path) -> None:
    """Writes both splits once; ExampleGen takes a file that is written again for another."""
    if folder.is_dir():
        return
    data = load_data(source, 'signs')
    draft = folder.with_name('examples.unfinished')
    for split, images, labels in (
        ('train', data.x_train, data.y_train),
        ('eval', data.x_test, data.y_test),
    ):
        (draft / split).mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(draft / split / 'signs.tfrecord.gz'), options='GZIP') as writer:
            for image, label in zip(images, labels, strict=True):
                writer.write(_example(image, int(label)))
    draft.rename(folder)


def _example(image: np.ndarray, label: int) -> bytes:
    features = {
        'image': tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel())),
        'label': tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _eval_config() -> tfma.EvalConfig:
    accuracy = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={'value': 0.85}),
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={'value': -0.02}
        ),
    )
    metrics = [
        tfma.MetricConfig(class_name='ExampleCount'),
        tfma.MetricConfig(class_name='SparseCategoricalAccuracy', threshold=accuracy),
    ]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )
