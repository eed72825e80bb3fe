"""The class that a MetricConfig of TFMA means, and what it sets."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import tensorflow_model_analysis as tfma
import tf_keras
from tensorflow_model_analysis.metrics.metric_types import registered_metrics

from tfx_edge.components.core.errors import EdgeError


def metric_settings(metric: tfma.MetricConfig) -> dict[str, Any]:
    """A metric's config as a dictionary; TFMA also accepts its text without braces.

    Raises:
      EdgeError: it is no JSON object.
    """
    text = metric.config.strip()
    try:
        settings = json.loads(text if text.startswith('{') else f'{{{text}}}')
    except ValueError as error:
        raise EdgeError(
            f'the config of metric {metric.class_name!r} of eval_config is {metric.config!r}, which is no JSON '
            f'({error}); expected settings such as \'"threshold": 0.5\'.'
        ) from None
    return dict(settings)


def metric_class(metric: tfma.MetricConfig) -> type | None:
    """The class by TFMA's rules: its own of that name, else that of the module, else Keras's.

    Args:
      metric: of eval_config.

    Returns:
      The class; None where its module cannot be imported here (it may be where the step runs).

    Raises:
      EdgeError: there is no such class.

    Example:
      >>> from tensorflow_model_analysis.proto.config_pb2 import MetricConfig
      >>> metric_class(MetricConfig(class_name='AUC')).__module__
      'tensorflow_model_analysis.metrics.confusion_matrix_metrics'
    """
    if not metric.class_name:
        raise EdgeError('a metric of eval_config has no class_name; name one, such as "AUC".')
    own = registered_metrics()
    if metric.class_name in own:
        return own[metric.class_name]
    if not metric.module:
        found = getattr(tf_keras.metrics, metric.class_name, None)
        if not inspect.isclass(found):
            known = sorted({*own, *_classes(tf_keras.metrics)})
            raise EdgeError(
                f'TFMA refuses eval_config: metric {metric.class_name!r} is none of TFMA or Keras'
                f'{_alike(metric.class_name, known)}; correct class_name, or name the module of your own metric.'
            )
        return found
    try:
        module = importlib.import_module(metric.module)
    except ImportError:
        return None
    found = getattr(module, metric.class_name, None)
    if not inspect.isclass(found):
        raise EdgeError(
            f'TFMA refuses eval_config: module {metric.module!r} has no metric {metric.class_name!r}'
            f'{_alike(metric.class_name, sorted(_classes(module)))}; correct class_name or module.'
        )
    return found


def check_settings(metric: tfma.MetricConfig, cls: type) -> None:
    """Refuses settings that the class does not take.

    Raises:
      EdgeError: names the setting and those that it takes.
    """
    parameters = inspect.signature(cls).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    taken = list(parameters)
    for name in metric_settings(metric):
        if name not in taken:
            raise EdgeError(
                f'TFMA refuses eval_config: the config of metric {metric.class_name!r} sets {name!r}, which '
                f'it does not take (it takes {", ".join(taken)}); correct the config.'
            )


def metric_name(metric: tfma.MetricConfig, cls: type) -> str:
    """Under which name a metric's value is reported.

    Raises:
      EdgeError: the metric refuses its settings.
    """
    settings = metric_settings(metric)
    try:
        return str(settings.get('name') or cls(**settings).name)
    except (TypeError, ValueError) as error:
        raise EdgeError(
            f'TFMA refuses eval_config: metric {metric.class_name!r} cannot be made of its config '
            f'({" ".join(str(error).split())}); correct the config.'
        ) from error


def takes(cls: type, setting: str) -> bool:
    """Whether a metric has a setting."""
    return setting in inspect.signature(cls).parameters


def default_of(cls: type, setting: str) -> Any:
    """The default of a setting; None where it has no default."""
    default = inspect.signature(cls).parameters[setting].default
    return None if default is inspect.Parameter.empty else default


def _classes(module: Any) -> Mapping[str, type]:
    return {name: value for name, value in vars(module).items() if inspect.isclass(value)}


def _alike(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 3, 0.6)
    return f' (did you mean {", ".join(close)}?)' if close else ''
