"""EdgeSelector's configuration, checked when the pipeline is constructed."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfx_edge import proto
from tfx_edge.components.core.devices.limits import DeviceLimits, check_device_limits
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.candidate import Candidate
from tfx_edge.components.core.selection.choice import Aim
from tfx_edge.components.core.selection.common_metric import common_metric
from tfx_edge.components.core.selection.figures import OF_DEVICE, device_key
from tfx_edge.components.core.selection.figures import titles as figure_titles
from tfx_edge.components.core.selection.route import Route
from tfx_edge.components.edge_selector import keys
from tfx_edge.components.tfx_interface import exec_properties

_METRIC = 'METRIC'
# A name stands in ids of components, in logs and in a page.
_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,99}')


def objective(config: proto.Selection) -> str:
    """The objective's name.

    Raises:
      EdgeError: it needs a device that is not named or does not report it, or none and one is named.
    """
    exec_properties.require(
        config, 'budget_minutes', lambda v: v >= 0, 'a number of minutes, where 0 sets no budget'
    )
    name = proto.Selection.Objective.Name(config.objective)
    figure = name.lower()
    if figure not in OF_DEVICE:
        if config.device:
            raise EdgeError(
                f'Selection.device is {config.device!r}, and objective {name} is of no device; leave one of them out.'
            )
        return name
    if not config.device:
        raise EdgeError(
            f'Selection.objective {name} is of a device; name it in Selection.device, such as ethos-u55-128 or '
            'tflite-micro.'
        )
    try:
        check_device_limits(DeviceLimits(config.device, {figure: 0}))
    except EdgeError as error:
        raise EdgeError(f'Selection.device: {error}') from error
    return name


def check_parameters(properties: Mapping[str, Any], inputs: Collection[str]) -> None:
    """Refuses what the executor would refuse of the parameters alone.

    Args:
      properties: exec properties.
      inputs: keys of the inputs that have artifacts.

    Raises:
      EdgeError: see `objective`.
    """
    del inputs  # which candidates arrived is no matter of the parameters
    objective(exec_properties.decode(properties[keys.SELECTION_CONFIG], proto.Selection))


def aim(config: proto.Selection, candidates: Sequence[Candidate]) -> Aim:
    """What the choice makes the best of, with the metric that the candidates have in common.

    Args:
      config: the message.
      candidates: as they arrived.

    Returns:
      The aim.

    Raises:
      EdgeError: the message is at fault, or not every candidate was evaluated by the metric that it names.
    """
    name = objective(config)
    reports = [candidate.report for candidate in candidates if candidate.report is not None]
    lower = config.lower_is_better if config.HasField('lower_is_better') else None
    metric = common_metric(reports, config.metric, lower) if reports else None
    if name == _METRIC:
        return Aim(by_metric=True, metric=metric)
    figure = name.lower()
    key = device_key(config.device, figure) if config.device else figure
    title = figure_titles(candidates).get(key, key.replace('_', ' '))
    return Aim(figure=key, title=title, metric=metric)


def encode_routes(routes: Sequence[str | Route] | None, producers: Sequence[tuple[str, ...]]) -> str:
    """The candidates' routes as an exec property.

    Args:
      routes: a name or a Route for each candidate; None for the ids of the components that made them.
      producers: the ids of the components that made and evaluated each.

    Returns:
      JSON.

    Raises:
      EdgeError: there is not one for each candidate, or two have the same name.
    """
    given = [names[-2] for names in producers] if routes is None else list(routes)
    if len(given) != len(producers):
        raise EdgeError(f'there are {len(given)} routes for {len(producers)} candidates; give one for each.')
    made = [
        dataclasses.replace(route, components=route.components or names)
        if isinstance(route, Route)
        else Route(route, components=names)
        for route, names in zip(given, producers, strict=True)
    ]
    names = [route.name for route in made]
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise EdgeError(
                f'a route is named {name!r}; expected at most 100 letters, digits, ".", "_" and "-".'
            )
        if names.count(name) > 1:
            raise EdgeError(
                f'{names.count(name)} routes are named {name!r}; give each another name in routes.'
            )
    return json.dumps([dataclasses.asdict(route) for route in made], sort_keys=True)


def decode_routes(text: str) -> list[Route]:
    """The routes that `encode_routes` wrote."""
    return [_route(fields) for fields in json.loads(text)]


def _route(fields: Mapping[str, Any]) -> Route:
    return Route(fields['name'], tuple(fields['steps']), fields['recipe'], tuple(fields['components']))
