"""What metrics need of a model's outputs: probabilities, scores to rank examples by, or numbers of any kind."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.metrics.metric_classes import (
    default_of,
    metric_class,
    metric_settings,
    takes,
)


class Need(enum.Enum):
    """What a metric needs of an output, if its settings say nothing else.

    NUMBERS: any numbers.
    RANK: scores that put examples in order; TFMA and Keras do so by thresholds spread over 0 to 1.
    THRESHOLD: what is above 0.5 counts as positive.
    PROBABILITIES: numbers from 0 to 1.
    """

    NUMBERS = 0
    RANK = 1
    THRESHOLD = 2
    PROBABILITIES = 3


@dataclasses.dataclass(frozen=True)
class ScoreMetric:
    """A metric of eval_config, and what it needs.

    Attributes:
      spec: number of its MetricsSpec.
      metric: number of the metric in it.
      class_name: of the metric.
      need: what it needs of outputs.
      remedy: what to set where outputs are not that, as part of a sentence; '' where no setting helps.
      outputs: names of the outputs; '' for the only one.
    """

    spec: int
    metric: int
    class_name: str
    need: Need
    remedy: str
    outputs: tuple[str, ...]


# Those whose settings do not say. Plots draw 0 to 1; the others compute with probabilities.
_PROBABILITIES = (
    'Calibration',
    'CoefficientOfDiscrimination',
    'ConfusionMatrixPlot',
    'KLDivergence',
    'MultiLabelConfusionMatrixPlot',
    'RelativeCoefficientOfDiscrimination',
    'ScoreDistributionPlot',
    'ThresholdAtRecall',
)
# Metrics of the labels alone, in which thresholds change nothing.
_OF_LABELS = ('Prevalence',)
# Their predictions are no scores of the examples: boxes, sets, texts, pixels.
_OTHER = ('ObjectDetection', 'COCO', 'SetMatch', 'SemanticSegmentation', 'Bleu', 'Rouge')


def score_metrics(config: tfma.EvalConfig) -> Iterator[ScoreMetric]:
    """The metrics of a configuration.

    Args:
      config: TFMA's.

    Yields:
      One for each metric whose class is known here.

    Raises:
      EdgeError: a metric has no class.
    """
    for number, spec in enumerate(config.metrics_specs):
        by_rank = (spec.binarize.top_k_list, spec.binarize.k_list, spec.aggregate.top_k_list)
        ranked = any(ranks.values for ranks in by_rank)
        for index, metric in enumerate(spec.metrics):
            cls = metric_class(metric)
            if cls is None:
                continue
            need, remedy = (Need.NUMBERS, '') if ranked else need_of(metric, cls)
            outputs = tuple(spec.output_names) or tuple(spec.output_weights) or ('',)
            yield ScoreMetric(number, index, metric.class_name, need, remedy, outputs)


def need_of(metric: tfma.MetricConfig, cls: type) -> tuple[Need, str]:
    """What a metric takes outputs for, read off the settings that its class has; and the setting that helps.

    Example:
      >>> from tensorflow_model_analysis.proto.config_pb2 import MetricConfig
      >>> need_of(MetricConfig(class_name='Precision', config='"thresholds": [0.0]'), tfma.metrics.Precision)
      (<Need.NUMBERS: 0>, '')
    """
    settings = {name: value for name, value in metric_settings(metric).items() if value is not None}
    name = metric.class_name
    if name.startswith(_OTHER) or name in _OF_LABELS or settings.get('top_k') is not None:
        return Need.NUMBERS, ''
    if takes(cls, 'from_logits') and name != 'AUC':
        is_set = bool(settings.get('from_logits'))
        return (Need.NUMBERS, '') if is_set else (Need.PROBABILITIES, 'set "from_logits": true in its config')
    if name == 'CalibrationPlot':
        is_set = 'left' in settings and 'right' in settings
        return (Need.NUMBERS, '') if is_set else (Need.PROBABILITIES, 'set "left" and "right" in its config')
    if name in _PROBABILITIES:
        return Need.PROBABILITIES, ''
    if settings.get('thresholds') is not None or settings.get('threshold') is not None:
        return Need.NUMBERS, ''
    if takes(cls, 'num_thresholds') and not name.endswith('Plot'):
        return Need.RANK, ''
    for setting, example in (('thresholds', '[0.0]'), ('threshold', '0.0')):
        if takes(cls, setting) and (
            issubclass(cls, tfma.metrics.Metric) or default_of(cls, setting) is not None
        ):
            return Need.THRESHOLD, f'set "{setting}" in its config ({example} for logits)'
    return Need.NUMBERS, ''
