"""The dense function beside the signature of strings that it stands behind, on raw examples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.evaluation.contenders.string_signature import compare_with_strings
from tfx_edge.components.core.signature import Signature


def _record(value: float) -> bytes:
    example = tf.train.Example()
    example.features.feature['x'].float_list.value.extend([value, -value])
    return example.SerializeToString()


RECORDS = [_record(value) for value in (0.5, 1.0, -2.0)]
INPUTS = {'x': np.float32([[0.5, -0.5], [1, -1], [-2, 2]])}


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Signature]:
    module, folder = tf.Module(), str(tmp_path_factory.mktemp('strings'))
    module.kernel = tf.Variable([[1.0, 2.0], [3.0, 4.0]])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.io.parse_example(examples, {'x': tf.io.FixedLenFeature([2], tf.float32)})['x']
        return {'y': tf.matmul(x, module.kernel), 'half': 0.5 * tf.matmul(x, module.kernel)}

    tf.saved_model.save(module, folder, signatures={'serving_default': serve})
    return folder, choose_signature(folder)


def test_both_alike(model: tuple[str, Signature]) -> None:
    assert compare_with_strings(*model, RECORDS, INPUTS) == (
        "the evaluated function answers as signature 'serving_default' does on 3 raw examples"
    )


def test_what_differs_is_reported_with_its_size(
    model: tuple[str, Signature], caplog: pytest.LogCaptureFixture
) -> None:
    folder, signature = model
    assert signature.source is not None
    outputs = dict(signature.source.outputs)
    outputs['half'] = outputs['y']
    other = dataclasses.replace(signature.source, outputs=tuple(outputs.items()))
    note = compare_with_strings(folder, dataclasses.replace(signature, source=other), RECORDS, INPUTS)
    assert (
        "otherwise than signature 'serving_default' on 3 raw examples: output 'half' by up to 1 of its"
        in note
    )
    assert note in [record.message for record in caplog.records]


def test_examples_that_the_signature_does_not_take_are_reported(model: tuple[str, Signature]) -> None:
    note = compare_with_strings(*model, [b''], {'x': INPUTS['x'][:1]})
    assert note.startswith("signature 'serving_default' cannot be called on the examples (")
