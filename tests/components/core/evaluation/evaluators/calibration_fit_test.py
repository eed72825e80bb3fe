"""The fit of a calibration, measured on Beam: which examples count, and that nothing else does."""

from __future__ import annotations

import dataclasses
import pathlib

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.evaluators import calibration_fit
from tfx_edge.components.core.evaluation.evaluators.example_batches import ReadExamples
from tfx_edge.components.core.evaluation.model_files.models import ModelSource, load_model
from tfx_edge.components.core.evaluation.model_files.range_probe import RangeProbe
from tfx_edge.components.core.evaluation.model_files.range_use import RangeUse
from tfx_edge.components.core.examples.example_parser import ExampleParser


@pytest.fixture(scope='module')
def source(quantized, images, tmp_path_factory) -> ModelSource:
    """A file calibrated on images that are a little too dark."""
    path = tmp_path_factory.mktemp('fit') / 'tflite'
    path.write_bytes(quantized(images * np.float32(0.9)))
    return ModelSource(str(path), is_tflite=True)


@pytest.fixture
def run(source, tmp_path):
    """Measures the fit on images, spread over files."""

    def measure(images: np.ndarray, files: int, name: str):
        paths = [str(tmp_path / f'{name}-{number}') for number in range(files)]
        for number, path in enumerate(paths):
            with tf.io.TFRecordWriter(path) as writer:
                for image in images[number::files]:
                    value = tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel()))
                    example = tf.train.Example(features=tf.train.Features(feature={'image': value}))
                    writer.write(example.SerializeToString())
        parser = ExampleParser(load_model(source).inputs)
        result = str(tmp_path / f'{name}.json')
        options = ['--runner=FnApiRunner', '--sdk_container_image=none']
        branch = calibration_fit.measuring_fit(source, parser, result)
        with beam.Pipeline(argv=options) as pipeline:
            extracts = pipeline | ReadExamples(paths, None) | beam.Map(_extracts)
            _ = (extracts | branch.transform | beam.combiners.ToList()) | beam.Map(branch.write)
        return calibration_fit.read_calibration_fit(pathlib.Path(result).read_text())

    return measure


def _extracts(batch):
    """The records of a batch, as TFMA's extractors have them."""
    rows = batch.column(batch.schema.get_field_index(tfma.constants.ARROW_INPUT_COLUMN)).to_pylist()
    return {tfma.INPUT_KEY: [record for row in rows for record in row]}


def test_files_and_order_change_nothing_and_a_plain_loop_gives_the_same(run, source, images):
    one = run(images, 1, 'one')
    assert one == run(images[::-1], 4, 'four')
    probe = RangeProbe(pathlib.Path(source.path).read_bytes())
    uses = [probe({'image': image}) for image in images[:, np.newaxis]]
    assert one == calibration_fit.calibration_fit(probe.tensors, sum(uses, RangeUse.none(len(probe.tensors))))
    assert (one.examples, one.obstacle) == (len(images), '')
    assert 0 < one.most_clipped.clipping < 0.5


def test_of_many_examples_some_are_used_whatever_their_order(run, images, monkeypatch):
    monkeypatch.setattr(calibration_fit, 'MAX_EXAMPLES', 20)
    dark = images * np.linspace(0.1, 1, len(images), dtype=np.float32)[:, np.newaxis, np.newaxis, np.newaxis]
    one = run(dark, 2, 'some')
    assert one.examples == 20
    assert one == run(np.roll(dark, 31, axis=0), 3, 'rolled')
    assert dataclasses.replace(one, examples=0) != dataclasses.replace(run(dark[:20], 1, 'first'), examples=0)


def test_few_examples_show_nothing(run, images):
    few = run(images[:9], 1, 'few')
    assert few.obstacle == '9 examples are too few to judge; at least 10 do'
    assert run(images[:10], 1, 'ten').obstacle == ''
