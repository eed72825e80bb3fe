"""Calibration on Beam: the same statistics from any sharding and runner, and errors in one line."""

from __future__ import annotations

import json
import logging
import pathlib
import tracemalloc
from collections.abc import Callable, Sequence

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from tfx_edge.components.core.calibration.measurements import Measurements, Tally, from_json
from tfx_edge.components.core.calibration.pipeline import Calibrated, calibrate, sample
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser, content_hash, record_content
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader, float_activations
from tfx_edge.components.core.signature import TensorSpec

pytestmark = pytest.mark.slow

_IN_MEMORY = ('--runner=FnApiRunner',)
_FOUR_THREADS = ('--direct_running_mode=multi_threading', '--direct_num_workers=4')
_TWO_PROCESSES = ('--direct_running_mode=multi_processing', '--direct_num_workers=2')
_PARSER = ExampleParser({'image': TensorSpec((None, 8, 8, 1), tf.float32)})

Run = Callable[..., tuple[Calibrated, Measurements]]


@pytest.fixture(scope='module')
def float_model(digits_float: bytes) -> bytes:
    return digits_float


@pytest.fixture(scope='module')
def a_middle(float_model: bytes) -> str:
    """The name of an activation inside the net, of 16 channels."""
    return list(float_activations(float_model))[1]


@pytest.fixture
def run(float_model: bytes, a_middle: str, tmp_path: pathlib.Path) -> Run:
    """Calibrates on files; returns what it found, and what was measured."""
    path = tmp_path / 'float.tflite'
    path.write_bytes(float_model)

    def calibrated(
        files: Sequence[str],
        arguments: Sequence[str] = _IN_MEMORY,
        max_examples: int = 150,
        **options: object,
    ) -> tuple[Calibrated, Measurements]:
        found = calibrate(
            lambda: beam.Pipeline(options=PipelineOptions(list(arguments))),
            files=files,
            parser=_PARSER,
            float_model_path=str(path),
            result_path=str(tmp_path / 'statistics.json'),
            max_examples=max_examples,
            **{'channel_means_of': [a_middle], **options},
        )
        return found, from_json(json.loads((tmp_path / 'statistics.json').read_text()))

    return calibrated


@pytest.fixture(scope='module')
def reference(float_model: bytes, a_middle: str, records: list[bytes]) -> Measurements:
    """What is measured on the 150 records with the smallest hashes, without Beam."""
    read, tally = ActivationReader(float_model), Tally(histograms=True, channel_means_of=[a_middle])
    for record in sorted(records, key=content_hash)[:150]:
        tally.add(read.views(_PARSER([record])))
    return tally.measurements()


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


@pytest.mark.parametrize('count', [1, 2, 4, 7])
def test_statistics_do_not_depend_on_shards_or_order(
    run: Run, records: list[bytes], reference: Measurements, tmp_path: pathlib.Path, count: int
) -> None:
    _, measured = run(_shards(tmp_path, records, count)[:: 1 if count % 2 else -1])
    assert measured == reference


@pytest.mark.parametrize('arguments', [_FOUR_THREADS, _TWO_PROCESSES])
def test_statistics_do_not_depend_on_workers(
    run: Run, records: list[bytes], reference: Measurements, tmp_path: pathlib.Path, arguments: Sequence[str]
) -> None:
    assert run(_shards(tmp_path, records, 3), arguments)[1] == reference


def test_statistics_are_the_same_from_a_portable_runner(
    run: Run,
    records: list[bytes],
    reference: Measurements,
    tmp_path: pathlib.Path,
    portable_runner: Sequence[str],
) -> None:
    assert run(_shards(tmp_path, records, 3), portable_runner)[1] == reference


def test_what_is_found_is_what_was_measured(
    run: Run,
    float_model: bytes,
    a_middle: str,
    records: list[bytes],
    reference: Measurements,
    tmp_path: pathlib.Path,
) -> None:
    found, _ = run(_shards(tmp_path, records, 1))
    assert list(found.statistics) == list(float_activations(float_model))
    assert found.statistics == reference.statistics
    assert found.examples == 150
    assert list(found.channel_means) == [a_middle]
    chosen = [_PARSER([record]) for record in sorted(records, key=content_hash)[:150]]
    read = ActivationReader(float_model)
    values = np.array([read(inputs)[a_middle] for inputs in chosen], np.float64)
    np.testing.assert_allclose(found.channel_means[a_middle], values.mean(axis=(0, 1, 2, 3)), rtol=1e-12)


def test_only_what_is_wanted_is_measured(
    run: Run, float_model: bytes, a_middle: str, records: list[bytes], tmp_path: pathlib.Path
) -> None:
    last = list(float_activations(float_model))[-1]
    found, _ = run(_shards(tmp_path, records, 1), wanted=[last], histograms=False)
    assert list(found.statistics) == [a_middle, last]
    assert found.statistics[last].histogram is None
    with pytest.raises(EdgeError, match=r"no activation 'lost' to measure"):
        run([], wanted=['lost'])


def test_each_example_counts_as_often_as_it_is_there(
    run: Run, records: list[bytes], a_middle: str, tmp_path: pathlib.Path
) -> None:
    """The last one chosen is there three times, in two files, of which one or two are still among the chosen."""
    ordered = sorted(set(records), key=content_hash)
    files = [
        _write(tmp_path / 'a.gz', [ordered[9], *ordered[:9], *ordered[10:30], ordered[9]]),
        _write(tmp_path / 'b.gz', [*ordered[30:60], ordered[9]]),
    ]
    size = {
        count: run(files, max_examples=count)[1].statistics[a_middle].finite for count in (9, 10, 11, 12, 13)
    }
    assert size == {count: count * size[10] // 10 for count in size}
    ten, eleven, twelve = (run(files, max_examples=count)[1] for count in (10, 11, 12))
    once = run([_write(tmp_path / 'c.gz', [ordered[9]])])[1]
    assert (ten + once, ten + once + once) == (eleven, twelve)


def test_all_examples_are_used_where_there_are_fewer(
    run: Run, records: list[bytes], digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    found, _ = run([_write(tmp_path / 'few.gz', records[:20])], max_examples=1000)
    assert found.examples == 20
    image = next(seen for name, seen in found.statistics.items() if 'image' in name)
    assert (image.minimum, image.maximum) == (digits['x_train'][:20].min(), digits['x_train'][:20].max())


def test_which_examples_are_used_does_not_depend_on_the_order_of_their_features(
    run: Run, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    # Serialized messages merge when joined: the map's entries in this order.
    pairs = [(_record(image), _record(image, 'other')) for image in digits['x_train'][:60]]
    one = _write(tmp_path / 'a.gz', [a + b for a, b in pairs])
    other = _write(tmp_path / 'b.gz', [b + a if i % 2 else a + b for i, (a, b) in enumerate(pairs)])
    assert run([one], max_examples=10)[1] == run([other], max_examples=10)[1]
    samples = [
        sample(_in_memory, files=[file], result_path=str(tmp_path / 'sample'), count=10)
        for file in (one, other)
    ]
    assert samples[0] == samples[1]


def test_a_sample_is_in_order_of_hashes(records: list[bytes], tmp_path: pathlib.Path) -> None:
    def sampled(files: Sequence[str], count: int) -> list[bytes]:
        return sample(_in_memory, files=files, result_path=str(tmp_path / 'sample'), count=count)

    expected = [record_content(record) for record in sorted(records, key=content_hash)]
    assert sampled(_shards(tmp_path, records, 1), 25) == expected[:25]
    assert sampled(_shards(tmp_path, records, 4), 25) == expected[:25]
    assert sampled(_shards(tmp_path, records, 2), 1000) == expected
    with pytest.raises(EdgeError, match=r'lost cannot be read'):
        sampled([str(tmp_path / 'lost')], 3)


@pytest.mark.parametrize(
    ('used', 'wanted', 'held_out'), [(150, 40, True), (370, 40, True), (395, 40, False), (1000, 40, False)]
)
def test_examples_to_compare_on_come_after_those_that_are_used(
    run: Run, records: list[bytes], tmp_path: pathlib.Path, used: int, wanted: int, held_out: bool
) -> None:
    shards = _shards(tmp_path, records, 3)
    found, measured = run(shards, max_examples=used, compared=wanted)
    ordered = [record_content(record) for record in sorted(records, key=content_hash)]
    assert found.held_out is held_out
    expected = ordered[used : used + wanted] if held_out else ordered[:used][-wanted:]
    assert list(found.compared) == expected
    assert found.examples == min(used, len(records))
    alone, without = run(shards, max_examples=used)
    assert measured == without
    assert alone.compared == ()


def _in_memory() -> beam.Pipeline:
    return beam.Pipeline(options=PipelineOptions(list(_IN_MEMORY)))


def test_memory_does_not_grow_with_the_examples(
    run: Run, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    """300 records of 200 kB take no more than 30."""
    padding = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(200_000)]))
    ballast = tf.train.Example(features=tf.train.Features(feature={'ballast': padding})).SerializeToString()
    peaks = {}
    for count in (30, 300):
        records = [_record(image) + ballast for image in digits['x_train'][:count]]
        file = _write(tmp_path / f'{count}.gz', records)
        del records
        tracemalloc.start()
        found, _ = run([file], max_examples=300)
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.examples == count
    assert peaks[300] - peaks[30] < 5_000_000


def test_it_counts_and_shows_what_it_does(
    records: list[bytes],
    float_model: bytes,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipelines = []

    def make_pipeline() -> beam.Pipeline:
        pipelines.append(_in_memory())
        return pipelines[-1]

    path = tmp_path / 'float.tflite'
    path.write_bytes(float_model)
    with caplog.at_level(logging.INFO, 'tfx_edge'):
        calibrate(
            make_pipeline,
            files=_shards(tmp_path, records, 2),
            parser=_PARSER,
            float_model_path=str(path),
            result_path=str(tmp_path / 'result'),
            max_examples=30,
        )
    counters = pipelines[0].result.metrics().query()['counters']
    counted = {counter.key.metric.name: counter.result for counter in counters}
    activations = len(float_activations(float_model))
    assert (counted['examples'], counted['tensors']) == (30, 30 * activations)
    assert counted['milliseconds'] > 0
    assert f'calibrated {activations} tensors on 30 examples' in caplog.text


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


def test_nan_in_an_example_is_reported_by_tensor(
    run: Run, records: list[bytes], tmp_path: pathlib.Path
) -> None:
    broken = _record(np.full((8, 8, 1), np.nan, np.float32))
    with pytest.raises(EdgeError, match=r"tensor '.*image.*' held NaN"):
        run([_write(tmp_path / 'nan.gz', [*records[:5], broken])])
