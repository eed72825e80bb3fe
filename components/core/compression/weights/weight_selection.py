"""Which weights of a model a technique takes: by name, and by what a sparse kernel can run."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from tfx_edge.components.core.compression.graph.serving_graph import GraphVariable, ServingGraph
from tfx_edge.components.core.compression.weights.folded_scale import tensor
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, weight_uses
from tfx_edge.components.core.errors import EdgeError


def select_weight_sites(
    sites: Sequence[WeightSite], include: Sequence[str], exclude: Sequence[str], purpose: str
) -> tuple[WeightSite, ...]:
    """The sites whose variable name matches an `include` (any, when there is none) and no `exclude`.

    Raises:
      EdgeError: nothing is selected; the message names what there was.
    """
    selected = tuple(
        site
        for site in sites
        if (not include or any(re.search(pattern, site.variable.name) for pattern in include))
        and not any(re.search(pattern, site.variable.name) for pattern in exclude)
    )
    if selected:
        return selected
    if not sites:
        raise EdgeError(
            f'the model has no weight to {purpose}: no trainable kernel of a convolution or matrix product '
            'and no table was found. Export the model with its variables (not frozen to constants).'
        )
    found = ', '.join(site.variable.name for site in sites)
    raise EdgeError(
        f'include and exclude leave no weight to {purpose} (found: {found}); correct the patterns.'
    )


def select_pointwise_sites(graph: ServingGraph, sites: Sequence[WeightSite]) -> tuple[WeightSite, ...]:
    """The sites that XNNPACK's sparse inference in LiteRT can run: kernels of 1x1 convolutions.

    Its README ("Sparse Inference", tensorflow/lite/delegates/xnnpack/README.md of TensorFlow) and
    `PruneForLatencyOnXNNPack` of TensorFlow Model Optimization name Conv2D with a 1x1 kernel, stride 1,
    no dilation, no padding and one group (Elsen et al., 2019, arXiv:1911.09723).

    Raises:
      EdgeError: there is none; the message names the convolutions there were.
    """
    uses: dict[str, list[bool]] = {}
    for scope, node, site in weight_uses(graph):
        is_pointwise = not scope.is_body and _is_pointwise(graph, node, site.variable)
        uses.setdefault(site.variable.key, []).append(is_pointwise)
    pointwise = tuple(site for site in sites if all(uses[site.variable.key]))
    if pointwise:
        return pointwise
    found = [
        f'{site.variable.name} {"x".join(map(str, site.variable.value.shape))}'
        for site in sites
        if 'Conv' in site.op
    ]
    raise EdgeError(
        'policy XNNPACK leaves no weight to prune: it takes kernels of 1x1 Conv2D with stride 1, no dilation '
        f'and one group (convolutions found: {", ".join(found) or "none"}); use policy ALL.'
    )


def _is_pointwise(graph: ServingGraph, node: node_def_pb2.NodeDef, variable: GraphVariable) -> bool:
    kernel = variable.value.shape
    if node.op != 'Conv2D' or len(kernel) != 4 or kernel[:2] != (1, 1):
        return False
    if {*node.attr['strides'].list.i, *node.attr['dilations'].list.i} - {1}:
        return False
    if any(node.attr['explicit_paddings'].list.i):
        return False
    channel = 1 if node.attr['data_format'].s == b'NCHW' else 3
    name = tensor(node.input[0])
    inputs = {key: tf.TensorSpec(spec.shape, spec.dtype) for key, spec in graph.signature.inputs.items()}
    traced = tf.function(lambda given: graph.call(given, {}, [name]), autograph=False)
    return traced.get_concrete_function(inputs).outputs[0].shape[channel] == kernel[2]
