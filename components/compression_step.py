"""The executors' common course: open the model, compress its weights, write the same model with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from tfx.types import artifact_utils
from tfx.utils import path_utils

from tfx_edge import proto
from tfx_edge.components import artifacts, compression_spec, exec_properties
from tfx_edge.components.core.compression.checkpoint import write_with_values
from tfx_edge.components.core.compression.fine_tuning import FineTuningOptions
from tfx_edge.components.core.compression.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training_data import training_batches
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples import ExampleParser
from tfx_edge.components.core.signature import choose_signature
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
) -> str:
    """Runs one technique on a Model artifact and writes the Model artifact that results.

    Args:
      input_dict: `input_model`, and where given `examples`, `schema` and `transform_graph`.
      output_dict: `model`.
      properties: exec properties of `compression_spec`.
      compress: the technique.

    Returns:
      The name of the signature that was compressed.

    Raises:
      EdgeError: an input is at fault; nothing is written then.
    """
    options = fine_tuning_options(
        exec_properties.decode(properties[compression_spec.FINE_TUNING], proto.FineTuning)
    )
    source = artifacts.serving_model_path(
        artifact_utils.get_single_instance(list(input_dict[artifacts.INPUT_MODEL]))
    )
    signature = choose_signature(source, properties.get(compression_spec.SIGNATURE_NAME) or '')
    _LOG.info('compressing signature %r', signature.name)
    graph = ServingGraph(source, signature)
    values = compress(graph, options, _batches(input_dict, graph, options))
    output = artifact_utils.get_single_instance(list(output_dict[artifacts.MODEL]))
    with artifacts.written_whole(path_utils.serving_model_dir(output.uri)) as folder:
        write_with_values(source, folder, values)
    return signature.name


def _batches(
    input_dict: artifacts.ArtifactDict, graph: ServingGraph, options: FineTuningOptions
) -> Batches | None:
    if not input_dict.get(artifacts.EXAMPLES):
        if options.num_steps:
            raise EdgeError(
                f'FineTuning.num_steps is {options.num_steps}, which needs examples; '
                'give examples, or set num_steps to 0.'
            )
        return None
    for name, spec in graph.signature.inputs.items():
        if spec.shape[0] not in (None, options.batch_size):
            raise EdgeError(
                f'input {name!r} of signature {graph.signature.name!r} takes batches of {spec.shape[0]}; '
                f'expected an open batch dimension. Export the model with one, or set FineTuning.batch_size '
                f'to {spec.shape[0]} (now {options.batch_size}).'
            )
    parser = ExampleParser(
        graph.signature.inputs,
        schema=artifacts.read_schema(input_dict),
        transform_graph=artifacts.transform_graph_folder(input_dict),
        label_key=options.label_key,
    )
    files = artifacts.split_files(input_dict[artifacts.EXAMPLES], options.train_splits)
    return training_batches(files, parser, options.batch_size, options.seed)
