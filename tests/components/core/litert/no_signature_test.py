"""Files without signatures, as older converters wrote them: run, inspected and evaluated by the names of tensors."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

from tests.components.core.litert.file_edits import without_signatures
from tests.golden import files
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files import models
from tfx_edge.components.core.evaluation.model_files.range_probe import RangeProbe
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel, load
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model


def _inputs(model: LiteRTModel, rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        name: random.uniform(size=(rows, *detail.shape[1:])).astype(detail.dtype)
        for name, detail in model.inputs.items()
    }


@pytest.mark.parametrize('net', ['digits', 'many_links', 'masked'])
def test_answers_are_those_of_the_same_file_with_its_signature(net: str) -> None:
    file = files.float_model(net)
    named, unnamed = LiteRTModel(file), LiteRTModel(without_signatures(file))
    assert unnamed.signature_name == ''
    assert unnamed.inputs == named.inputs
    # In other batches than the file's, and than the one before.
    for rows in (1, 11, 3):
        inputs = _inputs(named, rows)
        expected, answers = named(inputs), unnamed(inputs)
        assert {key: value.shape for key, value in answers.items()}.keys() == unnamed.outputs.keys()
        assert sorted(value.tobytes() for value in answers.values()) == sorted(
            value.tobytes() for value in expected.values()
        )


def test_a_fixed_batch_is_kept() -> None:
    content = flatbuffer.read(without_signatures(files.float_model('digits')))
    for tensor in content.subgraphs[0].tensors:
        tensor.shapeSignature = None
    fixed, open_ = LiteRTModel(flatbuffer.write(content)), LiteRTModel(files.float_model('digits'))
    assert fixed.fixed_batch_size == 1
    inputs = _inputs(open_, 5)
    (answers,), (expected,) = fixed(inputs).values(), open_(inputs).values()
    np.testing.assert_allclose(answers, expected, atol=1e-6)


@pytest.mark.parametrize(
    ('net', 'inputs'),
    [
        ('digits', ['image']),
        ('masked', ['mask', 'tokens']),
        # The prefix is that of the signature, which was not 'serving_default'.
        ('two_headed', ['score_left', 'score_right']),
    ],
)
def test_names_are_those_that_tfma_gives(net: str, inputs: list[str]) -> None:
    file = without_signatures(files.float_model(net))
    # TFMA takes the whole names of the outputs' tensors.
    outputs = sorted(detail['name'] for detail in load(file).get_output_details())
    summary = inspect_model(file)
    assert (summary.signature_name, list(summary.inputs), list(summary.outputs)) == ('', inputs, outputs)
    runnable = LiteRTModel(file)
    assert (sorted(runnable.inputs), sorted(runnable.outputs)) == (inputs, outputs)


@pytest.mark.parametrize('name', [None, b'same', b'serving_default_same:0'])
def test_tensors_without_names_of_their_own_are_numbered(name: bytes | None) -> None:
    content = flatbuffer.read(without_signatures(files.float_model('masked')))
    graph = content.subgraphs[0]
    for index in graph.inputs:
        graph.tensors[index].name = name
    file = flatbuffer.write(content)
    assert list(inspect_model(file).inputs) == list(LiteRTModel(file).inputs) == ['input_0', 'input_1']


def test_whole_names_show_what_stripped_ones_do_not() -> None:
    content = flatbuffer.read(without_signatures(files.float_model('masked')))
    graph = content.subgraphs[0]
    for port, index in enumerate(graph.inputs):
        graph.tensors[index].name = f'features:{port}'.encode()
    assert list(LiteRTModel(flatbuffer.write(content)).inputs) == ['features:0', 'features:1']


def test_an_evaluation_takes_it_and_says_by_which_names(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'tflite').write_bytes(without_signatures(files.digits_int8()))
    caplog.set_level('INFO', 'tfx_edge')
    model = models.load_model(models.find_model(str(tmp_path)))
    assert list(model.inputs) == ['image']
    assert list(model.outputs.values()) == [(None, 10)]
    assert 'has no signature: its inputs and outputs go by the names of their tensors (image; ' in caplog.text
    with pytest.raises(
        EdgeError, match=r"signature 'score' is not in .* \(found: no signature at all\); name none in"
    ):
        models.load_model(models.find_model(str(tmp_path), 'score'))


def test_the_fit_of_its_calibration_is_measured_at_its_inputs_too(digits: dict[str, np.ndarray]) -> None:
    integers = QuantizationOptions('INT8', 'INT8')
    file = quantize_model(files.float_model('digits'), integers, files.digits_ranges())
    named, unnamed = RangeProbe(file), RangeProbe(without_signatures(file))
    images = {'image': digits['x_eval'][:1]}
    assert unnamed.tensors == named.tensors
    assert 'image' in {tensor.input_name for tensor in named.tensors}
    for seen, expected in zip(
        *(dataclasses.astuple(probe(images)) for probe in (unnamed, named)), strict=True
    ):
        np.testing.assert_array_equal(seen, expected)
