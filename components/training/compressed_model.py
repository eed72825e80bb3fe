"""The course of a run: open the model, compress its weights, write the same model with them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from tfx_edge import proto
from tfx_edge.components.core.compression.batch_norm import re_estimate
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.loaded_model import LOADED
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training.fine_tuning_options import FineTuningOptions
from tfx_edge.components.core.compression.training.state_owner import owned
from tfx_edge.components.core.compression.training.state_place import state_place
from tfx_edge.components.core.compression.training.user_functions import UserFunctions
from tfx_edge.components.core.compression.weight_summary import WeightSummary, summarize_weights
from tfx_edge.components.core.dense_function.choice import choose_signature, describe
from tfx_edge.components.core.isolation.isolated_process import load_ahead
from tfx_edge.components.core.litert.conversion import saved_model_converter
from tfx_edge.components.core.litert.file.loop_operators import has_loops
from tfx_edge.components.core.signature import Signature
from tfx_edge.components.tfx_interface import artifacts, exec_properties, user_module
from tfx_edge.components.tfx_interface.deployable_model import converting_meanwhile
from tfx_edge.components.training import training_spec
from tfx_edge.components.training.configuration import Configuration
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options
from tfx_edge.components.training.state_folder import state_folder
from tfx_edge.components.training.training_examples import (
    Batches,
    TrainingExamples,
    faults_of_examples,
    find_examples,
)

_LOG = logging.getLogger(__name__)

# Takes a signature's graph, training options and batches (None without examples); returns new values by checkpoint key.
Compress = Callable[[ServingGraph, FineTuningOptions, Batches | None], dict[str, np.ndarray]]


def compress_model(
    input_dict: artifacts.ArtifactDict,
    output_dict: artifacts.ArtifactDict,
    properties: Mapping[str, Any],
    configuration: Configuration,
    compress: Compress,
    write_outputs: Callable[[], None],
    see_file: Callable[[bytes], None] | None = None,
) -> None:
    """Runs one technique on a Model artifact and writes the Model artifact that results.

    The incoming model is converted first, so that no model is trained that cannot become a `.tflite` file.

    Args:
      input_dict: `input_model`, and where given `examples`, `schema` and `transform_graph`.
      output_dict: `model`.
      properties: exec properties of `TrainingSpec`, and the configuration's.
      configuration: of the component.
      compress: the technique.
      write_outputs: writes what else the technique gives out, once the model is there. Where that fails, the model is
        removed, and the training's state stays, with which the next run need not train again.
      see_file: told the float file before training; not called where none is made.

    Raises:
      EdgeError: an input is at fault; nothing is written then.
    """
    saved_model_only = configuration.saved_model_only(properties)
    if not saved_model_only:
        load_ahead(saved_model_converter.convert_signature)
    functions = user_module.user_functions(properties)
    options = fine_tuning_options(
        exec_properties.decode(properties[training_spec.FINE_TUNING], proto.FineTuning),
        has_module=functions != UserFunctions(),
        trains_ranges=configuration.trains_ranges,
    )
    source = artifacts.serving_model_path(
        artifact_utils.get_single_instance(list(input_dict[artifacts.INPUT_MODEL]))
    )
    signature = choose_signature(
        source,
        properties.get(training_spec.SIGNATURE_NAME) or '',
        transform_graph=artifacts.transform_graph_folder(input_dict),
        load=LOADED.load_briefly,
    )
    _LOG.info('compressing signature %r', signature.name)
    output = artifact_utils.get_single_instance(list(output_dict[artifacts.MODEL]))
    place = state_place()
    folder = state_folder(output, source, input_dict, options, properties)
    with owned(folder, patience_seconds=place.patience_seconds if place else 0.0) as state:
        options = dataclasses.replace(
            options,
            functions=functions,
            checkpoint_folder=state,
            checkpoint_saved=place.saved if place else None,
        )
        unless = configuration.saved_model_only_field
        with _file(output, source, signature, unless, saved_model_only=saved_model_only) as file:
            graph = _opened(source, signature, file, trains_ranges=configuration.trains_ranges)
            examples = find_examples(input_dict, graph, options)
            if file is not None:
                converted = file()
                if see_file is not None:
                    see_file(converted)
        values = _compressed(graph, options, examples, compress)
        with artifacts.written_whole(path_utils.serving_model_dir(output.uri)) as folder:
            write_with_values(source, folder, values)
        with artifacts.removed_on_error(path_utils.serving_model_dir(output.uri)):
            output.set_string_custom_property(artifacts.DENSE_FUNCTION, describe(signature))
            _describe(output, summarize_weights(graph, values, configuration.dense_scales(properties)))
            write_outputs()
        if state and fileio.exists(state):
            fileio.rmtree(state)


def _file(
    output: types.Artifact, source: str, signature: Signature, unless: str, *, saved_model_only: bool
) -> contextlib.AbstractContextManager[Callable[[], bytes] | None]:
    """Converts the incoming model to a float file while the step opens the model and its examples."""
    if saved_model_only:
        _LOG.info('%s is set: whether a .tflite file can be made of the model is not found out', unless)
        return contextlib.nullcontext()
    return converting_meanwhile(artifacts.float_files(output), source, signature, unless=unless)


def _opened(
    source: str, signature: Signature, file: Callable[[], bytes] | None, *, trains_ranges: bool
) -> ServingGraph:
    graph = ServingGraph(source, signature, in_float32=trains_ranges)
    if not trains_ranges or file is None or not graph.has_loops or has_loops(file()):
        return graph
    # The converter unrolled the loops; unrolled in the graph too, each iteration has ranges of its own.
    return ServingGraph(source, signature, in_float32=True, unroll_loops=True)


def _compressed(
    graph: ServingGraph, options: FineTuningOptions, examples: TrainingExamples | None, compress: Compress
) -> dict[str, np.ndarray]:
    """New values by checkpoint key."""
    with faults_of_examples(examples):
        batches = None if examples is None else examples.batches()
        if batches is not None:
            options = dataclasses.replace(options, num_examples=batches.num_examples)
        values = compress(graph, options, batches)
        if options.batch_norm_batches:
            assert examples is not None
            values = values | re_estimate(graph, values, examples.batches(), options.batch_norm_batches)
    return values


def _describe(output: types.Artifact, weights: Sequence[WeightSummary]) -> None:
    """Writes a summary of each weight into the artifact's custom properties, for ML Metadata."""
    elements, zeros = sum(w.elements for w in weights), sum(w.zeros for w in weights)
    output.set_float_custom_property('tfx_edge_zeros', zeros / elements if elements else 0.0)
    output.set_int_custom_property('tfx_edge_distinct', max((w.distinct for w in weights), default=0))
    output.set_string_custom_property(
        'tfx_edge_weights', json.dumps([dataclasses.asdict(weight) for weight in weights])
    )
