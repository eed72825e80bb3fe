"""The parts of `report.json` that hold the candidate against its baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from tfx_edge.components.core.evaluation.comparison import SliceComparison
from tfx_edge.components.core.evaluation.flips import Flip
from tfx_edge.components.core.evaluation.non_inferiority import Judged, Rules


def comparison_part(slices: Sequence[SliceComparison], obstacle: str) -> dict[str, Any]:
    """Agreement and differences, on all examples and on each slice.

    Args:
      slices: what was measured; all examples first.
      obstacle: why nothing was compared, or ''.

    Returns:
      `not_compared` (why), and for each of the `slices` its `slice` (features and values; [] for all examples),
      `examples`, `agreement` (None where there is no top-1 answer) and, for each output, `differences`: `largest`
      and `mean` absolute difference, and `mean_divergence` (Kullback-Leibler, of baseline to candidate, in nats;
      None for what is no probabilities).
    """
    return {
        'not_compared': obstacle,
        'slices': [
            {
                'slice': _slice(part),
                'examples': part.examples,
                'agreement': part.agreement,
                'differences': [dataclasses.asdict(difference) for difference in part.differences],
            }
            for part in slices
        ],
    }


def non_inferiority_part(judged: Sequence[Judged], rules: Rules) -> dict[str, Any]:
    """The tests of `max_metric_drop`, with every number that their outcome rests on.

    Args:
      judged: the tests.
      rules: for the verdict.

    Returns:
      The rules, and the `tests`: `metric`, `output`, `margin`, `slice` (None where nothing was compared), `outcome`,
      `why`, `p_fails_corrected`, and the fields of PairedTest (`test`; None where nothing was measured).
    """
    return {
        **dataclasses.asdict(rules),
        'tests': [
            {
                'metric': entry.tested.label,
                'output': entry.tested.output_name,
                'margin': entry.tested.margin,
                'slice': None if entry.slice is None else _slice(entry.slice),
                'outcome': entry.outcome,
                'why': entry.why,
                'p_fails_corrected': entry.p_fails_corrected,
                'test': None if entry.test is None else dataclasses.asdict(entry.test),
            }
            for entry in judged
        ],
    }


def flips_part(
    slices: Sequence[SliceComparison], obstacle: str, file: str | None, listed: Iterable[Flip]
) -> dict[str, Any]:
    """How many examples changed from right to wrong, and back.

    Args:
      slices: what was measured.
      obstacle: why flips cannot be told, or ''.
      file: name of the list of flips; None where there is none.
      listed: what it lists, in its order.

    Returns:
      `not_told` (why), `file`, for each of the `slices` its `slice`, `examples`, `labelled` (those whose label is a
      class), `worse` (right in the baseline, wrong in the candidate) and `better`; and `listed`: for each tf.Example
      in the file its `place`, the names of its `slices`, and for each output the `label` and both answers.
    """
    return {
        'not_told': obstacle,
        'file': file,
        'slices': [
            {
                'slice': _slice(part),
                'examples': part.examples,
                'labelled': part.labelled,
                'worse': part.worse,
                'better': part.better,
            }
            for part in ([] if obstacle else slices)
        ],
        'listed': [
            {
                'place': place,
                'slices': list(flip.slices),
                'outputs': [
                    {'output': name, **dataclasses.asdict(answers)} for name, answers in flip.outputs.items()
                ],
            }
            for place, flip in enumerate(listed)
        ],
    }


def _slice(part: SliceComparison) -> list[list[Any]]:
    return [list(feature) for feature in part.slice]
