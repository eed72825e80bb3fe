"""TFMA's predictions of a `.tflite` file, beside those of its baseline."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from apache_beam.utils.shared import Shared

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.evaluators.example_check import ExampleCheck
from tfx_edge.components.core.evaluation.model_files.models import Model, ModelSource, fitted, load_model
from tfx_edge.components.core.examples.example_parser import ExampleParser

STAGE_NAME = 'PredictOnEdge'


def EdgePredictionsExtractor(
    models: Mapping[str, ModelSource],
    parser: ExampleParser,
    named_features: Mapping[str, str],
    check: ExampleCheck,
) -> tfma.extractors.Extractor:
    """An extractor that runs `.tflite` files on LiteRT, and SavedModels, over serialized tf.Examples.

    Unlike TFMA's own: real numbers are rounded and clipped into integer inputs, integer outputs are
    dequantized in float32, inputs and outputs go by the names of the signature, a missing feature is an
    error, and one run takes a `.tflite` file together with a SavedModel. Where a transform graph was
    applied, labels, weights and slices find its outputs as TFMA's transformed features.

    Args:
      models: by the name of their ModelSpec; a single one under ''.
      parser: makes the models' inputs from records.
      named_features: features that labels and weights are read from, with the field that names each.
      check: refuses examples for which the metrics would mean nothing.

    Returns:
      The extractor; put it after TFMA's FeaturesExtractor and before its LabelsExtractor.
    """
    return tfma.extractors.Extractor(
        stage_name=STAGE_NAME,
        ptransform=beam.ParDo(_Predict(models, parser, named_features, check)),
    )


def outputs_of(extracts: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    """What a model answered, by output name.

    Args:
      extracts: of a batch, or of an example, behind the predictions.
      model: name of the ModelSpec; '' where it is alone.

    Returns:
      The outputs, an only one under ''.
    """
    predictions = extracts[tfma.PREDICTIONS_KEY]
    outputs = predictions[model] if model else predictions
    return outputs if isinstance(outputs, Mapping) else {'': outputs}


class _Loaded:
    """The models of one process. A lock guards them: interpreters are not thread-safe, and Beam may use threads."""

    def __init__(self, sources: Mapping[str, ModelSource]) -> None:
        self._models = {name: load_model(source) for name, source in sources.items()}
        self._lock = threading.Lock()

    def predict(self, features: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """By model name: its only output, or its outputs by name, as TFMA wants them."""
        with self._lock:
            return {name: _predict(model, features) for name, model in self._models.items()}


class _Predict(beam.DoFn):
    def __init__(
        self,
        sources: Mapping[str, ModelSource],
        parser: ExampleParser,
        named_features: Mapping[str, str],
        check: ExampleCheck,
    ) -> None:
        self._sources = dict(sources)
        self._parser = parser
        self._named_features = dict(named_features)
        self._check = check
        self._shared = Shared()
        self._loaded: _Loaded | None = None

    def setup(self) -> None:
        self._loaded = self._shared.acquire(lambda: _Loaded(self._sources))

    def process(self, extracts: dict[str, Any]) -> Iterator[dict[str, Any]]:
        assert self._loaded is not None
        decoded = extracts[tfma.FEATURES_KEY]
        inputs, transformed = self._parser.read(list(extracts[tfma.INPUT_KEY]), decoded)
        features = {**decoded, **(transformed or {})}
        self._check_named_features(features)
        self._check(inputs, features)
        predictions = self._loaded.predict(inputs)
        several = len(self._sources) > 1
        result = dict(extracts)
        result[tfma.PREDICTIONS_KEY] = predictions if several else next(iter(predictions.values()))
        if transformed is not None:
            result[tfma.constants.TRANSFORMED_FEATURES_KEY] = (
                dict.fromkeys(self._sources, transformed) if several else transformed
            )
        yield result

    def _check_named_features(self, features: Mapping[str, Any]) -> None:
        for name, field in self._named_features.items():
            if name not in features:
                raise EdgeError(
                    f'the examples have no feature {name!r}, which {field} of eval_config names '
                    f'(found: {", ".join(sorted(features)) or "none"}); name one of these.'
                )


def _predict(model: Model, features: Mapping[str, np.ndarray]) -> Any:
    inputs = fitted(model, features)
    outputs = model(inputs)
    size = len(next(iter(inputs.values())))
    for name, values in outputs.items():
        if values.shape[:1] != (size,):
            raise EdgeError(
                f'output {name!r} of signature {model.signature_name!r} has the shape {values.shape} for a batch '
                f'of {size}; expected one row for each example. Export the model with a batch dimension.'
            )
    return outputs if model.is_named else next(iter(outputs.values()))
