"""The figures are Vela's own, what falls back is named, and no file or environment makes it raise or guess."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest

from tfx_edge.components.core.devices import ethos_u
from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure

_FIGURES = ('cycles', 'milliseconds', 'sram_bytes', 'dram_bytes', 'flash_bytes', 'arena_bytes')


def _figures(costs: DeviceCosts) -> dict[str, object]:
    return {name: getattr(costs, name) for name in _FIGURES}


def _printed(model: bytes, device: str, folder: pathlib.Path) -> str:
    """What Vela prints for a person."""
    (folder / 'by_hand.tflite').write_bytes(model)
    command = [sys.executable, '-m', 'ethosu.vela', 'by_hand.tflite', '--accelerator-config', device]
    done = subprocess.run(
        [*command, '--verbose-cycle-estimate'], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.usefixtures('vela')
@pytest.mark.parametrize('which', ['int8', 'int8 with float I/O', 'int16 activations'])
def test_figures_are_those_that_vela_prints(
    files: Mapping[str, bytes], which: str, tmp_path: pathlib.Path
) -> None:
    costs = ethos_u.profile(files[which], 'ethos-u55-128')
    printed = _printed(files[which], 'ethos-u55-128', tmp_path)
    assert costs.cycles == int(re.search(r'Total cycles +(\d+)', printed).group(1)) > 0
    sram = float(re.search(r'Total SRAM used +([\d.]+) KiB', printed).group(1))
    flash = float(re.search(r'Total Off-chip Flash used +([\d.]+) KiB', printed).group(1))
    assert costs.sram_bytes / 1024 == pytest.approx(sram, abs=0.006)
    assert costs.flash_bytes / 1024 == pytest.approx(flash, abs=0.006)
    clock = float(re.search(r'Accelerator clock +(\d+) MHz', printed).group(1))
    assert costs.milliseconds == pytest.approx(costs.cycles / (clock * 1000))
    assert len(costs.cpu_operators) == int(re.search(r'CPU operators = (\d+)', printed).group(1))
    assert costs.settings == f'Ethos_U55_High_End_Embedded, Shared_Sram, {clock:g} MHz'
    assert costs.tool.startswith('ethos-u-vela ')
    assert (costs.dram_bytes, costs.arena_bytes, costs.absent, costs.obstacle) == (None, None, '', '')


@pytest.mark.usefixtures('vela')
def test_cpu_operators_are_named_as_in_the_file(files: Mapping[str, bytes]) -> None:
    assert ethos_u.profile(files['int8'], 'ethos-u55-256').cpu_operators == ()
    left = ethos_u.profile(files['int8 with float I/O'], 'ethos-u55-256').cpu_operators
    assert [name.split()[0] for name in left] == ['QUANTIZE', 'DEQUANTIZE']


@pytest.mark.usefixtures('vela')
@pytest.mark.parametrize('which', ['float', 'dynamic int8'])
def test_file_that_runs_on_the_cpu_alone_has_no_figures(files: Mapping[str, bytes], which: str) -> None:
    """Vela itself reports 0 cycles, which would pass any limit."""
    costs = ethos_u.profile(files[which], 'ethos-u55-128')
    assert set(_figures(costs).values()) == {None}
    assert [name.split()[0] for name in costs.cpu_operators][:2] == ['CONV_2D', 'DEPTHWISE_CONV_2D']
    assert re.fullmatch(r'the NPU runs none of the 5 operators; make the file with mode INT8', costs.obstacle)


@pytest.mark.usefixtures('vela')
def test_system_without_flash_shows_its_dram(files: Mapping[str, bytes]) -> None:
    costs = ethos_u.profile(files['int8'], 'ethos-u65-256')
    assert costs.flash_bytes is None
    assert costs.dram_bytes > 0
    assert costs.settings.startswith('Ethos_U65_')


@pytest.mark.usefixtures('vela')
def test_more_macs_take_fewer_cycles_and_the_same_answer_comes_twice(files: Mapping[str, bytes]) -> None:
    small = ethos_u.profile(files['int8'], 'ethos-u55-32')
    large = ethos_u.profile(files['int8'], 'ethos-u55-256')
    assert small.cycles > large.cycles
    assert ethos_u.profile(files['int8'], 'ethos-u55-256') == large


@pytest.mark.usefixtures('vela')
def test_devices_are_those_of_vela() -> None:
    printed = subprocess.run(
        [sys.executable, '-m', 'ethosu.vela', '--help'], capture_output=True, text=True, check=True
    ).stdout
    choices = re.search(r'--accelerator-config \{([^}]*)\}', printed).group(1)
    assert tuple(choice.strip() for choice in choices.split(',')) == ethos_u.DEVICES


@pytest.mark.usefixtures('vela')
def test_mutated_file_is_refused_or_reported(files: Mapping[str, bytes]) -> None:
    random = np.random.default_rng(0)
    for _ in range(12):
        damaged = bytearray(files['int8'])
        for position in random.integers(0, len(damaged), 4):
            damaged[position] = random.integers(0, 256)
        try:
            costs = ethos_u.profile(bytes(damaged), 'ethos-u55-128')
        except EdgeError as error:
            assert '\n' not in str(error)  # noqa: PT017 - either is right
        else:
            assert (costs.cycles is None) == bool(costs.obstacle)
            assert '\n' not in costs.obstacle


def test_truncated_file_is_an_edge_error(files: Mapping[str, bytes]) -> None:
    with pytest.raises(EdgeError, match='cannot be loaded'):
        ethos_u.profile(files['int8'][:900], 'ethos-u55-128')


@pytest.mark.usefixtures('vela')
def test_time_is_limited(files: Mapping[str, bytes]) -> None:
    with pytest.raises(
        EnvironmentFailure, match=r'did not compile the file for ethos-u55-128 within 0\.001 s; '
    ):
        ethos_u.profile(files['int8'], 'ethos-u55-128', timeout_seconds=0.001)


@pytest.mark.usefixtures('vela')
def test_what_vela_says_when_it_fails_is_reported(files: Mapping[str, bytes]) -> None:
    costs = ethos_u.profile(files['int8'], 'ethos-u99-1')
    assert "exit status 2: vela: error: argument --accelerator-config: invalid choice: 'ethos-u99-1'" in (
        costs.obstacle
    )


def test_death_of_vela_is_reported(
    files: Mapping[str, bytes], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path, 'test "$1" = --version && echo 9.9.9 && exit; echo a tensor; kill -SEGV $$')
    _hide_the_package(monkeypatch, tmp_path)
    assert '(SIGSEGV)' in ethos_u.profile(files['int8'], 'ethos-u55-128').obstacle


@pytest.mark.parametrize(
    ('end', 'said'),
    [
        ('kill -KILL $$', r'\(SIGKILL\); the system ends processes that take too much memory'),
        (
            'echo "OSError: [Errno 28] No space left on device" >&2; exit 1',
            r'No space left .*; free space on',
        ),
    ],
)
def test_a_machine_that_fails_is_no_fault_of_the_file(
    files: Mapping[str, bytes], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, end: str, said: str
) -> None:
    _program(tmp_path, f'test "$1" = --version && echo 9.9.9 && exit; {end}')
    _hide_the_package(monkeypatch, tmp_path)
    with pytest.raises(EnvironmentFailure, match=f'^ethos-u-vela 9.9.9 failed on the file for .*{said}'):
        ethos_u.profile(files['int8'], 'ethos-u55-128')


def test_no_vela_is_reported_with_the_remedy(
    files: Mapping[str, bytes], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hide_the_package(monkeypatch, tmp_path)
    costs = ethos_u.profile(files['int8'], 'ethos-u55-128')
    assert costs == DeviceCosts('ethos-u55-128', absent=costs.absent)
    assert costs.absent.startswith('install tfx-edge[ethos-u]')
    assert 'PATH' in costs.absent


@pytest.mark.usefixtures('vela')
def test_vela_of_another_environment_is_found_on_the_path(
    files: Mapping[str, bytes], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ethos_u.profile(files['int8'], 'ethos-u55-128')
    packages = os.pathsep.join(filter(None, sys.path))
    _program(tmp_path, f'PYTHONPATH={packages!r} exec {sys.executable!r} -m ethosu.vela "$@"')
    _hide_the_package(monkeypatch, tmp_path)
    assert ethos_u.profile(files['int8'], 'ethos-u55-128') == here


def test_path_of_this_python_is_kept_from_another_one(
    files: Mapping[str, bytes], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path, 'test "$1" = --version && echo "9.9.9" && exit; echo "path <$PYTHONPATH>"; exit 3')
    _hide_the_package(monkeypatch, tmp_path)
    monkeypatch.setenv('PYTHONPATH', '/packages/of/this/python')
    assert '(exit status 3: path <>)' in ethos_u.profile(files['int8'], 'ethos-u55-128').obstacle


@pytest.mark.parametrize('answer', ['echo CLI Version: 1.9.0', 'exit 1', 'echo 1.9.0; exit 1'])
def test_another_program_of_that_name_is_not_vela(
    files: Mapping[str, bytes], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    _program(tmp_path, answer)
    _hide_the_package(monkeypatch, tmp_path)
    assert ethos_u.profile(files['int8'], 'ethos-u55-128').absent


@pytest.mark.parametrize('writes', ['', 'mkdir output; echo a,b > output/model_summary_x.csv'])
def test_version_that_writes_something_else_is_reported(
    files: Mapping[str, bytes], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, writes: str
) -> None:
    _program(tmp_path, f'test "$1" = --version && echo 9.9.9 && exit; PATH=/usr/bin:/bin; {writes}')
    _hide_the_package(monkeypatch, tmp_path)
    costs = ethos_u.profile(files['int8'], 'ethos-u55-128')
    assert costs.obstacle.startswith(
        'ethos-u-vela 9.9.9 does not compile the file (what it writes cannot be read'
    )
    assert set(_figures(costs).values()) == {None}


def _program(folder: pathlib.Path, body: str) -> None:
    program = folder / 'vela'
    program.write_text(f'#!/bin/sh\n{body}\n')
    program.chmod(0o755)


def _hide_the_package(monkeypatch: pytest.MonkeyPatch, path: pathlib.Path) -> None:
    """Only what is in the folder is on the PATH, and Python does not find Vela."""
    monkeypatch.setitem(sys.modules, 'ethosu', None)
    monkeypatch.setenv('PATH', str(path))
