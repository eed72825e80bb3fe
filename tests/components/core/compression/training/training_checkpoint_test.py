"""State of a training: restored exactly, or, where it is damaged, removed with a warning."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.training import training_checkpoint
from tfx_edge.components.core.compression.training.training_checkpoint import TrainingCheckpoint


def _truncated(folder: pathlib.Path) -> None:
    (data,) = folder.glob('*.data*')
    data.write_bytes(data.read_bytes()[:100])


def _flipped(folder: pathlib.Path) -> None:
    (data,) = folder.glob('*.data*')
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 255
    data.write_bytes(content)


def _without_data(folder: pathlib.Path) -> None:
    (data,) = folder.glob('*.data*')
    data.unlink()


def _empty_index(folder: pathlib.Path) -> None:
    (index,) = folder.glob('*.index')
    index.write_bytes(b'')


def _empty_list(folder: pathlib.Path) -> None:
    (folder / 'checkpoint').write_bytes(b'')


def _garbage_list(folder: pathlib.Path) -> None:
    (folder / 'checkpoint').write_bytes(b'\xff\x00garbage')


def _other_text(folder: pathlib.Path) -> None:
    (folder / 'checkpoint').write_text('what is this\n')


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder with the state after 7 steps."""
    monkeypatch.setattr(training_checkpoint, 'SECONDS_BETWEEN_CHECKPOINTS', 0.0)
    weights = np.arange(300, dtype=np.float32)
    TrainingCheckpoint(str(tmp_path / 'state'), [tf.Variable(weights)]).step_done(7)
    return tmp_path / 'state'


def test_state_is_restored(folder: pathlib.Path) -> None:
    variable = tf.Variable(np.zeros(300, np.float32))
    assert TrainingCheckpoint(str(folder), [variable]).restore() == 7
    assert variable.numpy().tolist() == list(range(300))


def test_a_variable_that_is_there_twice_is_restored(folder: pathlib.Path) -> None:
    first, second = tf.Variable([1.0]), tf.Variable([2.0, 3.0])
    TrainingCheckpoint(str(folder.with_name('twice')), [first, first, second]).step_done(5)
    again = tf.Variable([0.0]), tf.Variable([0.0, 0.0])
    assert TrainingCheckpoint(str(folder.with_name('twice')), [again[0], again[0], again[1]]).restore() == 5
    assert [variable.numpy().tolist() for variable in again] == [[1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    'damage',
    [_truncated, _flipped, _without_data, _empty_index, _empty_list, _garbage_list, _other_text],
)
def test_damaged_state_is_removed_and_training_begins_anew(
    damage: Callable[[pathlib.Path], None], folder: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder)
    variable = tf.Variable(np.full(300, 5.0, np.float32))
    checkpoint = TrainingCheckpoint(str(folder), [variable])
    assert checkpoint.restore() == 0
    assert variable.numpy().tolist() == [5.0] * 300
    assert f'earlier run in {folder} cannot be used' in caplog.text
    checkpoint.step_done(3)
    assert TrainingCheckpoint(str(folder), [tf.Variable(np.zeros(300, np.float32))]).restore() == 3


def test_state_of_another_shape_is_not_taken(folder: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    assert TrainingCheckpoint(str(folder), [tf.Variable(np.zeros(4, np.float32))]).restore() == 0
    assert 'is of another training' in caplog.text
