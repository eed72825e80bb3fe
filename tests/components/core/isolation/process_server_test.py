"""One server loads TensorFlow once and forks for each call; whatever dies, one call ends and nothing is left behind."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests import processes
from tests.golden import files
from tfx_edge.components.core.errors import EnvironmentFailure
from tfx_edge.components.core.evaluation.model_files.latency import measure_latency
from tfx_edge.components.core.isolation import isolated_process
from tfx_edge.components.core.isolation.isolated_process import PROCESS_SECONDS, run_isolated
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import affine

pytestmark = pytest.mark.slow

# Far longer than any test waits.
FOREVER = 10**7
GOLDEN = files.saved_model('exact')
SERVER = 'process_server'
LongCall = Callable[[], tuple[concurrent.futures.Future[object], int]]


def servers_below(parent: int) -> list[int]:
    """The process servers that a process has started, without what they forked."""
    named = [pid for pid in processes.below(parent) if SERVER in processes.command(pid)]
    forked = {child for pid in named for child in processes.below(pid)}
    return [pid for pid in named if pid not in forked]


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'it did not come to pass'
        time.sleep(0.02)


def quick() -> None:
    """A call that works."""
    assert run_isolated(affine.dequantize, np.array([3], np.int8), 0.5, 1).tolist() == [1.0]


@pytest.fixture
def server() -> int:
    """The process server of this process, which runs."""
    quick()
    (pid,) = servers_below(os.getpid())
    return pid


@pytest.fixture
def long_call(server: int, digits_float: bytes) -> Iterator[LongCall]:
    """Starts a call that does not end by itself, and names its process."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        def start() -> tuple[concurrent.futures.Future[object], int]:
            call = pool.submit(run_isolated, measure_latency, digits_float, digits_float, rounds=FOREVER)
            wait_until(lambda: len(processes.below(server)) == 1)
            (child,) = processes.below(server)
            return call, child

        yield start


def test_server_has_one_thread_when_tensorflow_is_loaded(server: int) -> None:
    """Forking with more is not safe: a lock that another thread holds stays locked in the child."""
    convert_saved_model(str(GOLDEN), 'serving_default')
    assert servers_below(os.getpid()) == [server]
    assert 'libtensorflow' in (pathlib.Path('/proc') / str(server) / 'maps').read_text()
    assert len(os.listdir(f'/proc/{server}/task')) == 1


def test_killed_call_ends_alone(server: int, long_call: LongCall) -> None:
    call, child = long_call()
    quick()
    os.kill(child, signal.SIGKILL)
    with pytest.raises(EnvironmentFailure, match=r'measure_latency .*\(SIGKILL\); the system ends processes'):
        call.result(10)
    quick()
    assert servers_below(os.getpid()) == [server]


def test_killed_server_ends_its_calls_and_the_next_call_starts_another(
    server: int, long_call: LongCall
) -> None:
    call, child = long_call()
    os.kill(server, signal.SIGKILL)
    with pytest.raises(EnvironmentFailure, match='SIGKILL'):
        call.result(10)
    wait_until(lambda: not processes.is_alive(child), 5)
    quick()
    (another,) = servers_below(os.getpid())
    os.kill(another, signal.SIGKILL)  # idle
    quick()


def test_a_killed_conversion_says_nothing_about_the_model(server: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(convert_saved_model, str(GOLDEN), 'serving_default')
        # The first may be the last of an earlier test, which is about to end; and a server with several threads, as
        # while it loads, leaves the call to a fresh interpreter.
        while not call.done():
            for child in {*processes.below(os.getpid())} - {server}:
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    if 'core.isolation' in processes.command(child):
                        os.kill(child, signal.SIGKILL)
            time.sleep(0.02)
        with pytest.raises(EnvironmentFailure, match=r'^convert_signature failed .*\(SIGKILL.*\); .* memory'):
            call.result(60)


def test_a_call_that_hangs_is_ended(
    server: int, digits_float: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROCESS_SECONDS, '1')
    with pytest.raises(
        EnvironmentFailure, match=r'measure_latency did neither log nor end for 1 s .*PROCESS_SECONDS'
    ):
        run_isolated(measure_latency, digits_float, digits_float, rounds=FOREVER)
    assert not processes.below(server)


def test_threads_call_at_the_same_time(server: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = pool.map(
            lambda n: run_isolated(affine.dequantize, np.array([n], np.int8), 0.5, 0).tolist(), range(40)
        )
        assert list(made) == [[n / 2] for n in range(40)]
    assert not processes.below(server)


def test_call_sees_this_folder_and_these_variables(
    server: int, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Though the server was started before: in a fresh interpreter it would."""
    shutil.copytree(GOLDEN, tmp_path / 'here')
    monkeypatch.chdir(tmp_path)
    assert convert_saved_model('here', 'serving_default') == convert_saved_model(
        str(GOLDEN), 'serving_default'
    )


SCRIPT = """
import hashlib, json, os, sys
from tfx_edge.components.core.litert.conversion import convert
from tfx_edge.components.core.litert.quantization import quantize
from tfx_edge.components.core.isolation.isolated_process import run_isolated
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
digests = json.load(open(sys.argv[1] + '/digests.json'))
model = convert.convert_saved_model(sys.argv[1] + '/saved_model', 'serving_default')
files = [model]
for engine in ('LITERT', 'CONVERTER'):
    options = QuantizationOptions('INT8', engine=engine)
    # The converter's engine asks for a process of its own from within one.
    files.append(run_isolated(quantize.make_file, model, options, digests['ranges']).model)
print([hashlib.sha256(file).hexdigest() for file in files])
"""


def test_forked_and_fresh_processes_give_the_same_bytes_and_forked_ones_import_tensorflow_once(
    tmp_path: pathlib.Path,
) -> None:
    counting = pathlib.Path(__file__).parents[3] / 'e2e' / 'counting'
    printed, imports = [], []
    for fresh in ('', '1'):
        counted = tmp_path / f'counted{fresh}'
        done = subprocess.run(
            [sys.executable, '-c', SCRIPT, str(GOLDEN.parent)],
            env={
                **os.environ,
                isolated_process.FRESH_PROCESSES: fresh,
                'PYTHONPATH': str(counting),
                'COUNTED_IN': str(counted),
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
        imports.append(counted.read_text().count('tensorflow'))
    assert printed[0] == printed[1]
    assert imports == [1, 2]


HOLDER = """
import signal, sys
# Whoever starts the tests in the background may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from tfx_edge.components.core.evaluation.model_files.latency import measure_latency
from tfx_edge.components.core.isolation.isolated_process import run_isolated
model = open(sys.argv[1], 'rb').read()
run_isolated(measure_latency, model, model, rounds=10**7)
"""


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_parent(digits_float: bytes, tmp_path: pathlib.Path, number: int) -> None:
    (tmp_path / 'model').write_bytes(digits_float)
    parent = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(tmp_path / 'model')], stderr=subprocess.DEVNULL
    )
    wait_until(lambda: len(processes.below(parent.pid)) == 2)
    below = processes.below(parent.pid)
    parent.send_signal(number)
    parent.wait(30)
    wait_until(lambda: not any(map(processes.is_alive, below)), 5)


def test_forked_process_of_this_one_has_a_server_of_its_own(tmp_path: pathlib.Path) -> None:
    """multiprocessing forks; the sockets that the child inherits are its parent's."""
    script = textwrap.dedent("""
        import os, numpy as np
        from tfx_edge.components.core.litert.file import affine
        from tfx_edge.components.core.isolation.isolated_process import run_isolated
        def call(n):
            return run_isolated(affine.dequantize, np.array([n], np.int8), 1.0, 0).tolist()
        print(call(1), flush=True)
        if not os.fork():
            print(call(2), flush=True)
            os._exit(0)
        os.wait()
        print(call(3), flush=True)
    """)
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.stdout.split('\n')[:3] == ['[1.0]', '[2.0]', '[3.0]'], done.stderr
