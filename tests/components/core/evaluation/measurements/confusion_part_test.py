"""The report's part on confusion: tables add up, and of many classes the most confused pairs are listed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.measurements.confusion_part import Answer, confusion_part

_PAIRS = st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(0, 4))), min_size=1)


def _answers(pairs: list[tuple[int, int | None]], model: str = 'candidate', output: str = '') -> list[Answer]:
    return [Answer(model, output, label, given, n) for (label, given), n in Counter(pairs).items()]


@given(_PAIRS)
def test_a_table_counts_every_answer_once(pairs: list[tuple[int, int | None]]) -> None:
    (output,) = confusion_part({'': 5}, _answers(pairs), '', {})['outputs']
    (model,) = output['models']
    for label, row in enumerate(model['table']):
        assert row == [pairs.count((label, answer)) for answer in range(5)]
    assert model['without_answer'] == sum(answer is None for _, answer in pairs)
    assert sum(pair['examples'] for pair in model['most_confused']) == sum(
        answer is not None and answer != label for label, answer in pairs
    )


def test_of_many_classes_the_most_confused_pairs_stand_for_the_table() -> None:
    pairs = [(7, 9)] * 3 + [(1, 2)] * 5 + [(4, 4)] * 100
    (output,) = confusion_part({'': 1000}, _answers(pairs), '', {})['outputs']
    assert output['models'][0]['table'] is None
    assert output['models'][0]['most_confused'] == [
        {'label': 1, 'answer': 2, 'examples': 5},
        {'label': 7, 'answer': 9, 'examples': 3},
    ]


def test_the_candidate_stands_before_the_baseline_and_outputs_apart() -> None:
    answers = [*_answers([(0, 1)], 'baseline', 'a'), *_answers([(1, 1)], 'candidate', 'a')]
    part = confusion_part({'a': 2, 'b': 3}, answers, '', {'a': ['no', 'yes']})
    (output,) = part['outputs']  # nothing has a label for the other
    assert [model['model'] for model in output['models']] == ['candidate', 'baseline']
    assert output['names'] == ['no', 'yes']
