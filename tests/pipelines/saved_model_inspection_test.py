"""`tfx-edge inspect` on SavedModels."""

from __future__ import annotations

import json
import pathlib

import pytest
import tensorflow as tf

from tests.golden import files
from tfx_edge.pipelines.cli import main


def test_a_saved_model_shows_its_signatures_what_is_taken_and_its_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(['inspect', str(files.saved_model('small')), '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['format_version'] == 1
    name = 'serving_default'
    assert found['dense_function'] == {'signature': name, **found['signatures'][name]}
    assert found['taken'].startswith(f'signature {name!r} is taken, with the inputs ')
    assert all(weight['elements'] > weight['zeros'] and weight['distinct'] for weight in found['weights'])


def test_the_tables_name_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(files.saved_model('small'))
    assert main(['inspect', folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'{folder}: a SavedModel'
    assert lines[1].startswith('taken ')
    assert {'Signatures', 'Weights'} <= {line.strip() for line in lines}


def test_a_model_without_a_dense_function_says_why(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tf.Module()
    module.lengths = tf.function(
        lambda words: {'length': tf.strings.length(words)},
        input_signature=[tf.TensorSpec([None], tf.string, name='words')],
    )
    # As an artifact holds it.
    tf.saved_model.save(module, str(tmp_path / 'Format-Serving'), signatures={'lengths': module.lengths})
    assert main(['inspect', str(tmp_path)]) == 0
    assert "taken      none: input 'words' of signature 'lengths' is string" in capsys.readouterr().out
    assert main(['inspect', str(tmp_path), '--signature', 'lengths']) == 1
    assert "input 'words' of signature 'lengths' is string" in capsys.readouterr().err
