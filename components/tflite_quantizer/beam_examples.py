"""The examples of an artifact, measured on Beam."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence

import apache_beam as beam
import numpy as np
from tfx import types
from tfx.dsl.io import fileio

from tfx_edge.components.core.calibration import pipeline
from tfx_edge.components.core.calibration.reference import Reference, sample_count
from tfx_edge.components.core.dense_function.preparation import preparation_of
from tfx_edge.components.core.evaluation.model_files.models import ModelSource, load_model
from tfx_edge.components.core.examples.outlying_features import outlying_feature
from tfx_edge.components.core.post_training.float_answers import reference_answers
from tfx_edge.components.core.signature import Signature
from tfx_edge.components.tflite_quantizer.options import QuantizerOptions
from tfx_edge.components.tfx_interface import artifacts
from tfx_edge.components.tfx_interface.example_files import split_files
from tfx_edge.components.tfx_interface.example_parsing import example_parser
from tfx_edge.components.tfx_interface.fidelity_properties import STRETCHED


class BeamExamples:
    """`recipe.CalibrationExamples` of a component's examples.

    Args:
      make_pipeline: makes the Beam pipeline to run on.
      input_dict: of the component, with examples.
      options: of the component.
      saved_model_dir: of the float model.
      signature: of it, whose inputs the examples are parsed into.
      folder: where workers can read and write; a folder in it holds what they share, while they run.
    """

    def __init__(
        self,
        make_pipeline: Callable[[], beam.Pipeline],
        input_dict: Mapping[str, list[types.Artifact]],
        options: QuantizerOptions,
        saved_model_dir: str,
        signature: Signature,
        folder: str,
    ) -> None:
        self._make_pipeline = make_pipeline
        self._options = options
        self._saved_model_dir, self._signature = saved_model_dir, signature
        self._compared: tuple[Sequence[bytes], bool] | None = None
        self._files = split_files(input_dict[artifacts.EXAMPLES], options.calibration_splits)
        self._parser = example_parser(
            input_dict,
            options.calibration_splits,
            signature.inputs,
            preparation=preparation_of(saved_model_dir, signature),
        )
        # Beside the output, where remote workers can read and write; gone before it takes its name.
        self._folder = os.path.join(folder, 'work')

    def calibrate(
        self, float_model: bytes, channel_means_of: Sequence[str], *, histograms: bool
    ) -> pipeline.Calibrated:
        """See `recipe.CalibrationExamples`."""
        fileio.makedirs(self._folder)
        with fileio.open(os.path.join(self._folder, 'float.tflite'), 'wb') as file:
            file.write(float_model)
        calibrated = pipeline.calibrate(
            self._make_pipeline,
            files=self._files,
            parser=self._parser,
            float_model_path=os.path.join(self._folder, 'float.tflite'),
            result_path=os.path.join(self._folder, 'statistics.json'),
            max_examples=self._options.max_calibration_examples,
            channel_means_of=channel_means_of,
            histograms=histograms,
            compared=self._sample_count,
        )
        fileio.rmtree(self._folder)
        self._compared = calibrated.compared, calibrated.held_out
        return calibrated

    def sample(self) -> dict[str, np.ndarray]:
        """See `recipe.CalibrationExamples`."""
        return self._parser(self._records(self._options.sensitivity_examples))

    def reference(self) -> Reference | None:
        """See `recipe.CalibrationExamples`."""
        # Without calibration, all examples are held out.
        records, held_out = self._compared or (self._records(self._sample_count), True)
        if not records:
            return None
        float_model = load_model(ModelSource(self._saved_model_dir, False, signature=self._signature))
        return reference_answers(float_model, self._parser(list(records)), held_out=held_out)

    def outlying(self) -> str:
        """Names the example whose values lie far from all others', and stretched the ranges; '' where none does."""
        found = outlying_feature(self._files, self._parser, STRETCHED)
        return '' if found is None else str(found)

    @property
    def _sample_count(self) -> int:
        inputs = self._signature.inputs.values()
        return sample_count(
            sum(spec.dtype.size * math.prod(size or 1 for size in spec.shape[1:]) for spec in inputs)
        )

    def _records(self, count: int) -> list[bytes]:
        fileio.makedirs(self._folder)
        records = pipeline.sample(
            self._make_pipeline,
            files=self._files,
            result_path=os.path.join(self._folder, 'sample'),
            count=count,
        )
        fileio.rmtree(self._folder)
        return records
