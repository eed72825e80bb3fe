"""The examples of an artifact, measured on Beam."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import apache_beam as beam
import numpy as np
from tfx import types
from tfx.dsl.io import fileio

from tfx_edge.components import artifacts
from tfx_edge.components.core.calibration import pipeline
from tfx_edge.components.core.signature import Signature
from tfx_edge.components.example_files import split_files
from tfx_edge.components.example_parsing import example_parser
from tfx_edge.components.tflite_quantizer.options import QuantizerOptions


class BeamExamples:
    """What `recipe.CalibrationExamples` asks for.

    Args:
      make_pipeline: makes the Beam pipeline to run on.
      input_dict: of the component, with examples.
      options: of the component.
      signature: whose inputs the examples are parsed into.
      folder: where workers can read and write; a folder in it holds what they share, while they run.
    """

    def __init__(
        self,
        make_pipeline: Callable[[], beam.Pipeline],
        input_dict: Mapping[str, list[types.Artifact]],
        options: QuantizerOptions,
        signature: Signature,
        folder: str,
    ) -> None:
        self._make_pipeline = make_pipeline
        self._options = options
        self._files = split_files(input_dict[artifacts.EXAMPLES], options.calibration_splits)
        self._parser = example_parser(input_dict, options.calibration_splits, signature.inputs)
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
        )
        fileio.rmtree(self._folder)
        return calibrated

    def sample(self) -> dict[str, np.ndarray]:
        """See `recipe.CalibrationExamples`."""
        fileio.makedirs(self._folder)
        records = pipeline.sample(
            self._make_pipeline,
            files=self._files,
            result_path=os.path.join(self._folder, 'sample'),
            count=self._options.sensitivity_examples,
        )
        fileio.rmtree(self._folder)
        return self._parser(records)
