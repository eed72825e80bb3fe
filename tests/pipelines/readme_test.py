"""What the README says of pipelines: a diff of TFX's penguin template, a pipeline, and a stricter gate for it."""

from __future__ import annotations

import pathlib
import runpy

import pytest
from tfx import v1 as tfx

from tests.pipelines import readme_snippets
from tests.pipelines.penguin_template import copy_pipeline
from tfx_edge.components import Clusterer, EdgeEvaluator, Pruner, QATTrainer, TFLiteQuantizer

pytestmark = pytest.mark.slow


def test_snippet_adds_the_five_components_to_a_pipeline() -> None:
    made = [type(value) for value in readme_snippets.run().values()]
    for component in (Pruner, Clusterer, QATTrainer, TFLiteQuantizer, EdgeEvaluator):
        assert component in made


def test_diff_lets_the_penguin_template_push_a_quantized_model(tmp_path: pathlib.Path) -> None:
    create_pipeline = runpy.run_path(str(copy_pipeline(tmp_path)))['create_pipeline']
    pipeline = create_pipeline(
        pipeline_name='penguin',
        pipeline_root=str(tmp_path),
        data_path=str(tmp_path),
        preprocessing_fn='models.preprocessing.preprocessing_fn',
        run_fn='models.model.run_fn',
        train_args=tfx.proto.TrainArgs(num_steps=1),
        eval_args=tfx.proto.EvalArgs(num_steps=1),
        eval_accuracy_threshold=0.6,
        serving_model_dir=str(tmp_path),
    )
    steps = {step.id: step for step in pipeline.components}
    assert steps.keys() >= {'Transform', 'Trainer', 'Pruner', 'QATTrainer', 'latest_blessed_model_resolver'}
    assert 'Evaluator' not in steps
    for step in ('EdgeEvaluator', 'Pusher'):
        assert steps[step].inputs['model'] is steps['TFLiteQuantizer'].outputs['model']
