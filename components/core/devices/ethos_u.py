"""Arm's Ethos-U: the estimates of Vela, the compiler that every file for this NPU goes through.

Vela runs as a command, so that its native code cannot end this process. See "Vela Performance" in its documentation:
the figures are a compiler's estimates, not a simulation.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping

from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.errors import EnvironmentFailure
from tfx_edge.components.core.exhausted_machine import remedy_of_machine
from tfx_edge.components.core.litert.file import damaged_file, flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile

# Series, and multiply-accumulates in a cycle.
DEVICES = (
    *('ethos-u55-32', 'ethos-u55-64', 'ethos-u55-128', 'ethos-u55-256'),
    *('ethos-u65-256', 'ethos-u65-512'),
    *('ethos-u85-128', 'ethos-u85-256', 'ethos-u85-512', 'ethos-u85-1024', 'ethos-u85-2048'),
)

_ABSENT = (
    'install tfx-edge[ethos-u]; where that does not fit, install ethos-u-vela in an environment of its own '
    'and put its command `vela` on the PATH'
)
_TIMEOUT_SECONDS = 600.0
_NPU_OPERATOR = 'ethos-u'
_VERSION = re.compile(r'\d+\.\d+[\w.+-]*')
_MODEL, _OUTPUT = 'model.tflite', 'output'


def profile(
    model: bytes | ModelFile, device: str, *, timeout_seconds: float = _TIMEOUT_SECONDS
) -> DeviceCosts:
    """Compiles a file with Vela, in Vela's default system configuration and memory mode for the device.

    An open batch dimension counts as 1.

    Args:
      model: a `.tflite` file.
      device: one of DEVICES.
      timeout_seconds: how long Vela may take.

    Returns:
      Cycles, memory and what falls back to the CPU. No figures where the NPU would run nothing, as of a float file.

    Raises:
      EdgeError: the bytes are no valid `.tflite` file.
      EnvironmentFailure: Vela was killed, took too long, or found memory or a disk full.

    Example:
      >>> profile(int8_file, 'ethos-u55-128').settings
      'Ethos_U55_High_End_Embedded, Shared_Sram, 500 MHz'
    """
    # Verified by reading `content`: Vela reads the whole file without verifying it.
    file = ModelFile.of(model)
    _ = file.content
    for command, environment in _commands():
        version = _version(command, environment)
        if version:
            break
    else:
        return DeviceCosts(device, absent=_ABSENT)
    tool = f'ethos-u-vela {version}'
    with tempfile.TemporaryDirectory(prefix='tfx_edge_vela_') as temporary:
        folder = pathlib.Path(temporary)
        (folder / _MODEL).write_bytes(file.data)
        options = ['--accelerator-config', device, '--output-dir', _OUTPUT, _MODEL]
        try:
            done = _run([*command, *options], environment, folder, timeout_seconds)
        except subprocess.TimeoutExpired:
            raise EnvironmentFailure(
                f'{tool} did not compile the file for {device} within {timeout_seconds:g} s; run the step again on a '
                f'faster machine, or leave {device} out.'
            ) from None
        if remedy := remedy_of_machine(done.returncode, done.stderr):
            raise EnvironmentFailure(f'{tool} failed on the file for {device} ({_reason(done)}); {remedy}')
        if done.returncode:
            return _refused(device, tool, _reason(done))
        try:
            return _costs(device, tool, folder / _OUTPUT)
        except (OSError, ValueError, KeyError, StopIteration) as error:
            text = ' '.join(str(error).split())
            return _refused(device, tool, f'what it writes cannot be read: {type(error).__name__}: {text}')


def _commands() -> Iterator[tuple[list[str], Mapping[str, str]]]:
    """The ways to start Vela, with the environment variables for each."""
    if importlib.util.find_spec('ethosu') is not None:
        yield [sys.executable, '-m', 'ethosu.vela'], os.environ
    found = shutil.which('vela')
    if found:
        # It may belong to another Python, which cannot load packages of this one.
        yield (
            [os.path.abspath(found)],
            {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
        )


def _version(command: list[str], environment: Mapping[str, str]) -> str:
    """Vela's version, '' where the command is another program's, such as KubeVela's."""
    with tempfile.TemporaryDirectory(prefix='tfx_edge_vela_') as temporary:
        try:
            done = _run([*command, '--version'], environment, pathlib.Path(temporary), _TIMEOUT_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return ''
    version = done.stdout.strip()
    return version if done.returncode == 0 and _VERSION.fullmatch(version) else ''


def _run(
    command: list[str], environment: Mapping[str, str], folder: pathlib.Path, timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding='utf-8',
        errors='replace',
        timeout=timeout_seconds,
        check=False,
    )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed run died of: the last line that it printed, unless a signal ended it."""
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ['']
    return f'exit status {done.returncode}: {" ".join(lines[-1].split())[-300:]}'


def _refused(device: str, tool: str, reason: str) -> DeviceCosts:
    remedy = f'make the file with mode INT8 and without custom operators, or leave {device} out'
    return DeviceCosts(device, tool, obstacle=f'{tool} does not compile the file ({reason}); {remedy}')


def _costs(device: str, tool: str, output: pathlib.Path) -> DeviceCosts:
    """Reads what Vela wrote: a table of figures, and the file for the device."""
    (table,) = output.glob('*_summary_*.csv')
    with open(table, newline='', encoding='utf-8') as file:
        row = next(csv.DictReader(file))
    settings = f'{row["system_config"]}, {row["memory_mode"]}, {float(row["core_clock"]) / 1e6:g} MHz'
    operators = _operators((output / 'model_vela.tflite').read_bytes())
    left = tuple(f'{name} {tensor}' for name, tensor in operators if name != _NPU_OPERATOR)
    if len(left) == len(operators):
        return DeviceCosts(
            device,
            tool,
            settings,
            cpu_operators=left,
            obstacle=f'the NPU runs none of the {len(left)} operators; make the file with mode INT8',
        )
    areas = row['weights_storage_area'], row['feature_map_storage_area']
    flash = _bytes(row, 'on_chip_flash') + _bytes(row, 'off_chip_flash')
    return DeviceCosts(
        device,
        tool,
        settings,
        cycles=int(float(row['cycles_total'])),
        milliseconds=float(row['inference_time']) * 1000,
        sram_bytes=_bytes(row, 'sram'),
        # Vela writes 0 for a memory that the system does not have.
        dram_bytes=_bytes(row, 'dram') if 'DRAM' in areas else None,
        flash_bytes=flash if any(area.endswith('Flash') for area in areas) else None,
        cpu_operators=left,
    )


def _bytes(row: Mapping[str, str], memory: str) -> int:
    return round(float(row[f'{memory}_memory_used']) * 1024)


@damaged_file.damage_as_edge_error()
def _operators(compiled: bytes) -> list[tuple[str, str]]:
    """The operators of a file, each with its first output tensor."""
    content = flatbuffer.read(compiled)
    return [
        (
            flatbuffer.operator_name(content, operator),
            flatbuffer.tensor_name(graph.tensors[operator.outputs[0]]) if len(operator.outputs) else '',
        )
        for graph in content.subgraphs
        for operator in graph.operators
    ]
