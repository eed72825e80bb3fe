"""A line that several parts of a step have reason to log stands in the log of each step once."""

from __future__ import annotations

import logging

import pytest

from tfx_edge.components.core.log_once import begin_step, log_once

_LOG = logging.getLogger('tfx_edge.log_once_test')


def test_the_same_text_is_logged_once_in_a_step(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        for name in ('age', 'age', 'income'):
            log_once(_LOG, logging.WARNING, 'feature %r is filled up with 0', name)
        log_once(_LOG, logging.WARNING, 'a text with %s of its own')
        begin_step()
    logged = [record.message for record in caplog.records]
    assert (
        logged
        == [
            "feature 'age' is filled up with 0",
            "feature 'income' is filled up with 0",
            'a text with %s of its own',
        ]
        * 2
    )
