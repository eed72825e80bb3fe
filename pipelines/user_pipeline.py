"""A user's pipeline, built by the user's function; `tfx-edge run` runs it on this machine."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import json
import os
import pathlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.console import Progress, quiet
from tfx_edge.pipelines.local import BEAM_ARGS, remove_float_files, run_locally

_FUNCTION = 'create_pipeline'
_BEAM = 'beam_pipeline_args'
# Parameters that have an option of their own on the command line of `run`.
_RUN_OPTIONS = ('pipeline_name', 'pipeline_root', 'metadata_path')


@dataclasses.dataclass(frozen=True)
class PipelineOptions:
    """What the command line says about a pipeline; None where it says nothing.

    Attributes:
      pipeline_name: of the parameter of that name, as the next three.
      pipeline_root: folder for the artifacts.
      metadata_path: sqlite file of ML Metadata.
      enable_cache: False to run every step.
      beam_args: for Apache Beam.
      parameters: 'name=value' for other parameters.
    """

    pipeline_name: str | None = None
    pipeline_root: str | None = None
    metadata_path: str | None = None
    enable_cache: bool | None = None
    beam_args: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()


def run_user_pipeline(target: str, options: PipelineOptions, log: str) -> None:
    """Builds a pipeline, runs it, and prints where its outputs lie.

    Args:
      target: 'module[:function]' or 'file.py[:function]'.
      options: what to call the function with.
      log: file for what libraries print.

    Raises:
      EdgeError: the function cannot be found or called.
      CommandError: the pipeline failed.

    Example:
      >>> run_user_pipeline('my_package.pipeline', PipelineOptions(pipeline_root='run'), 'run.log')
    """
    with quiet(log) as progress:
        progress.line(f'loading {target}; what libraries print goes to {log}')
        pipeline = build_pipeline(target, options)
        from tfx_edge.pipelines import run_records

        run = run_locally(pipeline, progress)
        remove_float_files(pipeline.pipeline_info.pipeline_root)
        _print_outputs(run_records.steps_of_run(pipeline.metadata_connection_config, run), progress)


def build_pipeline(target: str, options: PipelineOptions) -> Any:
    """Calls a user's function as `call_function` does, and names an ML Metadata where the pipeline has none.

    Returns:
      A `tfx.v1.dsl.Pipeline` for LocalDagRunner.

    Raises:
      EdgeError: there is no such function, its arguments are wrong, or it returns something else.
    """
    return built_by(load_function(target), target, options)


def built_by(function: Callable[..., Any], target: str, options: PipelineOptions, **arguments: Any) -> Any:
    """The same with a function that is loaded, and with arguments that no option has.

    Args:
      function: that the target names.
      target: for errors.
      options: what to call the function with.
      **arguments: for its other parameters.

    Returns:
      A `tfx.v1.dsl.Pipeline` for LocalDagRunner.

    Raises:
      EdgeError: its arguments are wrong, or it returns something else.
    """
    pipeline, left = _call(function, target, options, _RUN_OPTIONS, arguments)
    return _with_metadata(pipeline, left.get('metadata_path'))


def call_function(
    target: str, options: PipelineOptions, own_options: Collection[str]
) -> tuple[Any, Mapping[str, Any]]:
    """Calls a user's function with the options that it has parameters for.

    Options that a finished pipeline still takes are set on it where the function has no parameter for them: Beam
    arguments and caching here, ML Metadata by the caller. Any other option without a parameter is an error.

    Args:
      target: 'module[:function]' or 'file.py[:function]'.
      options: what to call the function with.
      own_options: parameters that have an option of their own on the command line; the others are given by --set.

    Returns:
      A `tfx.v1.dsl.Pipeline`, and the options that it has not taken.

    Raises:
      EdgeError: there is no such function, its arguments are wrong, or it returns something else.
    """
    return _call(load_function(target), target, options, own_options, {})


def _call(
    function: Callable[..., Any],
    target: str,
    options: PipelineOptions,
    own_options: Collection[str],
    others: Mapping[str, Any],
) -> tuple[Any, Mapping[str, Any]]:
    given = _given(options)
    accepted, missing = _signature(function)
    arguments = {**{name: value for name, value in given.items() if accepted(name)}, **others}
    if accepted(_BEAM):
        arguments[_BEAM] = [*BEAM_ARGS, *options.beam_args]
    later = {_BEAM, 'enable_cache', 'metadata_path'}
    unknown = sorted(given.keys() - arguments.keys() - later)
    if unknown:
        raise EdgeError(
            f'{target} has no parameter {unknown[0]!r}; leave that option out, or add the parameter.'
        )
    lacking = [name for name in missing if name not in arguments]
    if lacking:
        raise EdgeError(
            f'{target} needs a value for {lacking[0]!r}; give {_option(lacking[0], own_options)}.'
        )
    pipeline = function(**arguments)
    from tfx import v1 as tfx  # takes many seconds

    if not isinstance(pipeline, tfx.dsl.Pipeline):
        raise EdgeError(f'{target} returned {type(pipeline).__name__}; expected a tfx.v1.dsl.Pipeline.')
    left = {name: given[name] for name in later & given.keys() - arguments.keys()}
    return _with_beam_and_cache(pipeline, left), left


def load_function(target: str) -> Callable[..., Any]:
    """A user's function.

    Args:
      target: 'module[:function]' or 'file.py[:function]'.

    Returns:
      The function.

    Raises:
      EdgeError: there is none.
    """
    place, _, name = target.partition(':')
    name = name or _FUNCTION
    module = _load_file(place) if place.endswith('.py') else _load_module(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise EdgeError(
            f'{place} has no function {name!r}; name the one that returns the pipeline: {place}:NAME.'
        )
    return function


def _load_file(place: str) -> Any:
    path = pathlib.Path(place)
    if not path.is_file():
        raise EdgeError(f'{place} does not exist; expected a Python file or the name of a module.')
    # As `python FILE` does, so that the file finds its neighbours.
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _load_module(place: str) -> Any:
    # As `python -m MODULE` does.
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and f'{place}.'.startswith(f'{error.name}.'):
            raise EdgeError(
                f'there is no module {place!r}; name an importable module, or a file that ends in .py.'
            ) from error
        raise


def _given(options: PipelineOptions) -> dict[str, Any]:
    given: dict[str, Any] = {_BEAM: list(options.beam_args)} if options.beam_args else {}
    for name in ('pipeline_name', 'pipeline_root', 'metadata_path', 'enable_cache'):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    for text in options.parameters:
        name, equals, value = text.partition('=')
        if not equals:
            raise EdgeError(f'--set {text} has no value; write --set {text}=VALUE.')
        try:
            given[name] = json.loads(value)
        except json.JSONDecodeError:
            given[name] = value
    return given


def _signature(function: Callable[..., Any]) -> tuple[Callable[[str], bool], list[str]]:
    """Whether the function takes a parameter, and which it must be given."""
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    by_name = {
        name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    missing = [name for name, p in by_name.items() if p.default is p.empty]
    return (lambda name: takes_any or name in by_name), missing


def _option(parameter: str, own_options: Collection[str]) -> str:
    if parameter in own_options:
        return f'--{parameter.replace("_", "-")} VALUE'
    return f'--set {parameter}=VALUE'


def _with_beam_and_cache(pipeline: Any, options: Mapping[str, Any]) -> Any:
    from tfx.dsl.components.base import base_beam_component

    if options.get(_BEAM):
        for component in pipeline.components:
            if isinstance(component, base_beam_component.BaseBeamComponent):
                component.with_beam_pipeline_args(options[_BEAM])
    if 'enable_cache' in options:
        pipeline.enable_cache = options['enable_cache']
    return pipeline


def _with_metadata(pipeline: Any, path: str | None) -> Any:
    from tfx import v1 as tfx

    if pipeline.metadata_connection_config is None:
        path = path or os.path.join(pipeline.pipeline_info.pipeline_root, 'metadata.sqlite')
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        sqlite = tfx.orchestration.metadata.sqlite_metadata_connection_config
        pipeline.metadata_connection_config = sqlite(path)
    elif path is not None:
        raise EdgeError('the pipeline names its own ML Metadata; leave --metadata-path out.')
    return pipeline


def _print_outputs(steps: Mapping[str, Any], progress: Progress) -> None:
    progress.text('')
    for step in steps.values():
        for key, artifacts in step.outputs.items():
            for artifact in artifacts:
                progress.text(f'{step.name}.{key}: {artifact.uri}{_outcome(artifact.properties)}')


def _outcome(properties: Mapping[str, Any]) -> str:
    """What a blessing or a Pusher decided: both leave an artifact either way."""
    if 'blessed' in properties:
        return ' (blessed)' if properties['blessed'] else ' (not blessed)'
    return ' (nothing was pushed)' if properties.get('pushed') == 0 else ''
