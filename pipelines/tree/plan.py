"""Which routes a deployment tree has."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.tree.levels import QUANTIZATION, Level

_LOG = logging.getLogger(__name__)

_DEFAULT_LEVELS = ('pruning', 'clustering', 'qat')


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of a route: the level's name, the step's, and its configuration."""

    level: str
    step: str
    config: Any


@dataclasses.dataclass(frozen=True)
class PlannedRoute:
    """One route.

    Attributes:
      stages: in order; the last is a quantization.
      fine_tuning: how its steps train.
      training: names that, where a tree has several; '' else.
    """

    stages: tuple[Stage, ...]
    fine_tuning: proto.FineTuning
    training: str = ''

    @property
    def name(self) -> str:
        """Such as 'zeros50-clusters16-qat-int8'."""
        return '-'.join(filter(None, [self.training, *(stage.step for stage in self.stages)]))


def planned_routes(tree: proto.DeploymentTree, levels: Mapping[str, Level]) -> list[PlannedRoute]:
    """All routes of a tree, shared prefixes side by side.

    Args:
      tree: the message.
      levels: by name.

    Returns:
      At least one route.

    Raises:
      EdgeError: the message is at fault, leaves no route, or has too many.
    """
    names = [*_checked_levels(tree, levels), QUANTIZATION]
    alternatives = {name: _stages(name, levels[name], tree) for name in names}
    plain = list(_routes(names, alternatives, levels))
    _check_used(alternatives, plain, tree)
    trainings = list(tree.fine_tuning) or [proto.FineTuning()]
    routes = [
        PlannedRoute(stages, trainings[0]) for stages in plain if len(trainings) == 1 or len(stages) == 1
    ]
    if len(trainings) > 1:
        routes += [
            PlannedRoute(stages, fine_tuning, f'training{number}')
            for number, fine_tuning in enumerate(trainings, 1)
            for stages in plain
            if len(stages) > 1
        ]
    return _kept(routes, tree)


def _check_used(
    alternatives: Mapping[str, Sequence[Stage]],
    routes: Sequence[tuple[Stage, ...]],
    tree: proto.DeploymentTree,
) -> None:
    """Refuses an alternative that was asked for and that no route takes, such as a QAT of bits that no mode has."""
    taken = {(stage.level, stage.step) for route in routes for stage in route}
    asked_for = {field.name for field, _ in tree.ListFields()}
    for name, stages in alternatives.items():
        for stage in stages:
            if (name, stage.step) in taken:
                continue
            if name in asked_for:
                raise EdgeError(
                    f'DeploymentTree.{name} holds {stage.step!r}, which no route can take; give a quantization of its '
                    'bits (8 and 8: INT8, 8 and 16: INT16X8, 4 and 8: INT4X8), or leave it out.'
                )
            _LOG.info('no route of the tree can take %s: no quantization has its bits', stage.step)


def _checked_levels(tree: proto.DeploymentTree, levels: Mapping[str, Level]) -> list[str]:
    names = list(tree.levels) or list(_DEFAULT_LEVELS)
    known = [name for name in levels if name != QUANTIZATION]
    for name in names:
        if name not in known:
            raise EdgeError(
                f'DeploymentTree.levels names {name!r}; expected any of: {", ".join(known)} '
                '(quantization is always the last).'
            )
        if names.count(name) > 1:
            raise EdgeError(f'DeploymentTree.levels names {name!r} twice; leave one out.')
    for field, _ in tree.ListFields():
        if field.name in known and field.name not in names:
            raise EdgeError(
                f'DeploymentTree.{field.name} has alternatives, and levels leaves {field.name} out; name it there, or '
                'leave the alternatives out.'
            )
    return names


def _stages(name: str, level: Level, tree: proto.DeploymentTree) -> list[Stage]:
    """The alternatives of a level; of the same short name, the later ones get a number."""
    configs = list(level.alternatives(tree))
    taken: list[str] = []
    for place, config in enumerate(configs):
        if config in configs[:place]:
            raise EdgeError(f'DeploymentTree.{name} holds the same alternative twice; leave one out.')
        short = level.step_name(config)
        same = sum(level.step_name(other) == short for other in configs[:place])
        taken.append(f'{short}v{same + 1}' if same else short)
    return [Stage(name, step, config) for step, config in zip(taken, configs, strict=True)]


def _routes(
    names: Sequence[str], alternatives: Mapping[str, Sequence[Stage]], levels: Mapping[str, Level]
) -> Iterator[tuple[Stage, ...]]:
    """The routes of a subtree, depth first; a level may be passed over, but the last."""

    def below(stages: tuple[Stage, ...], place: int) -> Iterator[tuple[Stage, ...]]:
        if place == len(names):
            yield stages
            return
        name = names[place]
        before = {stage.level: stage.config for stage in stages}
        if name != QUANTIZATION:
            yield from below(stages, place + 1)
        for stage in alternatives[name]:
            if levels[name].fits(before, stage.config):
                yield from below((*stages, stage), place + 1)

    return below((), 0)


def _kept(routes: Sequence[PlannedRoute], tree: proto.DeploymentTree) -> list[PlannedRoute]:
    try:
        patterns = [re.compile(pattern) for pattern in tree.leave_out]
    except re.error as error:
        raise EdgeError(
            f'DeploymentTree.leave_out holds {error.pattern!r}, which is not a regular expression ({error}); correct '
            'it.'
        ) from error
    names = [route.name for route in routes]
    for name in tree.only:
        if name not in names:
            near = difflib.get_close_matches(name, names, 3) or names[:3]
            raise EdgeError(
                f'DeploymentTree.only names {name!r}, which is no route of the tree; expected names such as '
                f'{", ".join(near)}.'
            )
    kept = [
        route
        for route in routes
        if (not tree.only or route.name in tree.only)
        and not any(pattern.search(route.name) for pattern in patterns)
    ]
    if not kept:
        field = 'leave_out and only leave' if tree.only else 'leave_out leaves'
        raise EdgeError(
            f'DeploymentTree.{field} no route of {len(routes)} ({", ".join(names[:5])}, …); leave fewer out.'
        )
    if len(kept) > tree.max_routes:
        raise EdgeError(
            f'the tree has {len(kept)} routes, more than DeploymentTree.max_routes {tree.max_routes}; name fewer '
            'alternatives or levels, leave_out some, or raise max_routes.'
        )
    return kept
