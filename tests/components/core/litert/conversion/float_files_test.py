"""A float file is made once and found again, and what is found is the file of that very model or nothing."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests import processes
from tests.golden import files as golden
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.conversion.float_files import PASSED_ON_FILE, FloatFiles, pass_on

pytestmark = pytest.mark.slow

GOLDEN = golden.saved_model('exact')
SIGNATURE = 'serving_default'
WEIGHT = 'matrix/.ATTRIBUTES/VARIABLE_VALUE'
KILLS = int(os.environ.get('KILLS', '2'))


@pytest.fixture(scope='module')
def golden_file() -> bytes:
    return convert_saved_model(str(GOLDEN), SIGNATURE)


@pytest.fixture
def conversions(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    """A function: how many conversions there were."""
    caplog.set_level(logging.INFO, 'tfx_edge')
    return lambda: sum('converting signature' in record.getMessage() for record in caplog.records)


def entries(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.iterdir())


def test_file_is_made_once_wherever_the_model_lies(
    golden_file: bytes, conversions: Callable[[], int], tmp_path: pathlib.Path
) -> None:
    files = FloatFiles(str(tmp_path / 'kept'))
    assert files.convert(str(GOLDEN), SIGNATURE) == golden_file
    elsewhere = shutil.copytree(GOLDEN, tmp_path / 'elsewhere')
    again = FloatFiles(str(tmp_path / 'kept'))
    assert again.convert(str(elsewhere), SIGNATURE) == golden_file
    assert conversions() == 1
    assert len(entries(tmp_path / 'kept')) == 1


def test_without_a_folder_nothing_is_kept(golden_file: bytes, conversions: Callable[[], int]) -> None:
    assert [FloatFiles().convert(str(GOLDEN), SIGNATURE) for _ in range(2)] == [golden_file] * 2
    assert conversions() == 2


def test_model_with_other_weights_is_converted_anew(golden_file: bytes, tmp_path: pathlib.Path) -> None:
    """By the least change that a weight can have."""
    files = FloatFiles(str(tmp_path / 'kept'))
    files.convert(str(GOLDEN), SIGNATURE)
    values = tf.train.load_checkpoint(str(GOLDEN / 'variables' / 'variables'))
    changed = values.get_tensor(WEIGHT)
    changed.flat[0] = np.nextafter(changed.flat[0], np.float32(np.inf))
    (tmp_path / 'other').mkdir()
    write_with_values(str(GOLDEN), str(tmp_path / 'other'), {WEIGHT: changed})
    file = files.convert(str(tmp_path / 'other'), SIGNATURE)
    assert file == convert_saved_model(str(tmp_path / 'other'), SIGNATURE) != golden_file
    assert len(entries(tmp_path / 'kept')) == 2


@pytest.mark.parametrize('damage', ['cut', 'flipped', 'empty', 'of another key'])
def test_damaged_entry_is_not_used_and_is_replaced(
    damage: str, golden_file: bytes, conversions: Callable[[], int], tmp_path: pathlib.Path
) -> None:
    files = FloatFiles(str(tmp_path))
    files.convert(str(GOLDEN), SIGNATURE)
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    other = whole.replace(b'"key": "', b'"key": "0', 1)
    entry.write_bytes(
        {'cut': whole[:-1], 'flipped': bytes(flipped), 'empty': b'', 'of another key': other}[damage]
    )
    assert files.convert(str(GOLDEN), SIGNATURE) == golden_file
    assert conversions() == 2
    assert entry.read_bytes() == whole


def test_file_that_is_handed_on_is_taken(
    golden_file: bytes, conversions: Callable[[], int], tmp_path: pathlib.Path
) -> None:
    pass_on(str(tmp_path), str(GOLDEN), SIGNATURE, golden_file)
    assert FloatFiles(handed=[str(tmp_path)]).convert(str(GOLDEN), SIGNATURE) == golden_file
    assert conversions() == 0
    (tmp_path / PASSED_ON_FILE).write_bytes(b'')
    assert FloatFiles(handed=[str(tmp_path)]).convert(str(GOLDEN), SIGNATURE) == golden_file
    assert conversions() == 1


def test_oldest_entries_go_first_and_what_a_dead_process_left_goes_too(tmp_path: pathlib.Path) -> None:
    for number in range(40):
        path = tmp_path / f'{number:02d}.entry'
        path.write_bytes(b'an entry')
        os.utime(path, (number, number))
    left, fresh = tmp_path / 'x.entry.0.unfinished', tmp_path / 'y.entry.1.unfinished'
    for path in (left, fresh):
        path.write_bytes(b'half')
    os.utime(left, (0, 0))
    FloatFiles(str(tmp_path)).convert(str(GOLDEN), SIGNATURE)
    names = {path.name for path in entries(tmp_path)}
    assert {f'{number:02d}.entry' for number in range(9, 40)} < names
    assert len(names) == 33  # 31 of the old ones, the new one, and what may still be written
    assert left.name not in names
    assert fresh.name in names


def test_several_processes_use_one_folder(golden_file: bytes, tmp_path: pathlib.Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: _start(tmp_path, times=1).communicate(), range(2)))
    assert all('converted' in out for out, _ in done), done
    (entry,) = entries(tmp_path)
    assert entry.read_bytes().endswith(golden_file)


def test_killed_at_any_moment_it_leaves_no_process_and_no_wrong_file(
    golden_file: bytes, tmp_path: pathlib.Path
) -> None:
    """KILLS=20 kills more often."""
    draw = random.Random(0)
    for number in range(KILLS):
        process = _start(tmp_path / f'{number % 3}', times=1000)
        assert process.stdout is not None
        assert process.stdout.readline() == 'ready\n'
        time.sleep(draw.uniform(0, 1.5))
        below = processes.below(process.pid)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        end = time.monotonic() + 5
        while any(map(processes.is_alive, below)):
            assert time.monotonic() < end
            time.sleep(0.02)
        files = FloatFiles(str(tmp_path / f'{number % 3}'))
        assert files.convert(str(GOLDEN), SIGNATURE) == golden_file


SCRIPT = """
import pathlib, sys
from tfx_edge.components.core.litert.conversion import saved_model_converter
from tfx_edge.components.core.isolation.isolated_process import run_isolated
from tfx_edge.components.core.litert.conversion.float_files import FloatFiles
folder, model, times = sys.argv[1:]
run_isolated(saved_model_converter.convert_signature, model, 'serving_default', frozen=False)
print('ready', flush=True)
for _ in range(int(times)):
    FloatFiles(folder).convert(model, 'serving_default')
    if int(times) > 1:
        for entry in pathlib.Path(folder).iterdir():
            entry.unlink()
print('converted', flush=True)
"""


def _start(folder: pathlib.Path, times: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-c', SCRIPT, str(folder), str(GOLDEN), str(times)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
