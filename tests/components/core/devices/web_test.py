"""A file in a real browser: its time, its answers, why it is refused, and nothing is left behind."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from tests.components.core.devices.browser_processes import Browsers, recorded_browsers, short_folder
from tests.components.core.litert.sparse.pointwise_nets import end, stem
from tests.golden import files as golden
from tfx_edge.components.core.devices import web
from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.devices.profile import profile
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.sparse import sparse_kernels

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('browser')]


@pytest.fixture
def browsers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browsers]:
    with short_folder(monkeypatch) as temporary:
        yield recorded_browsers(tmp_path, temporary, monkeypatch)


def test_time_of_a_file_is_measured_and_nothing_is_left(browsers: Browsers) -> None:
    costs = profile(golden.float_model('small'), 'web')
    assert costs == DeviceCosts('web', costs.tool, costs.settings, milliseconds=costs.milliseconds)
    assert 0.001 < costs.milliseconds < 100
    assert costs.tool.startswith('@litertjs/core ')
    assert browsers.version in costs.tool
    assert costs.settings.startswith('wasm, one thread, median of 31 rounds on this host (')
    assert len(browsers.started()) == 1
    assert browsers.left() == []
    assert browsers.temporary_files() == []


@pytest.mark.parametrize('name', ['digits', 'many_operators', 'two_headed'])
def test_answers_are_those_of_litert(name: str) -> None:
    file, random = golden.float_model(name), np.random.default_rng(1)
    here = LiteRTModel(file)
    inputs = {key: random.random((3, *detail.shape[1:]), np.float32) for key, detail in here.inputs.items()}
    answers, expected = web.answers(file, inputs), here(inputs)
    assert answers.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(answers[key], values, atol=1e-5)


def test_inputs_of_a_file_without_a_signature_are_found() -> None:
    content = ModelFile(golden.float_model('two_headed')).changeable()
    content.signatureDefs = None
    file = ModelFile.of_content(content)
    inputs = {
        name: np.full((2, 1), number, np.float32) for number, name in enumerate(LiteRTModel(file.data).inputs)
    }
    answers, expected = web.answers(file, inputs), LiteRTModel(file.data)(inputs)
    assert answers.keys() == expected.keys()
    assert all((answers[name] == values).all() for name, values in expected.items())
    assert web.profile(file).milliseconds


def test_two_files_take_turns_in_one_page(browsers: Browsers) -> None:
    many, few = golden.float_model('many_links'), golden.float_model('logarithm')
    pair = web.profile_pair(many, few)
    assert pair.times.rounds == 31
    assert pair.times.low <= pair.times.ratio <= pair.times.high
    assert pair.times.ratio > 1.5
    assert pair.costs.milliseconds > pair.baseline.milliseconds > 0
    assert len(browsers.started()) == 1


@pytest.mark.parametrize('size', [33, 32])
def test_sparse_kernels_answer_as_dense_ones(size: int) -> None:
    """XNNPACK computes sparse there; on the runtime of this host, where it is x86, it does not."""
    dense = end(stem(size))
    sparse = sparse_kernels.make(dense).file
    assert sparse != dense
    images = {'image': np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)}
    ours, theirs = (next(iter(web.answers(file, images).values())) for file in (sparse, dense))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max())


def test_types_that_litert_js_lacks_are_an_obstacle(files: Mapping[str, bytes]) -> None:
    costs = web.profile(files['int8'])
    assert (costs.milliseconds, costs.absent) == (None, '')
    assert costs.obstacle == (
        f'{costs.tool.split(",")[0]} does not run the file (Element type INT8 is not supported.); make the file with '
        'float inputs and outputs and without custom operators, or leave web out'
    )
    assert web.profile(files['int8 with float I/O']).milliseconds


def test_operator_that_litert_js_lacks_is_an_obstacle(files: Mapping[str, bytes]) -> None:
    """LiteRT.js itself returns outputs all the same, which hold whatever was in memory."""
    bad = _with_an_operator_of_nobody(files['float'])
    pair = web.profile_pair(bad, files['float'])
    assert '(Encountered unresolved custom op: Nowhere.' in pair.costs.obstacle
    assert '\n' not in pair.costs.obstacle
    assert (pair.costs.milliseconds, pair.times) == (None, None)
    assert pair.baseline.milliseconds > 0
    with pytest.raises(EdgeError, match='cannot be run in a browser: Encountered unresolved custom op'):
        web.answers(bad, {'image': np.zeros((1, 8, 8, 1), np.float32)})


def test_time_is_limited_and_the_browser_ended(browsers: Browsers) -> None:
    with pytest.raises(EnvironmentFailure, match=r'did not run the file within 0\.2 s; run the step again'):
        web.profile(golden.float_model('small'), timeout_seconds=0.2)
    assert len(browsers.started()) == 1
    assert browsers.left() == []
    assert browsers.temporary_files() == []


def test_death_of_the_page_is_seen_at_once(browsers: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    # Minutes of them, so that the page does not answer before it is killed.
    monkeypatch.setattr(web, '_ROUNDS', 10_000)
    killer = threading.Thread(target=browsers.kill_pages)
    killer.start()
    start = time.monotonic()
    with pytest.raises(EnvironmentFailure, match='lost the page before it answered'):
        web.profile(golden.float_model('many_links'))
    killer.join()
    assert time.monotonic() - start < 30
    assert browsers.left() == []


def test_browser_ends_with_the_process_that_asked(browsers: Browsers, tmp_path: pathlib.Path) -> None:
    code = (
        'import pathlib, sys; from tfx_edge.components.core.devices import web;'
        'web.profile(pathlib.Path(sys.argv[1]).read_bytes())'
    )
    model = golden.FOLDER / 'many_links' / 'float.tflite'
    asking = subprocess.Popen([sys.executable, '-c', code, str(model)])
    while not browsers.pages():
        assert asking.poll() is None
        time.sleep(0.02)
    asking.kill()
    assert asking.wait() == -signal.SIGKILL
    assert browsers.left() == []


def _with_an_operator_of_nobody(model: bytes) -> bytes:
    content = ModelFile(model).changeable()
    code = content.operatorCodes[content.subgraphs[0].operators[0].opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = flatbuffer.schema.BuiltinOperator.CUSTOM
    code.customCode = b'Nowhere'
    return ModelFile.of_content(content).data
