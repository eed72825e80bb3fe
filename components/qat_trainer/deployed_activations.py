"""What the deployed file quantizes, told in terms of the graph that is trained."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.compression.activation_quantization import SimulatedActivation
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.graph.tensor_matching import match_tensors
from tfx_edge.components.core.litert.activation_reader import ActivationReader
from tfx_edge.components.core.litert.activations import ActivationTensor, quantized_activations
from tfx_edge.components.core.litert.convert import convert_saved_model

_LOG = logging.getLogger(__name__)
# What LiteRT runs at once.
_ROWS = 8


@dataclasses.dataclass(frozen=True)
class DeployedActivations:
    """The activations of the deployed file: those simulated in training, and those that are not."""

    simulated: tuple[SimulatedActivation, ...]
    unmatched: tuple[ActivationTensor, ...]


def deployed_activations(graph: ServingGraph, batch: Mapping[str, np.ndarray]) -> DeployedActivations:
    """Converts the incoming model, and finds in its graph the tensors that the file quantizes.

    Args:
      graph: the incoming signature.
      batch: real inputs by name, by whose values tensors are told apart.

    Returns:
      The activations; those without a counterpart in the graph are named in the log.
    """
    inputs = {name: batch[name][:_ROWS] for name in graph.inputs}
    model = convert_saved_model(graph.folder, graph.signature.name)
    activations = quantized_activations(model)
    values = ActivationReader(model)(inputs)
    matches = match_tensors(graph, inputs, {a.name: values[a.name] for a in activations if a.name in values})
    simulated = tuple(
        SimulatedActivation(a.name, matches[a.name], a.group, a.fixed)
        for a in activations
        if a.name in matches
    )
    unmatched = tuple(a for a in activations if a.name not in matches)
    for activation in unmatched:
        _LOG.info('activation %r has no counterpart in the graph; it is trained in float', activation.name)
    return DeployedActivations(simulated, unmatched)


def calibration_ranges(
    deployed: DeployedActivations,
    trained: Mapping[str, tuple[float, float]],
    model_folder: str,
    signature_name: str,
    batches: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, tuple[float, float]]:
    """The range of each activation by its name in the deployed file.

    Args:
      deployed: of `deployed_activations`.
      trained: ranges by group.
      model_folder: the trained SavedModel, on which activations that were not simulated are observed.
      signature_name: of its signature.
      batches: inputs to observe them on.

    Returns:
      (min, max) by tensor name, for every activation whose range is not fixed by its arithmetic.
    """
    ranges = {a.name: trained[a.group] for a in deployed.simulated if a.fixed is None}
    observed = [a for a in deployed.unmatched if a.fixed is None]
    alone = [a for a in observed if a.group not in trained]
    ranges.update({a.name: trained[a.group] for a in observed if a.group in trained})
    if not alone:
        return ranges
    reader = ActivationReader(convert_saved_model(model_folder, signature_name))
    for batch in batches:
        for start in range(0, len(next(iter(batch.values()))), _ROWS):
            values = reader({name: rows[start : start + _ROWS] for name, rows in batch.items()})
            for activation in alone:
                value = values[activation.name]
                low, high = ranges.get(activation.name, (np.inf, -np.inf))
                ranges[activation.name] = (min(low, float(value.min())), max(high, float(value.max())))
    return ranges
