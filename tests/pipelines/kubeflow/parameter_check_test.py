"""A parameter that is out of range is refused before anything heavy is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

_SCRIPT = """
import json, sys
from tfx_edge.pipelines.kubeflow import container_step
statuses = [container_step.main(arguments) for arguments in json.load(sys.stdin)]
heavy = ('tensorflow', 'apache_beam', 'tfx', 'tensorflow_model_analysis', 'kfp.client')
print(json.dumps([statuses, [name for name in heavy if name in sys.modules]]))
"""

_TUNING = '{"num_steps": 8}'
# Component, parameters, keys of inputs, what is said.
_CASES: Sequence[tuple[str, dict[str, str], Sequence[str], str]] = (
    (
        'pruner',
        {'pruning': '{"target_sparsity": 1.5}', 'fine_tuning': _TUNING},
        ['input_model', 'examples'],
        'Pruning.target_sparsity is 1.5; expected 0 to below 1.',
    ),
    (
        'pruner',
        {'pruning': '{"schedule": "CONSTANT", "criterion": "TAYLOR"}', 'fine_tuning': _TUNING},
        ['input_model', 'examples'],
        'Pruning.criterion TAYLOR with schedule CONSTANT has begin_step 0; expected 1 or more',
    ),
    (
        'pruner',
        {'pruning': 'no json', 'fine_tuning': _TUNING},
        ['input_model', 'examples'],
        "'no json' is not the JSON of tfx_edge.proto.Pruning",
    ),
    (
        'clusterer',
        {'clustering': '{"number_of_clusters": 1}', 'fine_tuning': _TUNING},
        ['input_model', 'examples'],
        'Clustering.number_of_clusters is 1; expected 3 to 64 with granularity DEPLOYED.',
    ),
    (
        'clusterer',
        {'clustering': '{}', 'fine_tuning': '{"batch_size": 0}'},
        ['input_model', 'examples'],
        'FineTuning.batch_size is 0; expected 1 or more.',
    ),
    (
        'clusterer',
        {'clustering': '{}', 'fine_tuning': _TUNING},
        ['input_model'],
        'FineTuning.num_steps is 8, which needs examples; give examples, or set num_steps to 0.',
    ),
    (
        'qat_trainer',
        {'qat': '{"activation_bits": 12}', 'fine_tuning': _TUNING},
        ['input_model', 'examples'],
        'QuantizationAwareTraining.activation_bits is 12; expected 8 or 16.',
    ),
    (
        'qat_trainer',
        {'qat': '{"require_fidelity": true}', 'fine_tuning': '{"num_steps": 0}'},
        ['input_model'],
        'QuantizationAwareTraining.require_fidelity needs examples to measure on; give examples.',
    ),
    (
        'qat_trainer',
        {'qat': '{}', 'fine_tuning': '{"batch_norm_batches": 2}'},
        ['input_model', 'examples'],
        'FineTuning.batch_norm_batches is 2, but the ranges that QATTrainer trains fit the batch norms',
    ),
    (
        'tflite_quantizer',
        {'quantization': '{"max_calibration_examples": 0}'},
        ['input_model', 'examples'],
        'Quantization.max_calibration_examples is 0; expected 1 or more.',
    ),
    (
        'tflite_quantizer',
        {'quantization': '{"mode": "INT8"}'},
        ['input_model'],
        'Quantization.mode INT8 needs the ranges of activations; give examples to calibrate on',
    ),
    (
        'tflite_quantizer',
        {'quantization': '{"metadata": {"labels": ["a"], "label_file": "minio://bucket/labels.txt"}}'},
        ['input_model', 'examples'],
        'Quantization.metadata has both labels and a label_file; leave one of the two unset.',
    ),
    (
        'edge_evaluator',
        {'edge': '{"min_agreement": 2}', 'eval_config': '{}', 'example_splits': '["eval"]'},
        ['model', 'examples'],
        'EdgeEvaluation.min_agreement is 2.0; expected a share above 0, at most 1.',
    ),
    (
        'edge_evaluator',
        {
            'edge': '{"max_metric_drop": [{"metric": "MeanSquaredError", "margin": -1}]}',
            'eval_config': '{}',
            'example_splits': '["eval"]',
        },
        ['model', 'examples'],
        "EdgeEvaluation.max_metric_drop has the margin -1.0 for 'MeanSquaredError'; expected how much worse",
    ),
    (
        'edge_selector',
        {'selection_config': '{"objective": "CYCLES"}', 'routes': '[]'},
        ['candidate_0'],
        'Selection.objective CYCLES is of a device; name it in Selection.device',
    ),
)


def _arguments(component: str, parameters: dict[str, str], inputs: Sequence[str]) -> list[str]:
    model = {'uri': 'minio://bucket/in', 'type': {'schemaTitle': 'tfx.Model'}}
    executor_input: dict[str, Any] = {
        'inputs': {
            'parameterValues': {**parameters, 'tfx_edge_version': '1'},
            'artifacts': {key: {'artifacts': [model]} for key in inputs},
        },
        'outputs': {'artifacts': {'model': {'artifacts': [model]}}, 'outputFile': '/absent/output.json'},
    }
    return [
        '--artifacts=mounts',
        f'--executor_class_path=tfx_edge.components.{component}.executor.Executor',
        f'--json_serialized_invocation_args={json.dumps(executor_input)}',
        '--json_serialized_inputs_spec_args={}',
    ]


@pytest.fixture(scope='module')
def refusals() -> tuple[list[str], list[int], list[str]]:
    """The lines, statuses and heavy modules of one process that runs a step for each case."""
    done = subprocess.run(
        [sys.executable, '-c', _SCRIPT],
        input=json.dumps([_arguments(component, given, inputs) for component, given, inputs, _ in _CASES]),
        capture_output=True,
        text=True,
        check=True,
    )
    statuses, heavy = json.loads(done.stdout)
    return [line for line in done.stderr.splitlines() if ' failed: ' in line], statuses, heavy


def test_each_component_refuses_a_parameter_in_one_line(
    refusals: tuple[list[str], list[int], list[str]],
) -> None:
    lines, statuses, _ = refusals
    assert statuses == [1] * len(_CASES)
    for line, (component, _, _, message) in zip(lines, _CASES, strict=True):
        assert line.startswith(
            f'tfx-edge: tfx_edge.components.{component}.executor.Executor failed: {message}'
        )


def test_nothing_heavy_is_imported_for_that(refusals: tuple[list[str], list[int], list[str]]) -> None:
    assert refusals[2] == []
