"""What happens in the other process comes back: results, errors, log records, and what it died of."""

from __future__ import annotations

import json
import logging
import pathlib
import subprocess
import sys
import textwrap
import time

import pytest

from tfx_edge.components.core.calibration.ranges import write_ranges
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.isolation import isolated_process
from tfx_edge.components.core.isolation.isolated_process import ChildFailure, run_isolated
from tfx_edge.components.core.litert.file import affine, flatbuffer
from tfx_edge.components.core.litert.quantization import converter_adapter, quantize
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions

pytestmark = pytest.mark.slow


def test_result_is_that_of_the_call(digits_float: bytes, digits_ranges: dict) -> None:
    options = QuantizationOptions('INT8')
    made = run_isolated(quantize.make_file, digits_float, options, ranges=digits_ranges)
    assert made == quantize.make_file(digits_float, options, digits_ranges)


def test_log_records_reach_this_process(
    digits_float: bytes, digits_ranges: dict, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run_isolated(quantize.quantize_model, digits_float, QuantizationOptions('INT8'), digits_ranges)
    (record,) = [r for r in caplog.records if 'engine LITERT' in r.getMessage()]
    assert record.name == 'tfx_edge.components.core.litert.quantization.quantize'
    assert record.levelno == logging.INFO


def test_edge_error_keeps_its_message(digits_float: bytes) -> None:
    options = QuantizationOptions('INT8')
    with pytest.raises(EdgeError) as here:
        quantize.make_file(digits_float, options, {})
    with pytest.raises(EdgeError) as isolated:
        run_isolated(quantize.make_file, digits_float, options, {})
    assert str(isolated.value) == str(here.value)
    assert not isinstance(isolated.value, ChildFailure)


def test_other_error_becomes_one_line() -> None:
    with pytest.raises(ChildFailure, match=r'^shape failed .*AttributeError: .*; .*choose another') as caught:
        run_isolated(flatbuffer.shape, None)
    assert '\n' not in str(caught.value)


def test_full_disk_is_the_machine_s_fault() -> None:
    with pytest.raises(
        EnvironmentFailure,
        match=r'^write_ranges failed .*No space left on device.*; free space on the disk of ',
    ) as caught:
        run_isolated(write_ranges, '/dev/full', {'x': (0.0, 1.0)})
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('value', ['soon', '0', '-1', 'nan', 'inf'])
def test_a_time_limit_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isolated_process.PROCESS_SECONDS, value)
    with pytest.raises(EdgeError, match='expected a number of seconds above 0'):
        run_isolated(flatbuffer.shape, None)


def test_native_abort_is_reported(digits_float: bytes) -> None:
    """TensorFlow's quantizer verifies no file, and looks for the root of this one two gigabytes behind its end."""
    no_file = (2**31 - 16).to_bytes(4, 'little') + digits_float[4:]
    with pytest.raises(ChildFailure, match=r'quantize_int8 failed in a process of its own \(SIG') as caught:
        run_isolated(converter_adapter.quantize_int8, no_file, False, [])
    assert '\n' not in str(caught.value)
    assert caught.value.reason.startswith(('SIGSEGV', 'SIGABRT'))


@pytest.mark.parametrize(
    'function', [time.sleep, isolated_process._death, textwrap.TextWrapper.wrap, flatbuffer.np.sum]
)
def test_only_public_functions_of_tfx_edge_run(function: object) -> None:
    with pytest.raises(EdgeError, match='give a public function of a module of tfx_edge'):
        run_isolated(function)  # type: ignore[arg-type]


def test_script_without_a_main_guard_may_call_it(tmp_path: pathlib.Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(
        'import numpy as np\n'
        'from tfx_edge.components.core.isolation.isolated_process import run_isolated\n'
        'from tfx_edge.components.core.litert.file import affine\n'
        "print(run_isolated(affine.dequantize, np.array([3], np.int8), 0.5, 1), 'once')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == '[1.] once\n'


@pytest.mark.parametrize(
    'module',
    [
        'litert.quantization.quantize',
        'evaluation.model_files.first_run',
        'evaluation.model_files.side_by_side',
        'evaluation.model_files.latency',
        'devices.tflite_micro',
        'devices.look_up_tables',
    ],
)
def test_child_starts_without_tensorflow(module: str) -> None:
    """Its import takes longer than most of what children do."""
    probe = (
        f'import json, sys; import tfx_edge.components.core.{module}; '
        "print(json.dumps(sorted({'tensorflow', 'keras', 'tfx', 'apache_beam'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_private_folder_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    import numpy as np

    run_isolated(affine.dequantize, np.array([3], np.int8), 0.5, 1)
    assert list(tmp_path.iterdir()) == []
