"""`tfx-edge search`: tries routes of a deployment tree one after another, and chooses the best of those it tried."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.file_lock import locked
from tfx_edge.pipelines.console import Progress, quiet
from tfx_edge.pipelines.failure import one_line
from tfx_edge.pipelines.local import remove_float_files, run_locally
from tfx_edge.pipelines.machine_faults import is_of_the_machine
from tfx_edge.pipelines.search.finding import Finding, finding, told
from tfx_edge.pipelines.search.function import TreeFunction, with_routes
from tfx_edge.pipelines.search.space import Space, space_of
from tfx_edge.pipelines.short_path import short_path
from tfx_edge.pipelines.user_pipeline import PipelineOptions

_LOG = logging.getLogger(__name__)

_JOURNAL = 'journal.log'
_LOCK = 'search.lock'


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """How far a search goes.

    Attributes:
      trials: how many routes are tried, with those that earlier calls with the same seed tried.
      minutes: after which no other trial begins; None for any number.
      seed: of what is drawn.
    """

    trials: int
    minutes: float | None = None
    seed: int = 0


class _Proposals(Protocol):
    """Which route is tried next."""

    @property
    def finished(self) -> Mapping[str, bool]: ...

    def ask(self) -> str: ...

    def tell(self, route: str, found: Finding) -> None: ...

    def tell_failure(self, route: str) -> None: ...


class _Walk:
    """All routes in the order of the tree; what an earlier call tried is in TFX's cache."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.finished: dict[str, bool] = {}

    def ask(self) -> str:
        return next(route for route in self._space.routes if route not in self.finished)

    def tell(self, route: str, found: Finding) -> None:
        self.finished[route] = True

    def tell_failure(self, route: str) -> None:
        self.finished[route] = False


def search_user_pipeline(target: str, options: PipelineOptions, log: str, search: SearchOptions) -> bool:
    """Tries routes of the tree of a user's pipeline, then runs the pipeline with all that were evaluated.

    Each trial is a run of the pipeline with one route, without what comes after its EdgeEvaluator. Runs share what they
    have in common by TFX's cache. A search that was killed goes on where it was when it is called again. The last run
    has an EdgeSelector of all routes that were evaluated, and what the pipeline has behind it, such as a Pusher.

    Args:
      target: 'module[:function]' or 'file.py[:function]'; the function's parameter `tree` has the tree as its default.
      options: what to call the function with.
      log: file for what libraries print.
      search: how far to go.

    Returns:
      Whether the chosen route holds every limit.

    Raises:
      CommandError: the function is at fault, a step of every route failed, or the machine failed a step.

    Example:
      ```
      search_user_pipeline(
          'my_package.pipeline', PipelineOptions(pipeline_root='run'), 'run.log', SearchOptions(trials=20)
      )
      ```
    """
    begun = time.monotonic()
    with quiet(log) as progress:
        progress.line(f'loading {target}; what libraries print goes to {log}')
        function = TreeFunction(target, options)
        from tfx_edge.pipelines.tree.levels import LEVELS
        from tfx_edge.pipelines.tree.plan import planned_routes

        space = space_of(planned_routes(function.tree, LEVELS))
        with _proposals(function, space, search) as proposals:
            until = None if search.minutes is None else begun + 60 * search.minutes
            failed = _try(function, proposals, min(search.trials, len(space.routes)), until, progress)
            evaluated = [route for route in space.routes if proposals.finished.get(route)]
        if not evaluated:
            raise EdgeError(
                f'none of the {len(proposals.finished)} routes that were tried could be evaluated'
                f'{f" ({failed})" if failed else ""}; correct what fails, and search with another --seed.'
            )
        return _choose(function, evaluated, progress)


@contextlib.contextmanager
def _proposals(function: TreeFunction, space: Space, search: SearchOptions) -> Iterator[_Proposals]:
    from tfx_edge.pipelines.search.trial import trial_of

    # What it is made with is what others are made with, and more.
    longest = max(space.routes, key=lambda route: route.count('-'))
    trial = trial_of(function.pipeline(with_routes(function.tree, [longest])), longest)
    folder = _folder(trial.pipeline.pipeline_info.pipeline_root)
    with _only_search(folder):
        if len(space.routes) <= search.trials:
            yield _Walk(space)
            return
        try:
            # Optuna is an extra.
            from tfx_edge.pipelines.search.study import Study
        except ModuleNotFoundError as absent:
            if absent.name != 'optuna':
                raise
            raise EdgeError(
                f'the tree has {len(space.routes)} routes, and Optuna, which searches so many, is not installed; '
                f'install tfx-edge[search], or try all of them with --trials {len(space.routes)}.'
            ) from absent
        name = _name(function.tree, trial.setting, search.seed)
        yield Study(space, os.path.join(folder, _JOURNAL), name, search.seed)


def _folder(root: str) -> str:
    if '://' in root:
        raise EdgeError(
            f'the pipeline root {root} is no folder of this machine, and a search keeps its journal there; give a '
            'folder by --pipeline-root.'
        )
    folder = os.path.join(root, '.tfx_edge', 'search')
    os.makedirs(folder, exist_ok=True)
    return folder


@contextlib.contextmanager
def _only_search(folder: str) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(os.path.join(folder, _LOCK)))
        except BlockingIOError as error:
            raise EdgeError(
                f'another search runs in {folder}; wait for it, or give another --pipeline-root.'
            ) from error
        except OSError as error:
            _LOG.info('%s has no locks (%s): run no other search there', folder, error.strerror)
        yield


def _name(tree: proto.DeploymentTree, setting: str, seed: int) -> str:
    """The study's: what was found is taken up only where the same would be found again."""
    parts = (tree.SerializeToString(deterministic=True), setting.encode(), str(seed).encode())
    return hashlib.sha256(b'\n'.join(parts)).hexdigest()


def _try(
    function: TreeFunction, proposals: _Proposals, total: int, until: float | None, progress: Progress
) -> str:
    """Runs trials; gives the line of the first that failed, or ''."""
    from tfx_edge.components.edge_selector.options import aim as aim_of
    from tfx_edge.pipelines.search.trial import trial_of

    first_failure = ''
    while (tried := len(proposals.finished)) < total:
        # One trial is run whatever the time: nothing could be chosen without.
        if until is not None and tried and time.monotonic() > until:
            progress.line(f'no other trial begins: the time is over, {tried} of {total} are finished')
            break
        route = proposals.ask()
        progress.line(f'trial {tried + 1} of {total}: {route}')
        trial = trial_of(function.pipeline(with_routes(function.tree, [route])), route)
        try:
            candidate = trial.run(progress)
            aim = aim_of(function.tree.selection, [candidate])
        except Exception as error:
            if is_of_the_machine(error):
                raise
            traceback.print_exc()
            first_failure = first_failure or f'{route}: {one_line(error)}'
            progress.line(f'  failed: {one_line(error)}')
            # What the step had in memory, which the traceback holds.
            traceback.clear_frames(error.__traceback__)
            proposals.tell_failure(route)
            continue
        progress.line(f'  {told(candidate, aim)}')
        proposals.tell(route, finding(candidate, aim))
    return first_failure


def _choose(function: TreeFunction, evaluated: list[str], progress: Progress) -> bool:
    from tfx_edge.pipelines.run_records import steps_of_run
    from tfx_edge.pipelines.search.trial import selector_of

    progress.line(f'choosing of {len(evaluated)} routes')
    pipeline = function.pipeline(with_routes(function.tree, evaluated))
    selector = selector_of(pipeline, evaluated)
    run = run_locally(pipeline, progress)
    remove_float_files(pipeline.pipeline_info.pipeline_root)
    selection = steps_of_run(pipeline.metadata_connection_config, run)[selector.id].output('selection').uri
    return _print_choice(pathlib.Path(selection).resolve(), progress)


def _print_choice(selection: pathlib.Path, progress: Progress) -> bool:
    report: dict[str, Any] = json.loads((selection / 'selection.json').read_text())
    (chosen,) = (row for row in report['candidates'] if row['route'] == report['chosen'])
    progress.text('')
    progress.text(f'chosen: {report["chosen"]}: {report["reason"]}')
    for line in chosen['reasons']:
        progress.text(f'  {line}')
    progress.text(f'report: {short_path(selection / "selection.html")}')
    return bool(report['verdict'] == 'BLESSED')
