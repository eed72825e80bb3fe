"""NaN and infinities while calibrating: a model's own handling is kept float; all else is refused by name and place."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from tfx_edge.components.core.calibration.non_finite import NonFinite
from tfx_edge.components.core.calibration.pipeline import Calibrated, calibrate
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.post_training.recipe import Recipe, follow
from tfx_edge.components.core.signature import TensorSpec

pytestmark = pytest.mark.slow

_WIDTH = 6
_random = np.random.default_rng(0)
_KERNELS = [
    _random.normal(size=(_WIDTH, 16)).astype(np.float32),
    _random.normal(size=(16, 3)).astype(np.float32),
]
_MEANS = np.arange(_WIDTH, dtype=np.float32)


def _layers(x: tf.Tensor) -> tf.Tensor:
    return tf.matmul(tf.nn.relu(tf.matmul(x, _KERNELS[0])), _KERNELS[1])


def _imputes_means(x: tf.Tensor) -> tf.Tensor:
    return _layers(tf.where(tf.math.is_nan(x), _MEANS, x))


def _imputes_after_scaling(x: tf.Tensor) -> tf.Tensor:
    scaled = (x - 0.5) * 2.0
    return _layers(tf.where(tf.equal(scaled, scaled), scaled, tf.zeros_like(scaled)))


def _logarithm_of_zero(x: tf.Tensor) -> tf.Tensor:
    return _layers(tf.where(x > 0, tf.math.log(x), tf.zeros_like(x)))


def _masks_with_infinity(x: tf.Tensor) -> tf.Tensor:
    scores = _layers(x)
    return tf.nn.softmax(tf.where(scores > tf.reduce_min(scores, 1, keepdims=True), scores, -np.inf))


_NETS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    'means': _imputes_means,
    'scaled': _imputes_after_scaling,
    'logarithm': _logarithm_of_zero,
    'mask': _masks_with_infinity,
    'plain': _layers,
}


class _Net(tf.Module):
    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        super().__init__()
        self._function = function

    @tf.function(input_signature=[tf.TensorSpec((None, _WIDTH), tf.float32, name='x')])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'score': self._function(x)}


class _World:
    """Float files, made when first asked for, and calibration on examples."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._files: dict[str, bytes] = {}

    def float_file(self, name: str) -> bytes:
        if name not in self._files:
            net = _Net(_NETS[name])
            tf.saved_model.save(net, str(self.folder / name), signatures={'predict': net.predict})
            self._files[name] = convert_saved_model(str(self.folder / name), 'predict')
        return self._files[name]

    def examples(self, rows: Sequence[np.ndarray]) -> _Examples:
        path = self.folder / 'records'
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                feature = tf.train.Feature(float_list=tf.train.FloatList(value=row))
                example = tf.train.Example(features=tf.train.Features(feature={'x': feature}))
                writer.write(example.SerializeToString())
        return _Examples(self.folder, str(path))


class _Examples:
    """What a recipe calibrates on."""

    def __init__(self, folder: pathlib.Path, file: str) -> None:
        self._folder, self._file = folder, file

    def calibrate(
        self, float_model: bytes, channel_means_of: Sequence[str], *, histograms: bool
    ) -> Calibrated:
        (self._folder / 'float.tflite').write_bytes(float_model)
        return calibrate(
            lambda: beam.Pipeline(options=PipelineOptions(['--runner=FnApiRunner'])),
            files=[self._file],
            parser=ExampleParser({'x': TensorSpec((None, _WIDTH), tf.float32)}),
            float_model_path=str(self._folder / 'float.tflite'),
            result_path=str(self._folder / 'result.json'),
            max_examples=200,
            channel_means_of=channel_means_of,
            histograms=histograms,
        )

    def sample(self) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def reference(self) -> None:
        """There is nothing to compare on."""


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> _World:
    return _World(tmp_path_factory.mktemp('non_finite'))


def _rows(number: int = 100) -> np.ndarray:
    return np.abs(np.random.default_rng(1).normal(size=(number, _WIDTH))).astype(np.float32)


def _with(value: float, places: Mapping[int, int]) -> np.ndarray:
    rows = _rows()
    for row, column in places.items():
        rows[row, column] = value
    return rows


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8'])
@pytest.mark.parametrize(
    ('net', 'value'), [('means', np.nan), ('scaled', np.nan), ('logarithm', 0.0), ('mask', 1.0)]
)
def test_what_the_model_handles_stays_float_and_right(
    world: _World, net: str, value: float, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = _with(value, {number: number % _WIDTH for number in range(7, 60, 3)})
    float_file = world.float_file(net)
    made = follow(Recipe(QuantizationOptions(mode)), float_file, world.examples(rows))
    ours, theirs = (LiteRTModel(file)({'x': rows})['score'] for file in (made.model, float_file))
    error = np.mean(np.square(ours - theirs)) / np.var(theirs)
    assert error < 1e-3
    (warning,) = (r.getMessage() for r in caplog.records if 'integers cannot hold it' in r.getMessage())
    assert ("feature 'x' holds NaN" in warning) == (net in ('means', 'scaled'))
    # The rest is integer all the same.
    operators = inspect_model(made.model).operators
    kernels = [op for op in operators if op.name == 'FULLY_CONNECTED']
    floating = {op.output for op in inspect_model(made.model).float_ops}
    assert kernels
    assert not floating & {op.output for op in kernels}


def test_the_place_of_the_first_is_named(world: _World, caplog: pytest.LogCaptureFixture) -> None:
    rows = _with(np.nan, {40: 2, 17: 0, 63: 5})
    found = world.examples(rows).calibrate(world.float_file('means'), (), histograms=False)
    (held,) = found.non_finite.values()
    assert held == NonFinite(3, True, (str(world.folder / 'records'), 17))
    assert (
        f"feature 'x' holds NaN (in 3 of 100 examples; the first is record 17 of {held.first[0]})"
        in caplog.text
    )


def test_nan_that_nothing_handles_is_refused_by_feature_and_place(world: _World) -> None:
    with pytest.raises(
        EdgeError, match=r"feature 'x' holds it \(in 1 of 100 examples; the first is record 23 of "
    ):
        world.examples(_with(np.nan, {23: 1})).calibrate(world.float_file('plain'), (), histograms=False)


def test_infinity_in_an_example_is_refused_too(world: _World) -> None:
    with pytest.raises(
        EdgeError, match=r"held infinity while calibrating: feature 'x' holds it .*record 5 of"
    ):
        world.examples(_with(np.inf, {5: 1})).calibrate(world.float_file('means'), (), histograms=False)


def test_integer_inputs_cannot_hold_what_the_model_handles(world: _World) -> None:
    examples = world.examples(_with(np.nan, {23: 1}))
    with pytest.raises(
        EdgeError, match=r"feature 'x' holds NaN, which the model handles itself.*set io to FLOAT"
    ):
        follow(Recipe(QuantizationOptions('INT8', 'INT8')), world.float_file('means'), examples)


def test_without_any_nothing_changes(world: _World) -> None:
    made = follow(Recipe(QuantizationOptions('INT8')), world.float_file('plain'), world.examples(_rows()))
    assert not inspect_model(made.model).float_ops


def test_places_add_up_in_any_order() -> None:
    parts = [NonFinite(1, False, ('b', 3)), NonFinite(2, True, ('a', 9)), NonFinite(1, False, None)]
    total = NonFinite(4, True, ('a', 9))
    assert parts[0] + parts[1] + parts[2] == total
    assert parts[2] + (parts[1] + parts[0]) == total
