"""A file is verified once and parsed once, and stays as it is."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping

import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer, interpreter
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import litert_engine, quantize
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantized_activations import quantized_activations

Ranges = Mapping[str, tuple[float, float]]
VERIFIED, PARSED, QUANTIZED = 'verified', 'parsed', 'quantized'


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often files are verified and parsed, and litert-quantizer runs."""
    counted: Counter[str] = Counter()

    def count(owner: object, name: str, what: str, when: object = None) -> None:
        original = getattr(owner, name)

        def counting(*args: object, **kwargs: object) -> object:
            if when is None or when(kwargs):
                counted[what] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    count(interpreter, 'load', VERIFIED, lambda kwargs: kwargs.get('allocate') is False)
    count(flatbuffer, 'parse', PARSED)
    count(litert_engine.litert_quantizer.Quantizer, 'quantize', QUANTIZED)
    return counted


def test_int8_file_is_made_with_four_parses_and_two_runs_of_the_quantizer(
    digits_float: bytes, digits_ranges: Ranges, counts: Counter[str]
) -> None:
    """Parsed are the float file, the quantizer's answer over made-up ranges, its file, and the finished file."""
    made = quantize.make_file(digits_float, QuantizationOptions('INT8'), digits_ranges)
    assert counts == {VERIFIED: 3, PARSED: 4, QUANTIZED: 2}
    inspect_model(made.file)
    assert counts[PARSED] == 4


def test_what_the_quantizer_was_asked_is_not_asked_again(
    digits_float: bytes, digits_ranges: Ranges, counts: Counter[str]
) -> None:
    options, file = QuantizationOptions('INT8'), ModelFile(digits_float)
    assert quantize.missing_ranges(file, options, {})
    assert quantized_activations(file) is quantized_activations(file)
    assert counts[QUANTIZED] == 1
    made = quantize.make_file(file, options, digits_ranges)
    assert counts[QUANTIZED] == 2

    content = file.changeable()
    content.description = b'the same graph'
    other = ModelFile.of_content(content)
    again = quantize.make_file(other, options, digits_ranges, known=made.activations)
    assert counts[QUANTIZED] == 3
    assert again == quantize.make_file(other.data, options, digits_ranges)


def test_file_is_parsed_when_it_is_first_read(digits_float: bytes, counts: Counter[str]) -> None:
    file = ModelFile(digits_float)
    assert ModelFile.of(file) is file
    assert counts == {VERIFIED: 1}
    assert file.content is file.content
    assert inspect_model(file) is inspect_model(file)
    assert counts == {VERIFIED: 1, PARSED: 1}


def test_changing_what_changeable_returns_changes_no_file(digits_float: bytes) -> None:
    file = ModelFile(digits_float)
    before, summary = flatbuffer.write(file.content), inspect_model(file)
    content = file.changeable()
    content.subgraphs[0].tensors[0].name = b'other'
    content.subgraphs[0].operators.pop()
    buffer = max(content.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    buffer.data[:] = 0
    assert ModelFile.of_content(content).data != file.data
    assert file.data == digits_float
    assert flatbuffer.write(file.content) == flatbuffer.write(file.changeable()) == before
    assert inspect_model(ModelFile(file.data)) == summary


def test_constants_of_a_parsed_file_cannot_be_written_to(digits_float: bytes) -> None:
    values = next(
        b.data for b in ModelFile(digits_float).content.buffers if b.data is not None and len(b.data)
    )
    with pytest.raises(ValueError, match='read-only'):
        values[0] = 1


def test_writing_a_model_leaves_it_as_it_is(digits_float: bytes) -> None:
    content = flatbuffer.read(digits_float)
    buffers = list(content.buffers)
    flatbuffer.write(content)
    assert all(after is before for after, before in zip(content.buffers, buffers, strict=True))


@pytest.mark.parametrize('share', [0.0, 0.3, 0.9])
def test_damaged_bytes_are_refused(digits_float: bytes, share: float) -> None:
    damaged = digits_float[: int(len(digits_float) * share)]
    with pytest.raises(EdgeError, match=f'{len(damaged)} bytes.* cannot be loaded .*damaged or truncated'):
        ModelFile.of(damaged)


def test_file_travels_as_its_bytes_and_is_not_verified_again(
    digits_float: bytes, counts: Counter[str]
) -> None:
    file = ModelFile(digits_float)
    inspect_model(file)
    pickled = pickle.dumps(file)
    assert len(pickled) < len(digits_float) + 200
    arrived = pickle.loads(pickled)
    assert (arrived, hash(arrived)) == (file, hash(file))
    assert counts == {VERIFIED: 1, PARSED: 1}
    assert inspect_model(arrived) == inspect_model(file)
    assert counts == {VERIFIED: 1, PARSED: 2}
