"""What failed steps report, from the runner to a step that names them."""

from __future__ import annotations

import os
import pathlib

import pytest

from tfx_edge.components.tfx_interface.missing_steps import (
    read_missing_steps,
    remove_missing_steps,
    write_missing_steps,
)


def output(root: pathlib.Path) -> str:
    return str(root / 'EdgeSelector' / 'selection' / '7')


def test_a_step_reads_what_the_newest_run_wrote(tmp_path: pathlib.Path) -> None:
    assert read_missing_steps(output(tmp_path)) == {}
    write_missing_steps(str(tmp_path), '2026-11-29T10:00:00', {'Pruner': 'EdgeError: old'})
    folder = tmp_path / '.tfx_edge' / 'missing_steps'
    os.utime(folder / '2026-11-29T10:00:00.json', (1, 1))
    # A clock that is set back between runs: the id says another order.
    write_missing_steps(str(tmp_path), '2026-11-29T09:00:00', {'Pruner': 'EdgeError: no weights'})
    lines = {'Pruner': 'EdgeError: no weights', 'Clusterer': "KeyError: 'Größe'"}
    write_missing_steps(str(tmp_path), '2026-11-29T09:00:00', lines)
    (folder / '2026-11-29T11:00:00.json.unfinished').write_text('{"Pruner": ')
    assert read_missing_steps(output(tmp_path)) == lines
    assert read_missing_steps(output(tmp_path) + '/') == lines


def test_what_a_run_wrote_is_removed_and_nothing_else(tmp_path: pathlib.Path) -> None:
    for run in ('first', 'second'):
        write_missing_steps(str(tmp_path), run, {run: 'failed'})
    remove_missing_steps(str(tmp_path), 'second')
    remove_missing_steps(str(tmp_path), 'absent')
    assert read_missing_steps(output(tmp_path)) == {'first': 'failed'}
    remove_missing_steps(str(tmp_path), 'first')
    assert read_missing_steps(output(tmp_path)) == {}
    assert not os.listdir(tmp_path / '.tfx_edge' / 'missing_steps')


def test_a_line_is_shortened_to_its_end(tmp_path: pathlib.Path) -> None:
    write_missing_steps(str(tmp_path), 'run', {'Trainer': 'ValueError: ' + 'shape\n' * 200 + 'of logits'})
    line = read_missing_steps(output(tmp_path))['Trainer']
    assert line.startswith('... shape')
    assert line.endswith('shape of logits')
    assert len(line) <= 304


@pytest.mark.parametrize(
    'uri',
    ['', '7', '/7', 'root/7', 'root/selection/7', 'root/EdgeSelector/selection/seven', 'gs://root/a/b/7'],
)
def test_elsewhere_nothing_is_read(uri: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_missing_steps('root', 'run', {'Pruner': 'failed'})
    assert read_missing_steps('root/EdgeSelector/selection/7')
    assert read_missing_steps(uri) == {}


def test_nothing_is_written_for_an_object_store(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_missing_steps('gs://bucket/pipeline', 'run', {'Pruner': 'failed'})
    remove_missing_steps('gs://bucket/pipeline', 'run')
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('content', ['', '{"Pruner": ', '[1]', 'null'])
def test_a_damaged_file_is_no_fault_of_the_step(content: str, tmp_path: pathlib.Path) -> None:
    write_missing_steps(str(tmp_path), 'run', {})
    (tmp_path / '.tfx_edge/missing_steps/run.json').write_text(content)
    assert read_missing_steps(output(tmp_path)) == {}
