"""Flips: examples that the baseline answers right and the candidate wrong, kept as tf.Examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.evaluation.evaluators.whole_file import write_records
from tfx_edge.components.core.examples.example_parser import read_records

PREFIX = 'tfx_edge'
# What a run leaves in its folder.
FLIPS_FILE = 'flips.tfrecord'


@dataclasses.dataclass(frozen=True)
class Answers:
    """What two models answer to one example, in one output.

    Attributes:
      label: the right class; None where the label is no class.
      candidate: its answer; None where it answers NaN.
      baseline: the baseline's.
    """

    label: int | None
    candidate: int | None
    baseline: int | None

    @property
    def is_worse(self) -> bool:
        """Whether the baseline is right and the candidate wrong."""
        return self.label is not None and self.baseline == self.label != self.candidate

    @property
    def is_better(self) -> bool:
        """Whether the candidate is right and the baseline wrong."""
        return self.label is not None and self.candidate == self.label != self.baseline


@dataclasses.dataclass(frozen=True)
class Flip:
    """One entry of the list of flips.

    Attributes:
      outputs: by output name, '' for the only one: the label's class and both models' answers.
      slices: names of the slices that the example is in.
    """

    outputs: Mapping[str, Answers]
    slices: tuple[str, ...]


def answer(values: np.ndarray) -> int | None:
    """The class of a row of scores: the first of the largest; None if one is NaN."""
    return None if np.isnan(values).any() else int(np.argmax(values))


def class_of(label: np.ndarray, classes: int) -> int | None:
    """The class that a label names: a whole number, or a one-hot row.

    Args:
      label: of any shape and type.
      classes: how many there are.

    Returns:
      0 to `classes - 1`; None if the label is something else.

    Example:
      >>> class_of(np.array([3]), 10), class_of(np.array([0.0, 1.0]), 2), class_of(np.array([0.5]), 10)
      (3, 1, None)
    """
    label = np.ravel(label)
    if label.dtype.kind not in 'biuf':
        return None
    if label.size == 1:
        value = label.item()
        return int(value) if value in range(classes) else None
    one_hot = label.size == classes and np.count_nonzero(label) == 1 and label.max() == 1
    return int(np.argmax(label)) if one_hot else None


def flip_example(
    record: bytes,
    outputs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: Mapping[str, int | None],
    slices: Sequence[str],
) -> bytes:
    """A flip as a tf.Example: the example's own features, and what was answered.

    Args:
      record: the example as it was read.
      outputs: by name, '' for the only one: the candidate's and the baseline's values.
      labels: the right class in each output; None where it has none.
      slices: names of the slices it is in.

    Returns:
      The serialized tf.Example, the same bytes for the same content. Added are
      `tfx_edge/candidate`, `tfx_edge/baseline` (floats), `tfx_edge/label` (the class), with `/<output>` behind it
      where there are several outputs, and `tfx_edge/slice` (names).
    """
    example = tf.train.Example.FromString(record)
    feature = example.features.feature
    for name, (ours, theirs) in outputs.items():
        _replace(feature, _key('candidate', name)).float_list.value.extend(np.ravel(ours).tolist())
        _replace(feature, _key('baseline', name)).float_list.value.extend(np.ravel(theirs).tolist())
        label = labels[name]
        if label is not None:
            _replace(feature, _key('label', name)).int64_list.value.append(label)
    _replace(feature, _key('slice')).bytes_list.value.extend(name.encode() for name in slices)
    return example.SerializeToString(deterministic=True)


def write_flips(records: Sequence[bytes], path: str) -> None:
    """Writes serialized flips as one TFRecord file, in the order given."""
    write_records(path, records)


def read_flips(path: str, outputs: Sequence[str]) -> Iterator[Flip]:
    """What a file of flips lists, in its order.

    Args:
      path: a TFRecord file.
      outputs: names of the outputs, '' for the only one.
    """
    for record in read_records([path]):
        feature = tf.train.Example.FromString(record).features.feature
        answers = {}
        for name in outputs:
            ours = np.array(feature[_key('candidate', name)].float_list.value)
            theirs = np.array(feature[_key('baseline', name)].float_list.value)
            label = feature[_key('label', name)].int64_list.value
            answers[name] = Answers(label[0] if label else None, answer(ours), answer(theirs))
        slices = tuple(name.decode() for name in feature[_key('slice')].bytes_list.value)
        yield Flip(answers, slices)


def _key(what: str, output: str = '') -> str:
    return '/'.join(filter(None, [PREFIX, what, output]))


def _replace(feature: Any, key: str) -> Any:
    """An empty feature; one of that name may exist if the example itself comes from a list of flips."""
    feature[key].Clear()
    return feature[key]
