"""Checks that labels suit the metrics of eval_config that read them, before TFMA computes with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.metrics.metric_classes import metric_settings
from tfx_edge.components.core.examples import labels

# Beginnings of class names. The first read a label as the number of a class, the others as one number for each class.
_SPARSE, _CATEGORICAL = 'Sparse', ('Categorical', 'TopKCategorical')
# Metrics whose labels are not checked: they read none, or texts and boxes.
_NO_NUMBERS = (
    'ExactMatch',
    'ExampleCount',
    'Mean',
    'MeanAbsoluteAttributions',
    'MeanAttributions',
    'MeanPrediction',
    'NDCG',
    'QueryStatistics',
    'TotalAbsoluteAttributions',
    'TotalAttributions',
    'WeightedExampleCount',
)
_OF_TEXTS_AND_BOXES = ('Bleu', 'COCO', 'ObjectDetection', 'Rouge', 'SemanticSegmentation', 'SetMatch')


@dataclasses.dataclass(frozen=True)
class LabelCheck:
    """Checks the label of one output for one metric.

    Attributes:
      feature: that holds the label.
      metric: its class name.
      values: how many the output has in each example.
      ignored: the label that the metric ignores (`ignore_class`), or None.
    """

    feature: str
    metric: str
    values: int
    ignored: int | None = None

    def __call__(self, features: Mapping[str, Any]) -> None:
        """Refuses a batch of labels that the metric cannot take; what is not dense is left to TFMA.

        Raises:
          EdgeError: names the label and the metric.
        """
        found = features.get(self.feature)
        if not isinstance(found, np.ndarray) or not found.size:
            return
        reader = f'metric {self.metric!r} of eval_config'
        if found.dtype == object and not any(isinstance(value, bytes | str) for value in found.flat):
            return
        labels.check_numbers(self.feature, found, reader)
        if self.metric.startswith(_SPARSE):
            labels.check_count(self.feature, found, (1,), reader)
            labels.check_classes(self.feature, found, self.values, reader, self.ignored)
            return
        labels.check_count(self.feature, found, (1, self.values), reader)
        if self.metric.startswith(_CATEGORICAL) and found.size == len(found) and self.values > 1:
            labels.check_classes(self.feature, found, self.values, reader)


def label_checks(
    config: tfma.EvalConfig, shapes: Mapping[str, tuple[int | None, ...]]
) -> tuple[LabelCheck, ...]:
    """The checks that a configuration needs.

    Args:
      config: TFMA's, completed.
      shapes: of the candidate's outputs by name ('' for an only one); dimension 0 is the batch.

    Returns:
      One for each metric, output and label; none for outputs of more than one dimension, or of an open one.
    """
    return tuple(dict.fromkeys(_checks(config, shapes)))


def _checks(config: tfma.EvalConfig, shapes: Mapping[str, tuple[int | None, ...]]) -> Iterator[LabelCheck]:
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            name = metric.class_name
            if metric.module or name in _NO_NUMBERS or name.startswith(_OF_TEXTS_AND_BOXES):
                continue
            for output in tuple(spec.output_names) or ('',):
                shape = shapes.get(output)
                if shape is None or len(shape) > 2 or None in shape[1:]:
                    continue
                values = math.prod(size for size in shape[1:] if size is not None)
                for model in config.model_specs:
                    feature = model.label_keys.get(output) or model.label_key
                    if feature:
                        ignored = metric_settings(metric).get('ignore_class')
                        yield LabelCheck(feature, metric.class_name, values, ignored)
