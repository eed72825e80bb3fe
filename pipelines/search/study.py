"""Which route is tried next: Optuna's proposals, with a journal from which a search that ended goes on.

Nothing of the sampler is kept. Each proposal has a seed of its own, made of the study's seed and the number of routes
that are finished, and everything else is read from the journal: a search that was killed asks what it would have asked.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tfx_edge.pipelines.search.finding import Finding
from tfx_edge.pipelines.search.space import Space

# Attributes of Optuna's trials. One without a route was proposed and not run. One with an outcome is finished without
# values; why stands there.
_ROUTE = 'route'
_OUTCOME = 'outcome'
_FAILED = 'failed'
_NOT_MEASURED = 'not measured'


class Study:
    """Proposes routes by what others have come to.

    The sampler is a tree-structured Parzen estimator of two objectives, figure and metric, with the missed limits as
    constraints (Ozaki et al., Multiobjective tree-structured Parzen estimator, JAIR 73, 2022; Watanabe and Hutter,
    c-TPE, IJCAI 2023). What it proposes may be no route, or one that is finished. Then one that differs from it in the
    fewest parameters takes its place, so that no route is run twice.

    Args:
      space: what there is to choose.
      file: the journal, a file of JSON lines in a folder that is there; it may hold other studies.
      name: of the study in that file.
      seed: of all that is drawn.

    Example:
      ```
      study = Study(space, 'search/journal.log', 'digits', seed=0)
      while len(study.finished) < 20:
          route = study.ask()
          study.tell(route, evaluated(route))
      ```
    """

    def __init__(self, space: Space, file: str, name: str, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._distributions: dict[str, BaseDistribution] = {
            parameter: CategoricalDistribution(choices) for parameter, choices in space.choices.items()
        }
        self._asked: dict[str, optuna.Trial] = {}
        _repair(file)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(file)),
            study_name=name,
            directions=['minimize', 'minimize'],
            load_if_exists=True,
        )
        self._take_up()

    @property
    def finished(self) -> dict[str, bool]:
        """Whether a route was evaluated, or a step of it failed; in the order in which they were told."""
        trials = self._study.get_trials(deepcopy=False)
        return {
            trial.user_attrs[_ROUTE]: trial.user_attrs.get(_OUTCOME) != _FAILED
            for trial in trials
            if trial.state == TrialState.COMPLETE or _OUTCOME in trial.user_attrs
        }

    def ask(self) -> str:
        """The name of the route to try next; the space must have one that is not finished."""
        finished = self.finished
        draw = random.Random(f'{self._seed} {len(finished)}')
        # Several levels decide together whether a combination is any good, and whether it is a route.
        self._study.sampler = TPESampler(seed=draw.randrange(2**32), multivariate=True)
        trial = self._study.ask(self._distributions)
        route = trial.user_attrs.get(_ROUTE) or self._space.route(trial.params)
        if route is None or route in finished:
            trial, route = self._instead_of(trial, finished, draw)
        trial.set_user_attr(_ROUTE, route)
        self._asked[route] = trial
        return route

    def tell(self, route: str, found: Finding) -> None:
        """Takes down what was found of a route that was asked for.

        Args:
          route: its name.
          found: what its evaluation says.
        """
        trial = self._asked.pop(route)
        if found.figure is None or found.loss is None:
            self._end(trial, _NOT_MEASURED)
            return
        for limit, value in found.missed.items():
            trial.set_constraint(limit, value)
        self._study.tell(trial, [found.figure, found.loss])

    def tell_failure(self, route: str) -> None:
        """Takes down that a step of a route failed, which was asked for."""
        self._end(self._asked.pop(route), _FAILED)

    def _instead_of(
        self, proposal: optuna.Trial, finished: Collection[str], draw: random.Random
    ) -> tuple[optuna.Trial, str]:
        self._study.tell(proposal, state=TrialState.FAIL)
        left = [name for name in self._space.routes if name not in finished]
        route = draw.choice(self._space.nearest(proposal.params, left))
        self._study.enqueue_trial(dict(self._space.routes[route]), user_attrs={_ROUTE: route})
        return self._study.ask(self._distributions), route

    def _end(self, trial: optuna.Trial, outcome: str) -> None:
        # First the outcome: a trial that has one is finished, also if this process ends here.
        trial.set_user_attr(_OUTCOME, outcome)
        self._study.tell(trial, state=TrialState.FAIL)

    def _take_up(self) -> None:
        """Ends what a process that died left open; a route that was half run will be proposed again."""
        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            self._study.tell(trial.number, state=TrialState.FAIL)


def _repair(file: str) -> None:
    """Removes what a process that was killed may leave: Optuna's lock, and a line that is half there."""
    if os.path.lexists(file + '.lock'):
        os.unlink(file + '.lock')
    if not os.path.exists(file):
        return
    with open(file, 'rb+') as journal:
        journal.truncate(journal.read().rfind(b'\n') + 1)
