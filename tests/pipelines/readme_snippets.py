"""The snippets of README.md, run: a pipeline, and a stricter gate for it. Needs tfx-edge and its packages alone."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx

from tfx_edge.components import EdgeEvaluator

README = pathlib.Path(__file__).parents[2] / 'README.md'


def run() -> dict[str, Any]:
    """Runs the Python snippets one after the other, and returns what they named."""
    example_gen = tfx.components.ImportExampleGen('data')
    trainer = tfx.components.Trainer(
        examples=example_gen.outputs['examples'],
        run_fn='my_trainer.run_fn',
        train_args=tfx.proto.TrainArgs(num_steps=1),
        eval_args=tfx.proto.EvalArgs(num_steps=1),
    )
    eval_config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name='SparseCategoricalAccuracy')])],
    )
    names: dict[str, Any] = {'example_gen': example_gen, 'trainer': trainer, 'eval_config': eval_config}
    for snippet in re.findall(r'```python\n(.*?)```', README.read_text(), re.DOTALL):
        exec(compile(snippet, str(README), 'exec'), names)
    EdgeEvaluator(
        model=names['quantizer'].outputs['model'],
        examples=example_gen.outputs['examples'],
        baseline_model=trainer.outputs['model'],
        eval_config=eval_config,
        edge=names['edge'],
    )
    return names


if __name__ == '__main__':
    run()
    print('the snippets of README.md run with TFX', tfx.__version__)
