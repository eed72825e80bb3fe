"""Candidate against baseline on every slice: what is compared, its tests, flips and differences."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import tensorflow as tf

from tfx_edge.components.core.evaluation.contenders.evaluation_setup import Evaluation
from tfx_edge.components.core.evaluation.evaluators.comparison import comparing
from tfx_edge.components.core.evaluation.evaluators.flips import FLIPS_FILE, read_flips
from tfx_edge.components.core.evaluation.evaluators.observer import Observer
from tfx_edge.components.core.evaluation.gates import non_inferiority
from tfx_edge.components.core.evaluation.measurements import comparison_parts
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement, Setting
from tfx_edge.components.core.evaluation.statistics.slice_comparison import Plan, SliceComparison, from_text

_FILE = 'slices.json'


class AgainstBaseline(Measurement):
    """Compares both models example by example; judges the metrics that must not be worse by their margins."""

    def observers(self) -> Sequence[Observer]:
        """Compares every example, where the outputs can be paired."""
        if self._plan is None:
            return ()
        return [comparing(self._plan, self.path(_FILE), self.path(FLIPS_FILE))]

    def read(self) -> Finding:
        """The figures of each slice, the tests, and the list of flips."""
        evaluation, rules = self.setting.evaluation, self.setting.demands.rules
        slices = () if self._plan is None else self.taken(_FILE, from_text)
        tests = non_inferiority.judge_tests(evaluation.tested, slices, rules, evaluation.obstacle)
        return Finding(
            non_inferiority.gates_of(tests, rules),
            {
                'comparison': comparison_parts.comparison_part(slices, evaluation.obstacle),
                'non_inferiority': comparison_parts.non_inferiority_part(tests, rules),
                'flips': self._flips(slices),
            },
        )

    @functools.cached_property
    def _plan(self) -> Plan | None:
        return _plan(self.setting) if self.setting.evaluation.pairs else None

    def _flips(self, slices: Sequence[SliceComparison]) -> comparison_parts.FlipsPart:
        """The list of flips, which is removed where none are wanted, or right and wrong answers are not known."""
        path = self.path(FLIPS_FILE)
        obstacle = self._no_flips(slices)
        if tf.io.gfile.exists(path) and (obstacle or not self.setting.demands.max_flips):
            tf.io.gfile.remove(path)
        listed = tf.io.gfile.exists(path)
        flips = list(read_flips(path, self._plan.answering)) if self._plan and listed else []
        return comparison_parts.flips_part(slices, obstacle, FLIPS_FILE if listed else None, flips)

    def _no_flips(self, slices: Sequence[SliceComparison]) -> str:
        """Why right and wrong answers are not known, or ''."""
        evaluation, plan = self.setting.evaluation, self._plan
        if plan is None:
            return evaluation.obstacle
        if not plan.answers:
            return evaluation.answers.obstacle
        if not plan.labelled:
            return 'eval_config names no label'
        everything, *_ = slices
        return '' if everything.labelled else 'no label is a class'


def _plan(setting: Setting) -> Plan:
    evaluation = setting.evaluation
    assert evaluation.baseline is not None
    outputs, answers = evaluation.pairs, evaluation.answers
    return Plan(
        evaluation.config,
        evaluation.candidate.name,
        evaluation.baseline.name,
        outputs,
        answers=answers.baseline is not None,
        labelled=tuple(filter(evaluation.has_label, outputs)),
        tested=evaluation.tested,
        is_share=tuple(t.metric.is_share(_values(evaluation, t.output_name)) for t in evaluation.tested),
        confidence=setting.demands.rules.confidence,
        max_flips=setting.demands.max_flips,
        asides=tuple(name for name in outputs if name not in answers.outputs),
    )


def _values(evaluation: Evaluation, output_name: str) -> int | None:
    """How many values an output has in each example; None if that is open."""
    outputs = evaluation.candidate.model.outputs
    shape = outputs.get(output_name) or next(iter(outputs.values()))
    return shape[1] if len(shape) > 1 else 1
