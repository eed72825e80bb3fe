"""A user's loss, augmentation and optimizer, from a module file."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import standard_artifacts

from tfx_edge import proto
from tfx_edge.components import Pruner, QATTrainer
from tfx_edge.components.core.errors import EdgeError

pytestmark = pytest.mark.slow

_MODULE = """
import keras
import tensorflow as tf

def loss_fn(features, teacher, student):
    (probabilities,) = student.values()
    (expected,) = teacher.values()
    by_label = keras.losses.sparse_categorical_crossentropy(tf.reshape(features['label'], [-1]), probabilities)
    return tf.reduce_mean(by_label) + tf.reduce_mean(tf.square(probabilities - expected))

def augment_fn(features, seed):
    noise = tf.random.stateless_normal(tf.shape(features['image']), seed, stddev=0.01)
    return {**features, 'image': features['image'] + noise}

def optimizer_fn(num_steps):
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, num_steps))
"""


def _run(component: Any, model: Any, examples: Any, folder: pathlib.Path, source: str) -> pathlib.Path:
    folder.mkdir(parents=True)
    (folder / 'my_training.py').write_text(source)
    made = component(
        model=types.Channel(type=standard_artifacts.Model),
        examples=types.Channel(type=standard_artifacts.Examples),
        fine_tuning=proto.FineTuning(num_steps=20, label_key='label'),
        module_file=str(folder / 'my_training.py'),
    )
    outputs = {}
    for key, channel in made.outputs.items():
        outputs[key] = [channel.type()]
        outputs[key][0].uri = str(folder / key)
        outputs[key][0].set_string_custom_property('tfx_version', '1.16.0')
    context = base_executor.BaseExecutor.Context(tmp_dir=str(folder), unique_id='1')
    inputs = {'input_model': [model], 'examples': [examples]}
    made.executor_spec.executor_class(context).Do(inputs, outputs, dict(made.exec_properties))
    return folder / 'model' / 'Format-Serving'


def _outputs(folder: pathlib.Path, images: np.ndarray) -> np.ndarray:
    signature = tf.saved_model.load(str(folder)).signatures['serving_default']
    return next(iter(signature(image=tf.constant(images)).values())).numpy()


def test_functions_take_part_in_the_training(
    model_artifact: Any, examples_artifact: Any, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    sources = {'all': _MODULE, 'again': _MODULE}
    for name in ('loss_fn', 'augment_fn', 'optimizer_fn'):
        sources[f'without {name}'] = _MODULE.replace(f'def {name}', f'def other_{name}')
    made = {
        name: _outputs(
            _run(Pruner, model_artifact, examples_artifact, tmp_path / name, source), digits['x_eval'][:20]
        )
        for name, source in sources.items()
    }
    np.testing.assert_array_equal(made['all'], made['again'])
    for name in list(sources)[2:]:
        assert not np.array_equal(made['all'], made[name]), name


def test_qat_trains_with_a_module(
    model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    assert (
        _run(QATTrainer, model_artifact, examples_artifact, tmp_path / 'run', _MODULE) / 'saved_model.pb'
    ).exists()


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ('x = 1', 'has none of loss_fn, augment_fn, optimizer_fn'),
        ('import nowhere_to_be_found', 'cannot be imported .*nowhere_to_be_found'),
        (
            'def loss_fn(features, teacher, student): return list(student.values())[0]',
            'expected a floating scalar',
        ),
        (
            'def augment_fn(features, seed): return {"label": features["label"]}',
            "returns nothing for 'image'",
        ),
        ('def optimizer_fn(num_steps): return "adam"', 'returns str; expected a keras.optimizers.Optimizer'),
    ],
)
def test_module_that_does_not_fit_is_one_clear_line(
    source: str, message: str, model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(EdgeError, match=message) as raised:
        _run(Pruner, model_artifact, examples_artifact, tmp_path / 'run', source)
    assert '\n' not in str(raised.value)
    assert not (tmp_path / 'run' / 'model' / 'Format-Serving').exists()


def test_custom_properties_show_what_became_of_each_weight(
    model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    made = Pruner(
        model=types.Channel(type=standard_artifacts.Model), fine_tuning=proto.FineTuning(num_steps=0),
        pruning=proto.Pruning(target_sparsity=0.75),
    )  # fmt: skip
    output = standard_artifacts.Model()
    output.uri = str(tmp_path / 'model')
    context = base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path), unique_id='1')
    made.executor_spec.executor_class(context).Do(
        {'input_model': [model_artifact]}, {'model': [output]}, dict(made.exec_properties)
    )
    weights = json.loads(output.get_string_custom_property('tfx_edge_weights'))
    assert len(weights) == 5
    for weight in weights:
        assert weight['zeros'] == round(0.75 * weight['elements'])
        assert 2 < weight['distinct'] <= 255
        assert 0 < weight['moved'] < 1
    assert output.get_float_custom_property('tfx_edge_zeros') == pytest.approx(0.75, abs=0.01)
