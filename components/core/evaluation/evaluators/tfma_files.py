"""TFMA's files of a run: those that its own writers make, by one step of Beam instead of fifty.

This is the one place that uses TFMA's conversions of plots, attributions and validations, which `tfma.writers` does not
name. tests/components/core/evaluation/evaluators/tfma_files_test.py holds the files against those of TFMA's writers.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from google.protobuf import json_format, message
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import eval_config_writer, metrics_plots_and_validations_writer

from tfx_edge.components.core.evaluation.evaluators.found_files import Writer
from tfx_edge.components.core.evaluation.evaluators.observer import Seen
from tfx_edge.components.core.evaluation.evaluators.whole_file import write_records, write_text

_VALIDATIONS = tfma.constants.VALIDATIONS_KEY
_CONVERSIONS: Mapping[str, Callable[[Any], message.Message]] = {
    tfma.constants.METRICS_KEY: functools.partial(
        tfma.writers.convert_slice_metrics_to_proto, add_metrics_callbacks=None
    ),
    tfma.constants.PLOTS_KEY: functools.partial(
        metrics_plots_and_validations_writer.convert_slice_plots_to_proto, add_metrics_callbacks=None
    ),
    tfma.constants.ATTRIBUTIONS_KEY: metrics_plots_and_validations_writer.convert_slice_attributions_to_proto,
}
_EVAL_CONFIG = 'eval_config'


@dataclasses.dataclass(frozen=True)
class TfmaFiles:
    """TFMA's files in a folder.

    Attributes:
      folder: which.
      config: TFMA's configuration, completed, as the files hold it.
      data_location: of the examples, for display.
      model_locations: by the names of the models, for display.
    """

    folder: str
    config: tfma.EvalConfig
    data_location: str
    model_locations: Mapping[str, str]

    def found(self, evaluation: Mapping[str, Any]) -> tuple[Any, ...]:
        """What TFMA's evaluators found, as `WriteFound` takes it.

        Args:
          evaluation: collections by TFMA's keys.

        Returns:
          A collection for each.
        """
        return tuple(
            found | f'Convert_{key}' >> beam.Map(_converted, key) for key, found in evaluation.items()
        )

    def writers(self) -> Mapping[str, Writer]:
        """The writers of what `found` gives."""
        sliced = {
            key: functools.partial(
                _write_sliced, path=os.path.join(self.folder, f'{key}-00000-of-00001.tfrecord')
            )
            for key in _CONVERSIONS
        }
        return {**sliced, _VALIDATIONS: self._write_validations, _EVAL_CONFIG: self._write_eval_config}

    def _write_validations(self, found: Sequence[tuple[str, Any]]) -> None:
        combine = metrics_plots_and_validations_writer.CombineValidations(self.config)
        result = combine.apply([tfma.ValidationResult.FromString(value) for _, value in sorted(found)])
        write_records(os.path.join(self.folder, f'{_VALIDATIONS}.tfrecord'), [result.SerializeToString()])

    def _write_eval_config(self, _: Sequence[tuple[str, Any]]) -> None:
        run = config_pb2.EvalRun(
            eval_config=self.config,
            version=importlib.metadata.version('tensorflow-model-analysis'),
            data_location=self.data_location,
            file_format='tfrecord',
        )
        # A map of a message has another order in each process.
        content = {**json_format.MessageToDict(run), 'modelLocations': dict(self.model_locations)}
        path = os.path.join(self.folder, f'{eval_config_writer.EVAL_CONFIG_FILE}.json')
        write_text(path, f'{json.dumps(content, indent=2)}\n')


def _converted(found: Any, key: str) -> Seen:
    if key == _VALIDATIONS:
        slices = found.metric_validations_per_slice
        return key, _place(slices[0]) if slices else '', found.SerializeToString(deterministic=True)
    made = _CONVERSIONS[key](found)
    return key, _place(made), made.SerializeToString(deterministic=True)


def _place(of_slice: Any) -> str:
    """A text that puts messages of slices in order: all examples first, then pairs of slices last."""
    own = of_slice.slice_key.SerializeToString(deterministic=True)
    pair = of_slice.cross_slice_key.SerializeToString(deterministic=True)
    return f'{len(pair):08}{pair.hex()}{len(own):08}{own.hex()}'


def _write_sliced(found: Sequence[tuple[str, Any]], path: str) -> None:
    write_records(path, [value for _, value in sorted(found)])
