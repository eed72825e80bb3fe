"""How a model's outputs vary over all examples: whether they change, and how often they are at a range's end."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

# Fewer may be alike by chance.
MIN_EXAMPLES = 10

# The lowest and the highest number that each integer output can hold, None for others; a single output under ''.
Rails = Mapping[str, tuple[float, float] | None]


@dataclasses.dataclass(frozen=True)
class Sameness:
    """Whether several byte strings are equal: `content` is the SHA-256 of all, or `differs` is True."""

    content: str | None = None
    differs: bool = False

    @staticmethod
    def of(things: Sequence[bytes]) -> Sameness:
        """The sameness of some byte strings, at least one."""
        if any(thing != things[0] for thing in things):
            return Sameness(differs=True)
        return Sameness(hashlib.sha256(things[0]).hexdigest())

    def __add__(self, other: Sameness) -> Sameness:
        known = {content for content in (self.content, other.content) if content is not None}
        if self.differs or other.differs or len(known) > 1:
            return Sameness(differs=True)
        return Sameness(next(iter(known), None))


@dataclasses.dataclass(frozen=True)
class OutputUse:
    """What one output did; counts add up to the same in any order.

    Attributes:
      rows: whether its values were the same on every example.
      values: how many there were.
      at_lowest: how many were the lowest that its integers can hold.
      at_highest: how many were the highest.
    """

    rows: Sameness = Sameness()
    values: int = 0
    at_lowest: int = 0
    at_highest: int = 0

    def __add__(self, other: OutputUse) -> OutputUse:
        return OutputUse(
            self.rows + other.rows,
            self.values + other.values,
            self.at_lowest + other.at_lowest,
            self.at_highest + other.at_highest,
        )


@dataclasses.dataclass(frozen=True)
class OutputsUse:
    """What the outputs did.

    Attributes:
      examples: whether all examples were the same.
      count: how many there were.
      outputs: by name, a single one under ''.
      baseline: whether the baseline's answers were all the same, by the candidate's name of the output; empty where
        its outputs are not paired with the baseline's.
    """

    examples: Sameness = Sameness()
    count: int = 0
    outputs: Mapping[str, OutputUse] = dataclasses.field(default_factory=dict)
    baseline: Mapping[str, Sameness] = dataclasses.field(default_factory=dict)

    def __add__(self, other: OutputsUse) -> OutputsUse:
        return OutputsUse(
            self.examples + other.examples,
            self.count + other.count,
            _added(self.outputs, other.outputs, OutputUse()),
            _added(self.baseline, other.baseline, Sameness()),
        )

    @property
    def stuck(self) -> tuple[str, ...]:
        """The outputs that answer the same to every example, and should not.

        A model may have an output that is constant, such as the anchors of a detector. So one is stuck where the
        baseline's answers differ; with nothing to compare with, where no other output of the model changes either. Too
        few examples, or examples that are all alike, show nothing.
        """
        if self.count < MIN_EXAMPLES or not self.examples.differs:
            return ()
        same = tuple(name for name, use in self.outputs.items() if not use.rows.differs)
        if self.baseline:
            return tuple(name for name in same if self.baseline[name].differs)
        return same if len(same) == len(self.outputs) else ()


def read_output_use(text: str) -> OutputsUse:
    """What a run saw, of the text that it wrote."""
    content = json.loads(text)
    outputs = {
        name: OutputUse(**{**use, 'rows': Sameness(**use['rows'])})
        for name, use in content['outputs'].items()
    }
    baseline = {name: Sameness(**rows) for name, rows in content['baseline'].items()}
    return OutputsUse(Sameness(**content['examples']), content['count'], outputs, baseline)


def write_output_use(use: OutputsUse) -> str:
    """The text that `read_output_use` reads."""
    return json.dumps(dataclasses.asdict(use))


def total_output_use(uses: Iterable[OutputsUse]) -> OutputsUse:
    """What several saw; the same in any order."""
    return sum(uses, OutputsUse())


def use_of_batch(
    records: Sequence[bytes],
    outputs: Mapping[str, np.ndarray],
    rails: Rails,
    baseline: Mapping[str, np.ndarray] | None = None,
) -> OutputsUse:
    """What the outputs do on one batch.

    Args:
      records: serialized tf.Examples, at least one.
      outputs: by name, arrays of shape (batch, ...).
      rails: of the outputs.
      baseline: what a baseline answers, by the same names, or None.

    Returns:
      The use of the batch; add several with `+`.

    Example:
      >>> use_of_batch([b'one', b'two'], {'': np.array([[0.0], [0.0]])}, {}).outputs[''].rows.differs
      False
    """
    uses = {name: _use(np.asarray(values), rails.get(name)) for name, values in outputs.items()}
    theirs = {name: _rows(np.asarray(values)) for name, values in (baseline or {}).items()}
    return OutputsUse(Sameness.of(records), len(records), uses, theirs)


def _use(values: np.ndarray, rails: tuple[float, float] | None) -> OutputUse:
    rows = _rows(values)
    if rails is None:
        return OutputUse(rows, values.size)
    at = [int(np.count_nonzero(values == values.dtype.type(rail))) for rail in rails]
    return OutputUse(rows, values.size, *at)


def _rows(values: np.ndarray) -> Sameness:
    return Sameness.of([row.tobytes() for row in values])


_Addable = TypeVar('_Addable', OutputUse, Sameness)


def _added(
    ours: Mapping[str, _Addable], theirs: Mapping[str, _Addable], none: _Addable
) -> dict[str, _Addable]:
    return {name: ours.get(name, none) + theirs.get(name, none) for name in sorted({*ours, *theirs})}
