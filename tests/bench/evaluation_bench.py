"""What evaluation costs beside TFMA's own for `.tflite` files: `make bench-evaluation`.

MobileNet v2 0.35 at 96x96, int8 with float inputs and outputs, on images of ten kinds; the body's weights are random,
the last layer is fitted to it. Both sides get the same file, examples and eval_config, in one process:

- stock: TFMA's default extractors, its TFLitePredictExtractor among them.
- ours: `evaluation.run`, as EdgeEvaluator runs it, without a baseline.
- ours and fit: the same while it measures how the calibration fits, as EdgeEvaluator does unless it is switched off. It
  does so on a fixed number of examples: past it, that costs nothing but the choice.

Each is run on few and on many examples in turns; of the rounds the median counts. What one more example costs is the
difference between the two, so that starting up does not count. Beside the wall clock, which other programs on the
machine disturb, stands the processor time, which they hardly do.
"""

from __future__ import annotations

import os

# Read when TensorFlow is imported. LiteRT's kernels run on one thread on both sides.
os.environ.update(TF_CPP_MIN_LOG_LEVEL='3', TF_NUM_INTRAOP_THREADS='1', TF_NUM_INTEROP_THREADS='1')

import argparse
import pathlib
import tempfile
import time
from typing import Any

import numpy as np

_SIZE = 96
_KINDS = 10
_RECORDS_IN_A_FILE = 125
_FILES = 4
_RUNNER = ('--runner=FnApiRunner', '--direct_running_mode=in_memory', '--direct_num_workers=1')
_SIDES = ('stock', 'ours', 'ours and fit')


def export(folder: pathlib.Path) -> None:
    """Writes the file into a serving folder of its own, and files of records that hold an image and its label."""
    import keras

    from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
    from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
    from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
    from tfx_edge.components.core.litert.quantization.quantize import quantize_model

    images, labels = _images(_FILES * _RECORDS_IN_A_FILE)
    keras.utils.set_random_seed(0)
    body = keras.applications.MobileNetV2(
        (_SIZE, _SIZE, 3), alpha=0.35, weights=None, include_top=False, pooling='avg'
    )
    head = keras.Sequential([keras.layers.Dense(_KINDS, activation='softmax')])
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one batch gives the statistics, without which random layers fade out
    body(images[:100], training=True)
    head.compile(keras.optimizers.Adam(1e-2), 'sparse_categorical_crossentropy')
    head.fit(body.predict(images, verbose=0), labels, epochs=40, verbose=0)
    image = keras.Input((_SIZE, _SIZE, 3), name='image')
    keras.Model(image, head(body(image))).export(folder / 'net', verbose=False)

    float_model = convert_saved_model(str(folder / 'net'), 'serving_default')
    read = ActivationReader(float_model)
    ranges: dict[str, tuple[float, float]] = {}
    for start in range(0, 128, 8):
        for name, values in read.views({'image': images[start : start + 8]}):
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
    (folder / 'serving').mkdir()
    made = quantize_model(float_model, QuantizationOptions('INT8', 'FLOAT'), ranges)
    (folder / 'serving' / 'tflite').write_bytes(made)
    _write_records(folder, images, labels)


def _images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise around ten coarse patterns; float32 and int64."""
    random = np.random.default_rng(0)
    patterns = random.normal(size=(_KINDS, _SIZE // 8, _SIZE // 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    labels = random.integers(_KINDS, size=count)
    return (patterns[labels] + random.normal(0, 1, (count, _SIZE, _SIZE, 3))).astype(np.float32), labels


def _write_records(folder: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> None:
    import tensorflow as tf

    for number in range(_FILES):
        with tf.io.TFRecordWriter(str(folder / f'records-{number}')) as writer:
            for image, label in zip(images[number::_FILES], labels[number::_FILES], strict=True):
                feature = {
                    'image': tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel())),
                    'label': tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())


def measure(side: str, examples: int, folder: pathlib.Path) -> tuple[float, float, float]:
    """Evaluates once; seconds by the wall clock, seconds of processor time, and the accuracy that came out."""
    import tensorflow_model_analysis as tfma

    # The same files are listed again and again.
    files = sorted(map(str, folder.glob('records-*'))) * -(-examples // (_FILES * _RECORDS_IN_A_FILE))
    files = files[: examples // _RECORDS_IN_A_FILE]
    evaluate = _stock if side == 'stock' else _ours
    with tempfile.TemporaryDirectory() as work:
        wall, processor = time.monotonic(), time.process_time()
        evaluate(folder, files, work, measure_fit=side == 'ours and fit')
        wall, processor = time.monotonic() - wall, time.process_time() - processor
        (overall,) = tfma.load_eval_result(work).get_metrics_for_all_slices().values()
    assert overall['example_count']['doubleValue'] == examples
    return wall, processor, overall['sparse_categorical_accuracy']['doubleValue']


def _stock(folder: pathlib.Path, files: list[str], work: str, *, measure_fit: bool) -> None:
    """TFX's Evaluator without TFX: what `tfma.default_extractors` makes of a `.tflite` file."""
    import apache_beam as beam
    import tensorflow_model_analysis as tfma
    from apache_beam.options.pipeline_options import PipelineOptions
    from tfx_bsl.public import tfxio

    assert not measure_fit
    config = _config()
    model = tfma.default_eval_shared_model(str(folder / 'serving'), eval_config=config)
    source = tfxio.TFExampleRecord(files, raw_record_column_name=tfma.constants.ARROW_INPUT_COLUMN)
    with beam.Pipeline(options=PipelineOptions(list(_RUNNER))) as pipeline:
        _ = (
            pipeline
            | source.BeamSource()
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=config, eval_shared_model=model, output_path=work
            )
        )


def _ours(folder: pathlib.Path, files: list[str], work: str, *, measure_fit: bool) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from tfx_edge.components.core.evaluation import run
    from tfx_edge.components.core.evaluation.contenders import evaluation_setup
    from tfx_edge.components.core.evaluation.measurements.demands import Demands
    from tfx_edge.components.core.examples.example_parser import ExampleParser

    evaluation = evaluation_setup.prepare(_config(), str(folder / 'serving'), None)
    run.run(
        evaluation,
        Demands({'max_clipping': 0.04, 'min_range_used': 0.15} if measure_fit else {}),
        lambda: beam.Pipeline(options=PipelineOptions(list(_RUNNER))),
        files,
        parser=ExampleParser(evaluation.inputs),
        schema=None,
        output_path=work,
        folder=work,
    )


def _config() -> Any:
    import tensorflow_model_analysis as tfma

    metrics = [tfma.MetricConfig(class_name=name) for name in ('ExampleCount', 'SparseCategoricalAccuracy')]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label', model_type=tfma.TF_LITE)],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
        slicing_specs=[tfma.SlicingSpec()],
    )


def main() -> None:
    """Runs all measurements, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--examples', type=int, nargs=2, default=[500, 3000], help='few and many')
    parser.add_argument('--rounds', type=int, default=5)
    arguments = parser.parse_args()
    few, many = arguments.examples
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        export(folder)
        for side in _SIDES:
            measure(side, _RECORDS_IN_A_FILE, folder)  # what only a first run pays
        costs, accuracies = [], {}
        for _ in range(arguments.rounds):
            runs = {
                (side, examples): measure(side, examples, folder)
                for examples in (few, many)
                for side in _SIDES
            }
            difference = {side: np.subtract(runs[side, many][:2], runs[side, few][:2]) for side in _SIDES}
            costs.append([difference[side] / (many - few) for side in _SIDES])
            accuracies = {side: runs[side, many][2] for side in _SIDES}
    # (rounds, sides, clocks)
    rates = 1 / np.array(costs)
    ratios = rates / rates[:, :1]
    print(f'{few} and {many} examples  examples/s  times stock  examples/CPU s  times stock  accuracy')
    for number, side in enumerate(_SIDES):
        (wall, processor), (gain, gain_processor) = np.median(rates, 0)[number], np.median(ratios, 0)[number]
        print(
            f'{side:22} {wall:11.1f} {gain:12.2f} {processor:15.1f} {gain_processor:12.2f} {accuracies[side]:9.4f}'
        )
    spread = ', '.join(
        f'{low:.2f} to {high:.2f}' for low, high in zip(ratios[:, 1].min(0), ratios[:, 1].max(0), strict=True)
    )
    print(f'ours to stock over the rounds, by the wall clock and by processor time: {spread}')


if __name__ == '__main__':
    main()
