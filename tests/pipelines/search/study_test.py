"""Proposals: no route twice, the same for the same seed, also after any interruption; limits lead them."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.pipelines.search.routes import routes
from tfx_edge.pipelines.search.finding import Finding
from tfx_edge.pipelines.search.space import space_of
from tfx_edge.pipelines.search.study import Study

SPACE = space_of(routes())
_BYTES = {'zeros50': 0.8, 'zeros75': 0.6, 'zeros90': 0.4, 'clusters16': 0.6, 'clusters8': 0.5}
_LOSS = {'zeros90': 0.3, 'zeros75': 0.05, 'clusters8': 0.1, 'qat': -0.02, 'int4x8': 0.2, 'qatw4': -0.1}


@pytest.fixture(autouse=True)
def nothing_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna writes each line through; hundreds of these take most of a minute."""
    monkeypatch.setattr(os, 'fsync', lambda descriptor: None)


def found(route: str) -> Finding:
    """Small files are worse; what is worse than 0.15 misses its limit."""
    size, loss = {'float16': 2.0, 'int8': 1.0, 'int4x8': 0.7}[route.rpartition('-')[2]], 0.0
    for step in route.split('-'):
        size *= _BYTES.get(step, 1.0)
        loss += _LOSS.get(step, 0.0)
    over = max(0.0, loss - 0.15)
    return Finding(size, loss, {'limits': float(over > 0), 'max_loss': over})


def study(file: pathlib.Path, seed: int = 0, name: str = 'study') -> Study:
    return Study(SPACE, str(file), name, seed)


def run(searched: Study, count: int, result=found) -> list[str]:
    """Trials up to a number; all names, with those of earlier runs."""
    while len(searched.finished) < count:
        route = searched.ask()
        if route.startswith('clusters16'):
            searched.tell_failure(route)
        else:
            searched.tell(route, result(route))
    return list(searched.finished)


def test_all_routes_are_asked_once_and_no_other(tmp_path):
    found_names = run(study(tmp_path / 'journal.log'), len(SPACE.routes))
    assert len(found_names) == len(SPACE.routes)
    assert set(found_names) == set(SPACE.routes)


def test_the_same_seed_and_results_give_the_same_sequence(tmp_path):
    first, second, other = (
        run(study(tmp_path / name, seed), 16) for name, seed in (('a', 0), ('b', 0), ('c', 1))
    )
    assert first == second
    assert first != other


def test_results_matter(tmp_path):
    count = 30
    plain = run(study(tmp_path / 'a'), count)
    turned = run(
        study(tmp_path / 'b'), count, lambda route: Finding(-found(route).figure, -found(route).loss, {})
    )
    assert plain[:10] == turned[:10]
    assert plain != turned


def test_a_search_that_was_killed_anywhere_goes_on_as_if_it_was_not(tmp_path):
    whole = tmp_path / 'whole'
    expected = run(study(whole), 18)
    lines = whole.read_bytes().splitlines(keepends=True)
    for end in range(0, len(lines), 5):
        cut = tmp_path / f'cut{end}'
        # The process died while it wrote the next line, and had the lock.
        cut.write_bytes(b''.join(lines[:end]) + lines[end][: len(lines[end]) // 2])
        (tmp_path / f'{cut.name}.lock').symlink_to(cut)
        assert run(study(cut), 18) == expected, end


def test_a_route_that_was_half_run_is_asked_again(tmp_path):
    searched = study(tmp_path / 'journal.log')
    searched.tell(searched.ask(), Finding(1.0, 1.0, {}))
    half = searched.ask()
    again = study(tmp_path / 'journal.log')
    assert half not in again.finished
    assert again.ask() == half


def test_what_failed_or_was_not_measured_is_finished(tmp_path):
    searched = study(tmp_path / 'journal.log')
    failed = searched.ask()
    searched.tell_failure(failed)
    unmeasured = searched.ask()
    searched.tell(unmeasured, Finding(None, 0.1, {'limits': 0.0}))
    assert study(tmp_path / 'journal.log').finished == {failed: False, unmeasured: True}
    assert len(set(run(study(tmp_path / 'journal.log'), 20))) == 20


@pytest.mark.parametrize('seed', range(3))
def test_routes_that_miss_limits_are_avoided(tmp_path, seed):
    """The smallest files miss theirs: without constraints they would be on the front."""

    def holding(result) -> int:
        names = run(study(tmp_path / result.__name__, seed), 35, result)
        return sum(not found(name).missed['limits'] for name in names[10:])

    def without_limits(route: str) -> Finding:
        return Finding(found(route).figure, 0.0, {'limits': 0.0})

    def with_limits(route: str) -> Finding:
        return Finding(found(route).figure, 0.0, found(route).missed)

    assert holding(with_limits) > holding(without_limits)


def test_studies_of_other_names_in_a_journal_are_left_alone(tmp_path):
    first = run(study(tmp_path / 'journal.log', name='a'), 5)
    assert study(tmp_path / 'journal.log', name='b').finished == {}
    assert list(study(tmp_path / 'journal.log', name='a').finished) == first
