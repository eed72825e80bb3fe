"""`tfx-edge inspect` on a real file."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

import pytest

from tests.components.core.litert.file_edits import without_signatures
from tfx_edge.components.core.litert.file.metadata import ModelMetadata, add
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.pipelines.cli import main


@pytest.fixture(scope='module')
def tflite_file(digits_float: bytes, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The weights in int8, the arithmetic in float."""
    path = tmp_path_factory.mktemp('inspect') / 'digits.tflite'
    path.write_bytes(quantize_model(digits_float, QuantizationOptions('DYNAMIC_INT8')))
    return path


@pytest.fixture(scope='module')
def described_file(tflite_file: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The same with metadata and labels."""
    path = tmp_path_factory.mktemp('described') / 'digits.tflite'
    metadata = ModelMetadata(name='digits', outputs={'output_0': 'probabilities'}, labels=tuple('0123456789'))
    path.write_bytes(add(tflite_file.read_bytes(), metadata))
    return path


def test_inspect_json_holds_what_the_file_holds(
    tflite_file: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', str(tflite_file), '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['file_bytes'] == tflite_file.stat().st_size
    assert 0 < found['zip_bytes'] < found['file_bytes']
    assert found['inputs'] == {'image': 'float32'}
    assert found['signature_name'] == 'serving_default'
    kernels = [tensor for tensor in found['tensors'] if tensor['kernel']]
    assert len(kernels) == 5
    assert found['kernel_max_distinct'] == max(kernel['distinct'] for kernel in kernels)
    assert len(found['float_ops']) >= 5


def test_inspect_json_has_the_keys_of_its_format(
    described_file: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that goes or changes its meaning needs another format_version."""
    assert main(['inspect', str(described_file), '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['format_version'] == 1
    assert set(found) >= {
        'file_bytes',
        'zip_bytes',
        'bytes_by_type',
        'signature_name',
        'inputs',
        'outputs',
        'tensors',
        'operators',
        'metadata',
        'kernel_zeros',
        'kernel_max_distinct',
        'integer_coverage',
        'integer_coverage_by_weight',
        'float_ops',
    }
    assert set(found['tensors'][0]) >= {
        'name',
        'shape',
        'dtype',
        'elements',
        'constant',
        'kernel',
        'zeros',
        'distinct',
        'scales',
        'scale_values',
        'zero_points',
        'quantized_dimension',
        'stored_bytes',
        'buffer',
    }
    assert set(found['operators'][0]) >= {'name', 'output', 'integer', 'arithmetic', 'weight_bytes'}
    for tensor in found['tensors']:
        assert len(tensor['scale_values']) == tensor['scales']
    assert found['metadata']['labels'] == list('0123456789')
    assert found['metadata']['outputs'] == {'output_0': 'probabilities'}
    assert found['integer_coverage'] == 0.0


def test_inspect_table_shows_tensors_scales_and_metadata(
    described_file: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', str(described_file)]) == 0
    printed = capsys.readouterr().out
    for text in (
        'Kernels',
        'Other constants',
        'Activations',
        'hybrid',
        '32 on axis 0',
        'int8: 6,240 bytes',
        'integer    0.0% of the operators',
        'name        digits',
        '10 of output_0: 0, 1, 2, 3, 4, …',
        'output output_0 probabilities',
    ):
        assert text in printed


def test_inspect_names_inputs_and_outputs_of_a_file_without_signature(
    tflite_file: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'old.tflite'
    path.write_bytes(without_signatures(tflite_file.read_bytes()))
    assert main(['inspect', str(path)]) == 0
    printed = capsys.readouterr().out
    assert 'signature  none: inputs and outputs by the names of their tensors' in printed
    assert 'inputs     image: float32' in printed
    assert re.search(r'^outputs    \S+:0: float32$', printed, re.MULTILINE)


def test_names_stay_whole_in_a_pipe_and_end_at_separators_in_a_terminal(
    tflite_file: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(['inspect', str(tflite_file), '--json'])
    found = json.loads(capsys.readouterr().out)
    names = [tensor['name'].split(';')[0] for tensor in found['tensors']]
    monkeypatch.setenv('COLUMNS', '60')
    main(['inspect', str(tflite_file)])
    piped = capsys.readouterr().out
    assert all(f' {name} ' in piped for name in names)
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    main(['inspect', str(tflite_file)])
    words = set(capsys.readouterr().out.split())
    longest = max(names, key=len)
    assert longest not in words
    assert all(_told_in_lines(name, words) for name in names)


def _told_in_lines(name: str, words: set[str]) -> bool:
    """Whether the words are lines of a name, each but the last one ending with a separator."""
    return name in words or any(
        word.endswith('/') and name.startswith(word) and _told_in_lines(name[len(word) :], words)
        for word in words
    )


def test_what_a_file_says_does_not_command_the_terminal(
    tflite_file: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / 'loud.tflite'
    file.write_bytes(add(tflite_file.read_bytes(), ModelMetadata(author='\x1b[2Jme', license='[red]none')))
    assert main(['inspect', str(file)]) == 0
    printed = capsys.readouterr().out
    assert '\x1b' not in printed
    assert '\ufffd[2Jme' in printed
    assert '[red]none' in printed


def test_inspect_does_not_wait_for_tensorflow(tflite_file: pathlib.Path) -> None:
    code = (
        'import sys\nfrom tfx_edge.pipelines.cli import main\n'
        f'status = main(["inspect", {str(tflite_file)!r}])\n'
        'slow = {"tensorflow", "keras", "tfx", "apache_beam"} & set(sys.modules)\n'
        'sys.exit(f"imported {slow}" if slow else status)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_inspect_table_names_kernels_and_operators(
    tflite_file: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', str(tflite_file)]) == 0
    printed = capsys.readouterr().out
    for text in ('image: float32', 'CONV_2D', 'DEPTHWISE_CONV_2D', 'FULLY_CONNECTED', 'int8', 'float ops'):
        assert text in printed


@pytest.mark.parametrize('damage', ['truncated', 'empty', 'text'])
def test_inspect_of_a_damaged_file_is_one_line(
    damage: str, tflite_file: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = tflite_file.read_bytes()
    broken = tmp_path / 'broken.tflite'
    broken.write_bytes(
        {'truncated': content[: len(content) // 2], 'empty': b'', 'text': b'hello ' * 99}[damage]
    )
    assert main(['inspect', str(broken)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ''
    (line,) = printed.err.splitlines()
    assert line.startswith(f'tfx-edge: {broken}: ')
