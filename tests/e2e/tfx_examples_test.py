"""TFX's own examples and templates, their modules unchanged and from the wheel, to a file that is blessed and pushed.

`make test` runs one on each line of TFX, `make test-tfx-examples` all."""

from __future__ import annotations

import filecmp
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.e2e.tfx_examples.catalog import EXAMPLES
from tests.e2e.tfx_examples.runs import Done, find, run_pipelines
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

pytestmark = pytest.mark.slow

# The widest, and the one that a new user starts from.
IN_EVERY_RUN = ('taxi',) if sys.version_info < (3, 11) else ('penguin-template',)
CHECKPOINT = {f'variables/variables.{part}' for part in ('index', 'data-00000-of-00001')}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if 'name' in metafunc.fixturenames:
        needed = [field for field in ('compared', 'tuned') if field in metafunc.fixturenames]
        fitting = [n for n in names(metafunc.config) if all(getattr(EXAMPLES[n], field) for field in needed)]
        metafunc.parametrize('name', fitting, scope='module')


def names(config: pytest.Config) -> tuple[str, ...]:
    return tuple(EXAMPLES) if config.option.all_tfx_examples else IN_EVERY_RUN


@pytest.fixture(scope='module')
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp('tfx_examples')
    run_pipelines(folder, names(request.config))
    return folder


@pytest.fixture(scope='module')
def done(name: str, root: pathlib.Path) -> Done:
    return find(root, name)


@pytest.fixture(scope='module')
def compared(done: Done) -> Done:
    return done


@pytest.fixture(scope='module')
def tuned(done: Done) -> Done:
    return done


def test_file_is_blessed_pushed_and_takes_what_transform_makes(done: Done) -> None:
    assert done.properties('EdgeEvaluator', 'blessing')['blessed'] == 1
    pushed = done.pushed()
    assert pushed == (done.folder('TFLiteQuantizer') / 'tflite').read_bytes()
    assert LiteRTModel(pushed).inputs.keys() == done.example.inputs


def test_dense_function_is_reported_and_answers_as_the_string_signature(done: Done) -> None:
    for step in ('Pruner', 'QATTrainer', 'TFLiteQuantizer'):
        described = done.properties(step, 'model')['tfx_edge_dense_function']
        assert "signature 'serving_default'" in described
    evaluator = 'FloatEvaluator' if done.example.compared else 'EdgeEvaluator'
    (note,) = (note for note in done.notes(evaluator) if 'serving_default' in note)
    assert note.startswith("the evaluated function answers as signature 'serving_default' does on")


@pytest.mark.parametrize('step', ['Pruner', 'QATTrainer'])
def test_saved_model_differs_in_variables_alone(step: str, done: Done) -> None:
    before, after = done.folder('Trainer'), done.folder(step)
    files, same = (
        sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())
        for folder in (before, after)
    )
    assert files == same
    _, differing, errors = filecmp.cmpfiles(before, after, files, shallow=False)
    assert not errors
    assert 'variables/variables.data-00000-of-00001' in differing
    assert set(differing) <= {*CHECKPOINT, 'fingerprint.pb'}


def test_string_signature_serves_the_pruned_weights(done: Done) -> None:
    """As the Trainer's model does once plain TensorFlow has put them into its variables."""
    trained, pruned = (tf.saved_model.load(str(done.folder(step))) for step in ('Trainer', 'Pruner'))
    records = tf.constant(done.raw_records())
    before, after = (answers(model, records) for model in (trained, pruned))
    assert not np.allclose(before, after)
    for old, new in zip(weights(trained), weights(pruned), strict=True):
        old.assign(new)
    np.testing.assert_array_equal(answers(trained, records), after)


def test_half_of_each_kernel_is_zero_in_the_model_of_qat_trainer(done: Done) -> None:
    model = tf.saved_model.load(str(done.folder('QATTrainer')))
    kernels = [variable.numpy() for variable in weights(model) if variable.shape.rank == 2]
    assert kernels
    for kernel in kernels:
        assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.02)


def test_metrics_of_the_float_file_are_those_of_stock_evaluator(compared: Done) -> None:
    """Which calls the string signature on raw examples."""
    stock, ours = compared.metrics('Evaluator'), compared.metrics('FloatEvaluator')
    assert len(ours) == 2
    assert ours['example_count'] > 30
    # Stock Evaluator adds what the model was compiled with.
    assert {name: stock[name] for name in ours} == pytest.approx(ours, abs=1e-6)


def test_second_run_compares_with_what_was_blessed_last(tuned: Done) -> None:
    """TFX's Resolver gives each evaluator the model that it blessed in the run before."""
    assert tuned.steps['Tuner'].cached
    for evaluator, maker in (('EdgeEvaluator', 'TFLiteQuantizer'), ('Evaluator', 'Trainer')):
        assert not tuned.steps[evaluator].cached
        blessing = tuned.properties(evaluator, 'blessing')
        assert blessing['blessed'] == 1
        assert blessing['baseline_model'] == tuned.steps[maker].output('model').uri


def answers(model: Any, records: tf.Tensor) -> np.ndarray:
    (values,) = model.signatures['serving_default'](examples=records).values()
    return values.numpy()


def weights(model: Any) -> Sequence[tf.Variable]:
    """In the order of the graph, which is the same in all of these models."""
    return model.signatures['serving_default'].trainable_variables
