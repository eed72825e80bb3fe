"""A file says what was written into it, computes the same, and no damage does more than raise an error."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Callable

import flatbuffers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer, label_file, metadata_format
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.metadata import ModelMetadata, add, read
from tfx_edge.components.core.litert.file.metadata_format import MetadataEntry, TensorEntry, pack, unpack

DIGITS = tuple('0123456789')
FULL = ModelMetadata(
    name='digits',
    version='3',
    author='us',
    license='Apache-2.0',
    description='reads handwritten digits, ünïcode too',
    inputs={'image': '8x8 pixels, 0 to 1'},
    outputs={'output_0': 'probabilities'},
    labels=DIGITS,
    labels_output='output_0',
)

texts = st.text(st.characters(exclude_categories=['Cs']), max_size=40)
labels = texts.filter(lambda label: label.strip() and label.splitlines() == [label])


def _buffer(model: bytes) -> bytes:
    """The bytes of the metadata alone."""
    content = flatbuffer.read(model)
    (entry,) = [entry for entry in content.metadata if entry.name == b'TFLITE_METADATA']
    return bytes(content.buffers[entry.buffer].data)


def _with_buffer(model: bytes, data: bytes) -> bytes:
    content = flatbuffer.read(model)
    (entry,) = [entry for entry in content.metadata if entry.name == b'TFLITE_METADATA']
    content.buffers[entry.buffer].data = data
    return flatbuffer.write(content)


def _archive(model: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(model))


def test_what_was_written_is_read(digits_float: bytes) -> None:
    assert read(digits_float) is None
    assert read(add(digits_float, FULL)) == FULL


def test_names_alone_cost_a_few_hundred_bytes(digits_float: bytes) -> None:
    written = add(digits_float, ModelMetadata())
    assert len(written) - len(digits_float) <= 288
    assert read(written) == ModelMetadata(inputs={'image': ''}, outputs={'output_0': ''})
    assert not zipfile.is_zipfile(io.BytesIO(written))


@settings(max_examples=40, deadline=None)
@given(
    metadata=st.builds(
        ModelMetadata,
        **dict.fromkeys(('name', 'version', 'author', 'license', 'description'), texts),
        inputs=st.fixed_dictionaries({'image': texts}),
        outputs=st.fixed_dictionaries({'output_0': texts}),
        labels=st.none() | st.lists(labels, min_size=10, max_size=10).map(tuple),
        labels_output=st.just(''),
    )
)
def test_any_text_comes_back_from_the_same_bytes(digits_float: bytes, metadata: ModelMetadata) -> None:
    written = add(digits_float, metadata)
    labelled = '' if metadata.labels is None else 'output_0'
    assert read(written) == dataclasses.replace(metadata, labels_output=labelled)
    assert add(digits_float, metadata) == written
    assert add(add(digits_float, FULL), metadata) == written


def test_the_file_computes_the_same_and_keeps_its_other_entries(
    digits_float: bytes, digits: dict[str, np.ndarray]
) -> None:
    written = add(digits_float, FULL)
    images = {'image': digits['x_eval'][:20]}
    expected = LiteRTModel(digits_float)(images)['output_0']
    np.testing.assert_array_equal(LiteRTModel(written)(images)['output_0'], expected)
    before, after = (
        {
            entry.name: bytes(content.buffers[entry.buffer].data)
            for entry in content.metadata
            if entry.name != b'TFLITE_METADATA'
        }
        for content in (flatbuffer.read(digits_float), flatbuffer.read(written))
    )
    assert b'min_runtime_version' in before
    assert after == before
    assert inspect_model(written).tensors == inspect_model(digits_float).tensors


def test_metadata_lie_where_the_format_says(digits_float: bytes) -> None:
    written = add(digits_float, FULL)
    data = _buffer(written)
    assert data[4:8] == b'M001'
    assert b'1.0.0' in data
    assert written.index(data) % 16 == 0
    # The same on every version of Python and of the flatbuffers package.
    assert hashlib.sha256(data).hexdigest()[:16] == 'e0cddf3f029c5840'


def test_labels_lie_behind_the_model_in_a_zip_without_a_date(digits_float: bytes) -> None:
    written = add(digits_float, FULL)
    with _archive(written) as archive:
        (member,) = archive.infolist()
        assert archive.read(member).decode() == ''.join(f'{label}\n' for label in DIGITS)
    assert (member.filename, member.compress_type) == ('labels.txt', zipfile.ZIP_STORED)
    assert (member.date_time, member.create_system) == ((1980, 1, 1, 0, 0, 0), 3)
    assert member.external_attr == 0o644 << 16
    # Offsets count from the beginning of the file, as in an archive that was appended to.
    assert written[member.header_offset :].startswith(b'PK\x03\x04')
    model = written[: member.header_offset]
    assert flatbuffer.write(flatbuffer.read(model)) == model
    directory = written.rindex(b'PK\x01\x02')
    assert written[-6:-2] == directory.to_bytes(4, 'little')


def test_rewriting_the_file_keeps_all_but_the_labels(digits_float: bytes) -> None:
    unlabelled = add(digits_float, dataclasses.replace(FULL, labels=None, labels_output=''))
    assert flatbuffer.write(flatbuffer.read(unlabelled)) == unlabelled
    rewritten = flatbuffer.write(flatbuffer.read(add(digits_float, FULL)))
    with pytest.raises(
        EdgeError, match=r"'labels.txt' .* write the metadata again, after every other change"
    ):
        read(rewritten)
    assert add(rewritten, FULL) == add(digits_float, FULL)


def test_outputs_stand_in_the_order_of_the_model(many_operators: tuple[bytes, dict]) -> None:
    model, _ = many_operators
    written = add(model, ModelMetadata(outputs={'box': 'corners'}, labels=('a',) * 5, labels_output='probs'))
    interpreter = LiteRTModel(written).interpreter
    runner = interpreter.get_signature_runner('serving_default')
    name_of = {detail['name']: name for name, detail in runner.get_output_details().items()}
    expected = [name_of[detail['name']] for detail in interpreter.get_output_details()]
    assert sorted(expected) == ['box', 'probs']
    entry = unpack(_buffer(written))
    assert [tensor.name for tensor in entry.outputs] == expected
    found = {tensor.name: tensor for tensor in entry.outputs}
    assert found == {'box': TensorEntry('box', 'corners'), 'probs': TensorEntry('probs', '', 'labels.txt')}
    metadata = read(written)
    assert metadata is not None
    assert (metadata.labels, metadata.labels_output) == (('a',) * 5, 'probs')


def test_two_names_for_one_tensor_are_both_described(many_operators: tuple[bytes, dict]) -> None:
    content = flatbuffer.read(many_operators[0])
    graph, (signature,) = content.subgraphs[0], content.signatureDefs
    graph.outputs = [graph.outputs[0]] * 2
    for entry in signature.outputs:
        entry.tensorIndex = graph.outputs[0]
    described = {'box': 'corners', 'probs': 'classes'}
    metadata = read(add(flatbuffer.write(content), ModelMetadata(outputs=described)))
    assert metadata is not None
    assert metadata.outputs == described


@pytest.mark.parametrize(
    ('metadata', 'message'),
    [
        (ModelMetadata(inputs={'picture': ''}), r"input 'picture', .* name one of: image"),
        (ModelMetadata(outputs={'probs': ''}), r"output 'probs', .* name one of: output_0"),
        (ModelMetadata(labels=DIGITS, labels_output='probs'), r"output 'probs', .* name one of: output_0"),
        (ModelMetadata(labels=DIGITS[:9]), r"9 labels for the output 'output_0' of shape \(None, 10\)"),
        (ModelMetadata(labels=()), '0 labels'),
        (ModelMetadata(labels=(*DIGITS[:9], '')), r"label 9 is ''"),
        (ModelMetadata(labels=(*DIGITS[:9], '  ')), r"label 9 is '  '"),
        (ModelMetadata(labels=('a\nb', *DIGITS[1:])), r"label 0 is 'a\\nb'; expected one line"),
        (ModelMetadata(labels=('a\r', *DIGITS[1:])), r"label 0 is 'a\\r'; expected one line"),
        (ModelMetadata(labels_output='output_0'), 'there are no labels'),
        (ModelMetadata(name='\ud800'), 'no Unicode'),
        (ModelMetadata(labels=('\ud800', *DIGITS[1:])), 'no Unicode'),
        (ModelMetadata(license='x' * 2**24), 'expected at most 16777216'),
    ],
)
def test_what_does_not_fit_is_refused(digits_float: bytes, metadata: ModelMetadata, message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        add(digits_float, metadata)


def test_labels_need_an_output_where_there_are_two(many_operators: tuple[bytes, dict]) -> None:
    with pytest.raises(EdgeError, match=r'2 outputs; set labels_output to one of: .*probs'):
        add(many_operators[0], ModelMetadata(labels=('a',) * 5))


def test_labels_fit_any_open_dimension_but_no_scalar(digits_float: bytes) -> None:
    def with_output_shape(shape: list[int]) -> bytes:
        content = flatbuffer.read(digits_float)
        graph = content.subgraphs[0]
        output = graph.tensors[graph.outputs[0]]
        output.shape, output.shapeSignature = [abs(size) for size in shape], shape
        return flatbuffer.write(content)

    assert read(add(with_output_shape([-1, -1]), ModelMetadata(labels=('a', 'b')))).labels == ('a', 'b')  # type: ignore[union-attr]
    with pytest.raises(EdgeError, match='there are 0 labels'):
        add(with_output_shape([-1, -1]), ModelMetadata(labels=()))
    with pytest.raises(EdgeError, match=r'of shape \(\)'):
        add(with_output_shape([]), ModelMetadata(labels=('a',)))


def test_a_buffer_that_others_use_stays(digits_float: bytes) -> None:
    content = flatbuffer.read(add(digits_float, ModelMetadata()))
    kernel = next(t for t in content.subgraphs[0].tensors if flatbuffer.tensor_name(t).endswith('kernel'))
    (entry,) = [entry for entry in content.metadata if entry.name == b'TFLITE_METADATA']
    entry.buffer = kernel.buffer
    written = add(flatbuffer.write(content), FULL)
    assert inspect_model(written).kernels == inspect_model(digits_float).kernels


def test_a_model_without_a_signature_is_refused_but_read(digits_float: bytes) -> None:
    content = flatbuffer.read(add(digits_float, FULL))
    content.signatureDefs = []
    with pytest.raises(EdgeError, match='holds 0 signatures'):
        add(flatbuffer.write(content), FULL)
    content.buffers[content.metadata[-1].buffer].data = pack(
        MetadataEntry('', '', '', '', '', (TensorEntry('image', 'pixels'),), ())
    )
    metadata = read(flatbuffer.write(content))
    assert metadata is not None
    assert list(metadata.inputs.values()) == ['pixels']


def test_another_number_of_tensors_is_damage(digits_float: bytes, many_operators: tuple[bytes, dict]) -> None:
    two = _buffer(add(many_operators[0], ModelMetadata()))
    with pytest.raises(EdgeError, match='describe 2 outputs, but it has 1'):
        read(_with_buffer(add(digits_float, ModelMetadata()), two))


@pytest.mark.parametrize('data', [b'', b'M001', b'\x00' * 64, b'\xff' * 4 + b'M001' + b'\xff' * 8])
def test_damaged_metadata_are_one_error(digits_float: bytes, data: bytes) -> None:
    model = _with_buffer(add(digits_float, ModelMetadata()), data)
    with pytest.raises(EdgeError, match=r'metadata of the \.tflite file are damaged'):
        read(model)
    assert add(model, FULL) == add(digits_float, FULL)


def test_a_text_that_was_cut_off_is_damage() -> None:
    data = pack(MetadataEntry('', '', '', '', '', (TensorEntry('x' * 100),), ()))
    with pytest.raises(EdgeError, match='an offset leads to byte'):
        unpack(data[:-50])


@pytest.mark.parametrize('change', [read, lambda model: add(model, FULL)])
def test_an_entry_without_a_buffer_is_damage(digits_float: bytes, change: Callable[[bytes], object]) -> None:
    content = flatbuffer.read(add(digits_float, ModelMetadata()))
    content.metadata[-1].buffer = 999
    with pytest.raises(EdgeError, match='contradicts itself'):
        change(flatbuffer.write(content))


def _with_label_file(model: bytes, text: bytes, method: int) -> bytes:
    """The file with another content of its label file."""
    with _archive(model) as archive:
        (member,) = archive.infolist()
    file = io.BytesIO(model[: member.header_offset])
    with zipfile.ZipFile(file, 'a', method) as archive:
        archive.writestr('labels.txt', text)
    return file.getvalue()


@pytest.mark.parametrize('text', [b'a\nb', b'a\r\nb\r\n', b'a\nb\n'])
@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_label_files_of_others_are_read(digits_float: bytes, text: bytes, method: int) -> None:
    metadata = read(_with_label_file(add(digits_float, FULL), text, method))
    assert metadata is not None
    assert metadata.labels == ('a', 'b')


@pytest.mark.parametrize(
    'label',
    [
        *('<script>alert(1)</script>', '{{ 7 * 7 }}', '\u202egnp.exe', 'a\x00b', '"\' x='),
        *('x' * 10_000, '../../etc/passwd', '\u2028'),
    ],
)
def test_a_label_is_whatever_stands_in_its_line(digits_float: bytes, label: str) -> None:
    metadata = read(_with_label_file(add(digits_float, FULL), f'{label}\nb\n'.encode(), zipfile.ZIP_DEFLATED))
    assert metadata is not None
    assert metadata.labels == (label, 'b')


@pytest.mark.parametrize('name', ['../../../etc/passwd', '/etc/passwd', 'a\x00b', '', '\u202e', 'x' * 10_000])
def test_no_name_of_a_label_file_leads_out_of_the_archive(digits_float: bytes, name: str) -> None:
    with pytest.raises(EdgeError, match='cannot be read') as caught:
        label_file.unpack(add(digits_float, FULL), name)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'method', 'message'),
    [
        (bytes(2**24 + 1), zipfile.ZIP_DEFLATED, 'more than 16777216 bytes'),
        (b'a', zipfile.ZIP_LZMA, 'compression 14'),
        (b'\xff', zipfile.ZIP_STORED, "can't decode"),
        (b'cat\n\xed\xa0\x80\n', zipfile.ZIP_DEFLATED, "can't decode"),
        ('cat\ndog\n'.encode('utf-16'), zipfile.ZIP_STORED, "can't decode"),
    ],
)
def test_hostile_label_files_are_refused(digits_float: bytes, text: bytes, method: int, message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        read(_with_label_file(add(digits_float, FULL), text, method))


def test_a_text_that_many_tensors_share_does_not_fill_the_memory() -> None:
    builder = flatbuffers.Builder(1024)
    description = builder.CreateString('x' * 2**16)
    builder.StartObject(7)
    builder.PrependUOffsetTRelativeSlot(1, description, 0)
    tensor = builder.EndObject()
    builder.StartVector(4, 2**16, 4)
    for _ in range(2**16):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    builder.StartObject(10)
    builder.PrependUOffsetTRelativeSlot(2, tensors, 0)
    subgraph = builder.EndObject()
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    builder.StartObject(8)
    builder.PrependUOffsetTRelativeSlot(3, subgraphs, 0)
    builder.Finish(builder.EndObject(), file_identifier=b'M001')
    with pytest.raises(EdgeError, match=f'more than {metadata_format.MAX_BYTES} bytes to read'):
        unpack(bytes(builder.Output()))


changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


def _changed(data: bytes, places: list[tuple[float, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in places:
        changed[int(place * len(changed))] = value
    return bytes(changed)


def _reads_or_refuses(reader: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(EdgeError):
        reader(data)


@settings(max_examples=400, deadline=None)
@given(places=changes)
def test_any_change_of_the_metadata_is_read_or_refused(places: list[tuple[float, int]]) -> None:
    entry = MetadataEntry(
        'a', 'b', 'c', 'd', 'e', (TensorEntry('x', 'y'),), (TensorEntry('z', 'w', 'labels.txt'),)
    )
    _reads_or_refuses(unpack, _changed(pack(entry), places))


@settings(max_examples=100, deadline=None)
@given(places=changes, tail=st.booleans())
def test_any_change_of_the_file_is_read_or_refused(
    digits_float: bytes, places: list[tuple[float, int]], tail: bool
) -> None:
    model = add(digits_float, FULL)
    # The weights are most of the file; what directs the reader stands at both of its ends.
    size = 200 if tail else 3000
    part = model[-size:] if tail else model[:size]
    changed = _changed(part, places)
    _reads_or_refuses(read, model[:-size] + changed if tail else changed + model[size:])
