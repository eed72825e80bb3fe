"""The executors' common course: open the model, compress its weights, write the same model with them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from tfx_edge import proto
from tfx_edge.components import artifacts, compression_spec, exec_properties, user_module
from tfx_edge.components.core.compression.batch_norm import re_estimate
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.loaded_model import LOADED
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training.fine_tuning import FineTuningOptions
from tfx_edge.components.core.compression.training.training_data import training_batches
from tfx_edge.components.core.compression.training.user_functions import UserFunctions
from tfx_edge.components.core.compression.weight_summary import WeightSummary, summarize_weights
from tfx_edge.components.core.content_digest import content_digest
from tfx_edge.components.core.dense_function.choice import choose_signature, describe
from tfx_edge.components.core.dense_function.preparation import preparation_of
from tfx_edge.components.core.errors import EdgeError, NotFiniteError
from tfx_edge.components.core.examples import ExampleParser
from tfx_edge.components.core.litert import saved_model_converter
from tfx_edge.components.core.litert.isolation import load_ahead
from tfx_edge.components.core.litert.loops_of_files import has_loops
from tfx_edge.components.core.non_finite_features import non_finite_feature
from tfx_edge.components.core.signature import Signature
from tfx_edge.components.deployable_model import converted_beside
from tfx_edge.components.example_files import split_files
from tfx_edge.components.example_parsing import example_parser
from tfx_edge.components.fine_tuning_options import fine_tuning_options

_LOG = logging.getLogger(__name__)

Batches = Iterator[Mapping[str, np.ndarray]]
# New values by checkpoint key, of a signature, training options and batches (None without examples).
Compress = Callable[[ServingGraph, FineTuningOptions, Batches | None], dict[str, np.ndarray]]


def compress_model(
    input_dict: artifacts.ArtifactDict,
    output_dict: artifacts.ArtifactDict,
    properties: Mapping[str, Any],
    compress: Compress,
    *,
    trains_ranges: bool = False,
    saved_model_only: bool = False,
    field: str = '',
) -> str:
    """Runs one technique on a Model artifact and writes the Model artifact that results.

    Before that the model that comes in is converted, so that none is trained that no `.tflite` file can be made of.

    Args:
      input_dict: `input_model`, and where given `examples`, `schema` and `transform_graph`.
      output_dict: `model`.
      properties: exec properties of `compression_spec`.
      compress: the technique.
      trains_ranges: whether it trains ranges of activations too.
      saved_model_only: do not convert it.
      field: the one of the configuration that says so; '' where there is none.

    Returns:
      The name of the signature that was compressed.

    Raises:
      EdgeError: an input is at fault; nothing is written then.
    """
    if not saved_model_only:
        load_ahead(saved_model_converter.convert_signature)
    functions = user_module.user_functions(properties)
    options = fine_tuning_options(
        exec_properties.decode(properties[compression_spec.FINE_TUNING], proto.FineTuning),
        has_module=functions != UserFunctions(),
        trains_ranges=trains_ranges,
    )
    source = artifacts.serving_model_path(
        artifact_utils.get_single_instance(list(input_dict[artifacts.INPUT_MODEL]))
    )
    signature = choose_signature(
        source,
        properties.get(compression_spec.SIGNATURE_NAME) or '',
        transform_graph=artifacts.transform_graph_folder(input_dict),
        load=LOADED.look_into,
    )
    _LOG.info('compressing signature %r', signature.name)
    output = artifact_utils.get_single_instance(list(output_dict[artifacts.MODEL]))
    options = dataclasses.replace(
        options,
        functions=functions,
        checkpoint_folder=_checkpoint_folder(output, source, input_dict, options, properties),
    )
    with _file(output, source, signature, field, saved_model_only=saved_model_only) as file:
        graph = _opened(source, signature, file, trains_ranges=trains_ranges)
        examples = _examples(input_dict, graph, options)
        if file is not None:
            file()
    values = _compressed(graph, options, examples, compress)
    with artifacts.written_whole(path_utils.serving_model_dir(output.uri)) as folder:
        write_with_values(source, folder, values)
    output.set_string_custom_property(artifacts.DENSE_FUNCTION, describe(signature))
    _describe(output, summarize_weights(graph, values))
    if fileio.exists(options.checkpoint_folder):
        fileio.rmtree(options.checkpoint_folder)
    return signature.name


def _file(
    output: types.Artifact, source: str, signature: Signature, field: str, *, saved_model_only: bool
) -> contextlib.AbstractContextManager[Callable[[], bytes] | None]:
    """The float file of the incoming model, made beside what is done first."""
    if saved_model_only:
        _LOG.info('%s is set: whether a .tflite file can be made of the model is not found out', field)
        return contextlib.nullcontext()
    return converted_beside(artifacts.float_files(output), source, signature, unless=field)


def _opened(
    source: str, signature: Signature, file: Callable[[], bytes] | None, *, trains_ranges: bool
) -> ServingGraph:
    graph = ServingGraph(source, signature, in_float32=trains_ranges)
    if not trains_ranges or file is None or not graph.has_loops or has_loops(file()):
        return graph
    # The file has no loops: its steps are told apart in the graph too.
    return ServingGraph(source, signature, in_float32=True, unroll_loops=True)


def _compressed(
    graph: ServingGraph, options: FineTuningOptions, examples: _Examples | None, compress: Compress
) -> dict[str, np.ndarray]:
    """New values by checkpoint key."""
    with _told_by_feature(examples):
        values = compress(graph, options, None if examples is None else examples.batches())
        if options.batch_norm_batches:
            assert examples is not None
            values = values | re_estimate(graph, values, examples.batches(), options.batch_norm_batches)
    return values


def _checkpoint_folder(
    output: types.Artifact,
    source: str,
    input_dict: artifacts.ArtifactDict,
    options: FineTuningOptions,
    properties: Mapping[str, Any],
) -> str:
    """Where the state of the training is kept: beside the outputs of all runs, under what decides the result.

    A run that is started again has another output folder; the same model, examples and configuration find the state.
    """
    decisive = [json.dumps(dict(properties), sort_keys=True, default=str), content_digest(source)]
    if input_dict.get(artifacts.EXAMPLES):
        files = split_files(input_dict[artifacts.EXAMPLES], options.train_splits)
        decisive += [f'{file} {tf.io.gfile.stat(file).length}' for file in files]
    for key in (artifacts.SCHEMA, artifacts.TRANSFORM_GRAPH):
        decisive += [artifact.uri for artifact in input_dict.get(key) or ()]
    key = hashlib.sha256('\n'.join(decisive).encode()).hexdigest()[:16]
    return os.path.join(os.path.dirname(output.uri.rstrip('/')), '.unfinished', key)


def _describe(output: types.Artifact, weights: Sequence[WeightSummary]) -> None:
    """Puts into the artifact's custom properties what became of each weight, for metadata to show."""
    elements, zeros = sum(w.elements for w in weights), sum(w.zeros for w in weights)
    output.set_float_custom_property('tfx_edge_zeros', zeros / elements if elements else 0.0)
    output.set_int_custom_property('tfx_edge_distinct', max((w.distinct for w in weights), default=0))
    output.set_string_custom_property(
        'tfx_edge_weights', json.dumps([dataclasses.asdict(weight) for weight in weights])
    )


@dataclasses.dataclass(frozen=True)
class _Examples:
    """What is trained on."""

    files: Sequence[str]
    parser: ExampleParser
    batch_size: int
    seed: int

    def batches(self) -> Batches:
        return training_batches(self.files, self.parser, self.batch_size, self.seed)


@contextlib.contextmanager
def _told_by_feature(examples: _Examples | None) -> Iterator[None]:
    """Where training ends in NaN and an example holds NaN, names that example and not the learning rate."""
    try:
        yield
    except NotFiniteError as error:
        if examples is None:
            raise
        consequence = str(error).split(';')[0]
        raise non_finite_feature(examples.files, examples.parser, consequence) or error from error


def _examples(
    input_dict: artifacts.ArtifactDict, graph: ServingGraph, options: FineTuningOptions
) -> _Examples | None:
    if not input_dict.get(artifacts.EXAMPLES):
        compression_spec.require_no_examples_needed(options)
        return None
    for name, spec in graph.signature.inputs.items():
        if spec.shape[0] not in (None, options.batch_size):
            raise EdgeError(
                f'input {name!r} of signature {graph.signature.name!r} takes batches of {spec.shape[0]}; '
                f'expected an open batch dimension. Export the model with one, or set FineTuning.batch_size '
                f'to {spec.shape[0]} (now {options.batch_size}).'
            )
    parser = example_parser(
        input_dict,
        options.train_splits,
        graph.signature.inputs,
        label_key=options.label_key,
        preparation=preparation_of(graph.folder, graph.signature),
    )
    files = split_files(input_dict[artifacts.EXAMPLES], options.train_splits)
    return _Examples(files, parser, options.batch_size, options.seed)
