"""What an evaluation measures beside TFMA's metrics: each measurement is one object, from Beam to the report."""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import tensorflow as tf
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.devices import look_up_tables
from tfx_edge.components.core.evaluation.contenders.evaluation_setup import Evaluation
from tfx_edge.components.core.evaluation.evaluators.observer import Branch, Observer
from tfx_edge.components.core.evaluation.gates.gate import Gate, Limit
from tfx_edge.components.core.evaluation.measurements.demands import Demands
from tfx_edge.components.core.evaluation.model_files.models import read_tflite
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.inspect import ModelSummary, inspect_model
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.signature import Signature

_Found = TypeVar('_Found')


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the measurements of one run are made from.

    Attributes:
      evaluation: what is run.
      demands: what is demanded of the candidate.
      config: TFMA's configuration as it is computed with: with metrics that suit the outputs.
      parser: makes the models' inputs of the examples.
      files: of the examples.
      folder: for files that measurements write, and read back.
      convert: gives the float `.tflite` of a SavedModel's folder and one of its signatures.
    """

    evaluation: Evaluation
    demands: Demands
    config: tfma.EvalConfig
    parser: ExampleParser
    files: tuple[str, ...]
    folder: str
    convert: Callable[[str, Signature], bytes] = convert_saved_model

    def limit(self, limit: Limit) -> float | None:
        """What a field of EdgeEvaluation demands; None where it demands nothing."""
        return self.demands.limits.get(limit.field)

    @property
    def undecided_holds(self) -> bool:
        """Whether a limit holds for which nothing was measured: a pipeline's first model has nothing before it."""
        return self.demands.rules.bless_undecided and self.evaluation.baseline is None

    @functools.cached_property
    def file(self) -> ModelFile:
        """The candidate's file."""
        return ModelFile(read_tflite(self.evaluation.candidate.source.path))

    @functools.cached_property
    def micro_file(self) -> ModelFile | None:
        """What a microcontroller gets in place of the candidate's file; None where that is the same."""
        path = os.path.join(os.path.dirname(self.evaluation.candidate.source.path), look_up_tables.FILE_NAME)
        return ModelFile(read_tflite(path)) if tf.io.gfile.exists(path) else None

    @functools.cached_property
    def summary(self) -> ModelSummary:
        """What is in the candidate's file."""
        return inspect_model(self.file)


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of a measurement.

    Attributes:
      gates: judged, in fixed order; none where nothing is demanded.
      parts: of `report.json`, by the names that its schema has.
      figures: of `report.json` too, for what has no part of its own there: by the name of the measurement, numbers and
        words by their names.
      notes: what a reader of the report should know.
    """

    gates: tuple[Gate, ...] = ()
    parts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    figures: Mapping[str, Mapping[str, float | str | None]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Measurement(abc.ABC):
    """One thing that an evaluation measures: what it observes, how that is read, its gates and its part of the report.

    The classes in `measurements.MEASUREMENTS` are part of every evaluation. What one observes goes through Beam: with
    observers, which see predictions and labels, or with a branch of steps of its own. Whatever is
    observed must merge to the same in any order. Where there is nothing to measure (no baseline, no label), it observes
    nothing, and `read` says why.

    Args:
      setting: of the run.

    Example:
      >>> class Kilobytes(Measurement):
      ...     def read(self):
      ...         kilobytes = len(self.setting.file.data) / 1000
      ...         gate = Gate('max_kilobytes', kilobytes, 100, kilobytes <= 100)
      ...         return Finding((gate,), figures={'file': {'kilobytes': kilobytes}})
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def observers(self) -> Sequence[Observer]:
        """What takes part in TFMA's run."""
        return ()

    def branches(self) -> Sequence[Branch]:
        """What is measured beside the observers, where it is more than a sum."""
        return ()

    @abc.abstractmethod
    def read(self) -> Finding:
        """Reads what the run wrote, once it is over, and holds it against the limits.

        Returns:
          What came of it.

        Raises:
          EdgeError: what was measured shows that the evaluation means nothing.
        """

    def path(self, file: str) -> str:
        """Where a file of the run's folder lies."""
        return os.path.join(self.setting.folder, file)

    def taken(self, file: str, parse: Callable[[str], _Found]) -> _Found:
        """What a text file of the run's folder holds; the file itself is not kept.

        Args:
          file: its name.
          parse: makes the value of the text.

        Returns:
          The value.
        """
        path = self.path(file)
        with tf.io.gfile.GFile(path, 'r') as opened:
            found = parse(opened.read())
        tf.io.gfile.remove(path)
        return found
