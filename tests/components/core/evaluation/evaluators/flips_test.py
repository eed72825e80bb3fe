"""Flips: classes that labels name, and examples that carry both answers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.evaluation.evaluators.flips import (
    Answers,
    Flip,
    answer,
    class_of,
    flip_example,
    read_flips,
    write_flips,
)


@pytest.mark.parametrize(
    ('label', 'classes', 'expected'),
    [
        ([3], 10, 3),
        (3, 10, 3),
        ([3.0], 10, 3),
        ([True], 2, 1),
        ([10], 10, None),
        ([-1], 10, None),
        ([0.5], 10, None),
        ([np.nan], 10, None),
        ([0, 0, 1], 3, 2),
        ([0.0, 1.0], 2, 1),
        ([1, 1, 0], 3, None),
        ([0.2, 0.8], 2, None),
        ([0, 2, 0], 3, None),
        ([1, 0], 3, None),
        ([b'cat'], 3, None),
        ([], 3, None),
    ],
)
def test_a_label_is_a_class_or_it_is_not(label, classes, expected):
    assert class_of(np.array(label), classes) == expected


def test_answers_change_for_the_worse_or_the_better():
    assert Answers(3, candidate=2, baseline=3).is_worse
    assert Answers(3, candidate=None, baseline=3).is_worse
    assert Answers(3, candidate=3, baseline=2).is_better
    for same in (Answers(3, 3, 3), Answers(3, 2, 2), Answers(3, 1, 2), Answers(None, 1, 2)):
        assert not same.is_worse
        assert not same.is_better
    assert answer(np.array([0.1, np.nan])) is None
    assert answer(np.array([0.5, 0.5])) == 0


@pytest.mark.parametrize('names', [[''], ['score', 'kind']])
def test_a_flip_keeps_the_example_and_shows_what_was_answered(tmp_path, names):
    example = tf.train.Example()
    example.features.feature['image'].float_list.value.extend([1.0, 2.0])
    # As if a list of flips were evaluated again.
    example.features.feature['tfx_edge/slice'].bytes_list.value.append(b'old')
    outputs = {name: (np.array([0.1, 0.9], np.float32), np.array([0.75, 0.25], np.float32)) for name in names}
    labels = dict.fromkeys(names, 0)
    record = flip_example(example.SerializeToString(), outputs, labels, ['all examples', 'country=de'])
    path = str(tmp_path / 'flips')
    write_flips([record], path)
    assert list(read_flips(path, names)) == [
        Flip(dict.fromkeys(names, Answers(0, 1, 0)), ('all examples', 'country=de'))
    ]
    feature = tf.train.Example.FromString(record).features.feature
    suffix = f'/{names[0]}' if names[0] else ''
    assert set(feature) == {'image', 'tfx_edge/slice'} | {
        f'tfx_edge/{what}{name and "/" + name}'
        for what in ('candidate', 'baseline', 'label')
        for name in names
    }
    assert feature['image'].float_list.value == [1.0, 2.0]
    assert feature[f'tfx_edge/baseline{suffix}'].float_list.value == [0.75, 0.25]
    assert feature[f'tfx_edge/label{suffix}'].int64_list.value == [0]


def test_an_empty_list_is_a_file(tmp_path):
    write_flips([], str(tmp_path / 'flips'))
    assert list(read_flips(str(tmp_path / 'flips'), [''])) == []
