"""Makes the parser of a step's examples, with the schema, and with the transform graph if it must be applied."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence

from tfx import types

from tfx_edge.components.core.dense_function.preparation import Preparation
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser, read_records
from tfx_edge.components.core.examples.example_stage import Decision, Origin, decide_stage
from tfx_edge.components.core.examples.schema_stage import stage_of_schema
from tfx_edge.components.core.signature import TensorSpec
from tfx_edge.components.tfx_interface import artifacts
from tfx_edge.components.tfx_interface.example_files import split_files
from tfx_edge.components.tfx_interface.example_origin import origin_of_examples, origin_of_schema

_LOG = logging.getLogger(__name__)

# Examples of each artifact that are looked at.
_LOOKED_AT = 16


def example_parser(
    input_dict: artifacts.ArtifactDict,
    splits: Sequence[str],
    inputs: Mapping[str, TensorSpec],
    *,
    label_key: str = '',
    also_made: Sequence[str] = (),
    preparation: Preparation | None = None,
) -> ExampleParser:
    """Makes the parser.

    Args:
      input_dict: of the component, with `examples`, and where given `schema` and `transform_graph`.
      splits: of the examples that are read.
      inputs: of the model, by name.
      label_key: see `ExampleParser`.
      also_made: see `ExampleParser`.
      preparation: see `ExampleParser`.

    Raises:
      EdgeError: with a transform graph, the examples are neither raw nor transformed, or it is not known which.
    """
    of_examples = preparation is not None and preparation.takes_examples
    if of_examples:
        _LOG.info('the examples are prepared by what the SavedModel does before its dense function')
    parser = ExampleParser(
        inputs,
        schema=artifacts.read_schema(input_dict),
        transform_graph=None if of_examples else artifacts.transform_graph_folder(input_dict),
        label_key=label_key,
        also_made=also_made,
        preparation=preparation,
    )
    if parser.transform_graph is None:
        return parser
    decisions = {
        artifact.uri: _decide(artifact, splits, parser, input_dict)
        for artifact in input_dict[artifacts.EXAMPLES]
    }
    stages = {decision.stage: uri for uri, decision in decisions.items()}
    if len(stages) > 1:
        listed = ', '.join(f'{uri} are {stage}' for stage, uri in stages.items())
        raise EdgeError(
            f'some examples are raw and others transformed ({listed}); give one of both in examples.'
        )
    for uri, decision in decisions.items():
        applied = 'is applied' if decision.stage == 'raw' else 'is not applied'
        _LOG.info(
            'the examples %s are %s, the transform graph %s: %s',
            uri,
            decision.stage,
            applied,
            decision.reason,
        )
    return parser.at_stage(next(iter(stages)))


def _decide(
    artifact: types.Artifact, splits: Sequence[str], parser: ExampleParser, input_dict: artifacts.ArtifactDict
) -> Decision:
    origin = origin_of_examples(artifact)
    if origin.certain:
        return Decision(origin.stage, origin.reason)
    records = list(itertools.islice(read_records(split_files([artifact], splits)), _LOOKED_AT))
    if not records:
        raise EdgeError(
            f'the examples {artifact.uri} hold no example in {", ".join(splits)}; give examples there, or name '
            'another split.'
        )
    return decide_stage(
        parser.stages(records), origin, _origin_by_schema(parser, input_dict), f'the examples {artifact.uri}'
    )


def _origin_by_schema(parser: ExampleParser, input_dict: artifacts.ArtifactDict) -> Origin:
    schema = artifacts.read_schema(input_dict)
    if schema is None:
        return Origin()
    written_by = origin_of_schema(input_dict[artifacts.SCHEMA][0])
    if written_by.stage:
        return written_by
    return stage_of_schema(schema, parser.features, parser.raw_features, parser.made_features)
