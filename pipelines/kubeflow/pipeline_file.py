"""What `tfx-edge compile` wrote for open-source Kubeflow Pipelines 2, and the parameters that a run may give."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfx_edge.components.core.errors import EdgeError

# kfp's client takes no other names.
_SUFFIXES = ('.yaml', '.yml')
# By KFP's type of a parameter: whether a value is one of that type.
_FITS: Mapping[str, Callable[[Any], bool]] = {
    'STRING': lambda value: isinstance(value, str),
    'NUMBER_INTEGER': lambda value: isinstance(value, int) and not isinstance(value, bool),
    'NUMBER_DOUBLE': lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    'BOOLEAN': lambda value: isinstance(value, bool),
    'LIST': lambda value: isinstance(value, list),
    'STRUCT': lambda value: isinstance(value, dict),
}


@dataclasses.dataclass(frozen=True)
class PipelineFile:
    """What a run needs to know of a file.

    Attributes:
      path: where it is.
      name: of the pipeline.
      root: URI of the folder for the artifacts, or None; the server does not read it from the file.
      parameters: KFP's description of each parameter, by name.
    """

    path: str
    name: str
    root: str | None
    parameters: Mapping[str, Mapping[str, Any]]


def read_pipeline_file(path: str) -> PipelineFile:
    """Reads a file that `tfx-edge compile` wrote.

    Args:
      path: the file, a YAML document with the pipeline and, where it asks for more than containers, a second one.

    Returns:
      What a run needs to know.

    Raises:
      EdgeError: the file cannot be read, or holds something else.

    Example:
      ```
      read_pipeline_file('digits.yaml').root  # 'minio://mlpipeline/v2/artifacts'
      ```
    """
    import yaml

    if not path.endswith(_SUFFIXES):
        raise EdgeError(
            f'{path} is no YAML file by its name; give what `tfx-edge compile` wrote, with .yaml at its end.'
        )
    try:
        documents = list(yaml.safe_load_all(pathlib.Path(path).read_text(encoding='utf-8')))
    except OSError as error:
        raise EdgeError(
            f'{path} cannot be read ({error.strerror}); give what `tfx-edge compile` wrote.'
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EdgeError(f'{path} is no YAML; give what `tfx-edge compile` wrote.') from error
    spec = documents[0] if documents and isinstance(documents[0], dict) else {}
    if 'pipelineSpec' in spec:
        raise EdgeError(f'{path} is a job of Vertex AI; compile it with --format kfp.')
    try:
        name, root = spec['pipelineInfo']['name'], spec['root']
        parameters = root.get('inputDefinitions', {}).get('parameters', {})
    except (KeyError, TypeError, AttributeError) as error:
        raise EdgeError(f'{path} holds no pipeline; give what `tfx-edge compile` wrote.') from error
    return PipelineFile(path, name, spec.get('defaultPipelineRoot'), parameters)


def run_parameters(file: PipelineFile, given: Sequence[str]) -> dict[str, Any]:
    """The values that a run gets, checked against the file.

    Args:
      file: the pipeline.
      given: 'NAME=VALUE' each; VALUE is JSON, or else a string. A parameter of type STRING takes other JSON as it is
        written, since the messages of tfx-edge are such strings.

    Returns:
      The values by name.

    Raises:
      EdgeError: there is no such parameter, its type is another, or one that has no default is missing.

    Example:
      >>> file = PipelineFile('p.yaml', 'p', None, {'pruning': {'parameterType': 'STRING'}})
      >>> run_parameters(file, ['pruning={"target_sparsity": 0.5}'])
      {'pruning': '{"target_sparsity": 0.5}'}
    """
    values = {}
    for text in given:
        name, equals, value = text.partition('=')
        if not equals:
            raise EdgeError(f'--parameter {text} has no value; write --parameter {text}=VALUE.')
        if name not in file.parameters:
            known = ', '.join(sorted(file.parameters)) or 'none'
            raise EdgeError(f'{file.path} has no parameter {name!r}; it has: {known}.')
        values[name] = _value(name, value, file.parameters[name].get('parameterType', ''))
    for name, parameter in sorted(file.parameters.items()):
        optional = parameter.get('isOptional') or 'defaultValue' in parameter
        if name not in values and not optional:
            raise EdgeError(f'{file.path} needs a value for {name!r}; give --parameter {name}=VALUE.')
    return values


def _value(name: str, text: str, kind: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if kind == 'STRING' and not isinstance(value, str):
        value = text
    if kind in _FITS and not _FITS[kind](value):
        raise EdgeError(f'--parameter {name}={text} does not fit; expected JSON of type {kind}.')
    return value
