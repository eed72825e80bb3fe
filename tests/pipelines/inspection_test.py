"""`tfx-edge inspect` on a real file."""

from __future__ import annotations

import json
import pathlib

import pytest

from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantize import quantize_model
from tfx_edge.pipelines.cli import main


@pytest.fixture(scope='module')
def tflite_file(digits_saved_model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The weights in int8, the arithmetic in float."""
    model = convert_saved_model(str(digits_saved_model), 'serving_default')
    path = tmp_path_factory.mktemp('inspect') / 'digits.tflite'
    path.write_bytes(quantize_model(model, QuantizationOptions('DYNAMIC_INT8')))
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
