"""Calibration on Beam: the same ranges from any sharding, and errors in one line."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from tfx_edge.components.core.calibration.pipeline import calibrate
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples import ExampleParser
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.signature import TensorSpec

_IN_MEMORY = ('--runner=FnApiRunner',)
_TWO_PROCESSES = ('--direct_running_mode=multi_processing', '--direct_num_workers=2')

Run = Callable[..., tuple[dict[str, tuple[float, float]], str]]


@pytest.fixture(scope='module')
def float_model(digits_saved_model: pathlib.Path) -> bytes:
    """The digits net as float `.tflite`."""
    return convert_saved_model(str(digits_saved_model), 'serving_default')


@pytest.fixture
def run(float_model: bytes, tmp_path: pathlib.Path) -> Run:
    """Calibrates on files; returns the ranges and the statistics as written."""
    path = tmp_path / 'float.tflite'
    path.write_bytes(float_model)

    def calibrated(
        files: Sequence[str], arguments: Sequence[str] = _IN_MEMORY, max_examples: int = 150
    ) -> tuple:
        ranges = calibrate(
            lambda: beam.Pipeline(options=PipelineOptions(list(arguments))),
            files=files,
            parser=ExampleParser({'image': TensorSpec((None, 8, 8, 1), tf.float32)}),
            float_model_path=str(path),
            result_path=str(tmp_path / 'statistics.json'),
            max_examples=max_examples,
        )
        return ranges, (tmp_path / 'statistics.json').read_text()

    return calibrated


def _record(image: np.ndarray, name: str = 'image') -> bytes:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel()))
    return tf.train.Example(features=tf.train.Features(feature={name: feature})).SerializeToString()


def _write(path: pathlib.Path, records: Sequence[bytes]) -> str:
    with tf.io.TFRecordWriter(str(path), options='GZIP') as writer:
        for record in records:
            writer.write(record)
    return str(path)


@pytest.fixture(scope='module')
def records(digits: dict[str, np.ndarray]) -> list[bytes]:
    """400 images, some of them twice."""
    images = [_record(image) for image in digits['x_train'][:360]]
    return images + images[:40]


def _shards(folder: pathlib.Path, records: list[bytes], count: int) -> list[str]:
    """`count` files of uneven size, each backwards."""
    cuts = [0, *(len(records) * (i + 1) // count - 7 * (count - i - 1) for i in range(count))]
    return [
        _write(folder / f'{count}-{i}.gz', records[cuts[i] : cuts[i + 1]][:: 1 if count == 1 else -1])
        for i in range(count)
    ]


def test_ranges_do_not_depend_on_shards_order_or_processes(
    run: Run, records: list[bytes], tmp_path: pathlib.Path
) -> None:
    expected = run(_shards(tmp_path, records, 1))
    assert run(_shards(tmp_path, records, 2)) == expected
    assert run(_shards(tmp_path, records, 4)[::-1]) == expected
    assert run(_shards(tmp_path, records, 4), _TWO_PROCESSES) == expected
    assert '"examples": 150' in expected[1]


def test_all_examples_are_used_where_there_are_fewer(
    run: Run, records: list[bytes], digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    ranges, written = run([_write(tmp_path / 'few.gz', records[:20])], max_examples=1000)
    assert '"examples": 20,' in written
    image = next(limits for name, limits in ranges.items() if 'image' in name)
    assert image == (digits['x_train'][:20].min(), digits['x_train'][:20].max())


def test_which_examples_are_used_depends_on_their_content(
    run: Run, records: list[bytes], tmp_path: pathlib.Path
) -> None:
    """An example that stands first or last is chosen, or not, all the same."""
    extreme = [_record(np.full((8, 8, 1), value, np.float32)) for value in (3.0, 5.0, 9.0)]
    first, last = _write(tmp_path / 'a.gz', extreme + records), _write(tmp_path / 'b.gz', records + extreme)
    assert run([first], max_examples=40) == run([last], max_examples=40)


def test_which_examples_are_used_does_not_depend_on_the_order_of_their_features(
    run: Run, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    # Serialized messages merge when joined: the map's entries in this order.
    pairs = [(_record(image), _record(image, 'other')) for image in digits['x_train'][:60]]
    one = _write(tmp_path / 'a.gz', [a + b for a, b in pairs])
    other = _write(tmp_path / 'b.gz', [b + a if i % 2 else a + b for i, (a, b) in enumerate(pairs)])
    assert run([one], max_examples=10) == run([other], max_examples=10)


@pytest.mark.parametrize('arguments', [_IN_MEMORY, _TWO_PROCESSES])
def test_truncated_file_is_one_clear_line(
    run: Run, records: list[bytes], tmp_path: pathlib.Path, arguments: Sequence[str]
) -> None:
    whole = pathlib.Path(_write(tmp_path / 'whole.gz', records)).read_bytes()
    (tmp_path / 'cut.gz').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EdgeError, match=r'cut\.gz cannot be read as a TFRecord file') as raised:
        run([str(tmp_path / 'cut.gz')], arguments)
    assert '\n' not in str(raised.value)


def test_missing_feature_is_named(run: Run, records: list[bytes], tmp_path: pathlib.Path) -> None:
    other = [_record(np.zeros((8, 8, 1), np.float32), 'picture')]
    with pytest.raises(EdgeError, match=r"no feature 'image'.*found: picture") as raised:
        run([_write(tmp_path / 'other.gz', records[:5] + other)])
    assert '\n' not in str(raised.value)


def test_no_example_is_an_error(run: Run, tmp_path: pathlib.Path) -> None:
    with pytest.raises(EdgeError, match=r'hold no example .*empty\.gz'):
        run([_write(tmp_path / 'empty.gz', [])])


def test_nan_in_an_example_is_told_by_tensor(run: Run, records: list[bytes], tmp_path: pathlib.Path) -> None:
    broken = _record(np.full((8, 8, 1), np.nan, np.float32))
    with pytest.raises(EdgeError, match=r"tensor '.*image.*' held NaN"):
        run([_write(tmp_path / 'nan.gz', [*records[:5], broken])])
