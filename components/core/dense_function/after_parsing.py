"""The dense function behind a signature of serialized tf.Examples or other strings."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from tfx_edge.components.core.dense_function.feature_names import Features
from tfx_edge.components.core.dense_function.flat_graph import captured_tensors, flat_graph
from tfx_edge.components.core.dense_function.signature_arguments import signature_tensors
from tfx_edge.components.core.dense_function.string_cut import Cut, cut_behind_strings
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.signature import Preparing, Signature, Source, TensorSpec, why_not_dense
from tfx_edge.components.core.tensor_names import producer

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Input:
    """An input of the dense function: the tensor that it replaces in the graph, and the features of that tensor."""

    name: str
    tensor: tf.Tensor
    spec: TensorSpec
    features: tuple[tf.Tensor, ...]

    @property
    def is_made_of_words(self) -> bool:
        return self.tensor.op.name != self.features[0].op.name and any(
            feature.dtype == tf.string for feature in self.features
        )


def function_behind_strings(
    loaded: Any, signature: Signature, meta_graph: meta_graph_pb2.MetaGraphDef, transform_graph: str | None
) -> Signature:
    """Takes the part of a signature's graph that follows parsing, decoding and Transform.

    Args:
      loaded: what `tf.saved_model.load` made of the SavedModel.
      signature: with an input of strings.
      meta_graph: of the SavedModel.
      transform_graph: folder of the transform graph that the Trainer was given, or None.

    Returns:
      The dense part. Its inputs have the names of features, its outputs are the signature's numeric ones.

    Raises:
      EdgeError: there is no dense part; the message is a clause, from which the caller makes a sentence.
    """
    if not any(spec.dtype == tf.string for spec in signature.inputs.values()):
        raise EdgeError('it takes no strings that are parsed into something dense')
    whole = loaded.signatures[signature.name]
    inputs, outputs = signature_tensors(whole, signature.inputs)
    graph_def = flat_graph(whole)
    cut = cut_behind_strings(graph_def, inputs.values(), _variables(whole), outputs)
    if not cut.outputs or not cut.has_weights:
        raise EdgeError('no number that it answers is made by weights behind its strings')
    functions = {function.signature.name: function for function in graph_def.library.function}
    given = {tensor.split(':')[0]: name for name, tensor in inputs.items()}
    features = Features(functions, meta_graph, transform_graph, given)
    named = _named(cut, features, meta_graph)
    source = Source(
        tuple((entry.name, entry.tensor.name) for entry in named),
        tuple((name, tensor.name) for name, tensor in sorted(cut.outputs.items())),
        batch_sizes=cut.batch_sizes,
        preparing=_preparing(named, features, signature),
    )
    found = Signature(
        signature.name,
        {entry.name: entry.spec for entry in named},
        {name: signature.outputs[name] for name in cut.outputs},
        source,
    )
    if fault := why_not_dense(found):
        raise EdgeError(f'{fault} where it becomes dense')
    if cut.strings:
        _LOG.info(
            'outputs of signature %r that are no numbers, or no result of the weights, are left out: %s',
            signature.name,
            ', '.join(map(repr, cut.strings)),
        )
    return found


def _variables(function: Any) -> set[str]:
    """The placeholders of a function that stand for variables."""
    handles = {id(variable.handle) for variable in function.variables}
    return {producer(name) for name, value in captured_tensors(function).items() if id(value) in handles}


def _named(cut: Cut, features: Features, meta_graph: meta_graph_pb2.MetaGraphDef) -> list[_Input]:
    """The inputs of the dense part, in the order of their names."""
    found: dict[str, _Input] = {}
    for origin, tensor in zip(cut.origins, cut.inputs, strict=True):
        behind = features.behind(origin)
        names = {features.name(feature) for feature in behind}
        name, given = next(iter(names)) if len({name for name, _ in names}) == 1 else ('', None)
        if not name:
            raise EdgeError(
                f'nothing names the feature that {tensor.name!r} is, where it becomes dense; give the transform_graph '
                'that the Trainer was given'
            )
        if name in found:
            raise EdgeError(
                f'feature {name!r} reaches the weights in two ways, {found[name].tensor.name!r} and {tensor.name!r}'
            )
        is_feature = behind[0].op is _without_identities(origin).op
        spec = _spec(tensor, given if is_feature else None, meta_graph)
        found[name] = _Input(name, tensor, spec, tuple(behind))
    return [found[name] for name in sorted(found)]


def _without_identities(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type == 'Identity':
        tensor = tensor.op.inputs[0]
    return tensor


def _preparing(inputs: Sequence[_Input], features: Features, signature: Signature) -> Preparing | None:
    """What is to run before the dense part, where features are words or encoded images; None where they are numbers."""
    if not any(entry.is_made_of_words for entry in inputs):
        return None
    sources = {feature.name: feature for entry in inputs for feature in entry.features}
    if all(features.is_parsed(feature) for feature in sources.values()):
        (examples,) = (name for name, spec in signature.inputs.items() if spec.dtype == tf.string)
        return Preparing(examples=examples)
    if any(features.is_parsed(feature) for feature in sources.values()):
        raise EdgeError('some of its features are made by Transform and others are not')
    places, specs = [], []
    for tensor, feature in sorted(sources.items()):
        name, given = features.name(feature)
        spec = given or signature.inputs[name]
        if not spec.has_rank or None in spec.shape[1:]:
            raise EdgeError(f'feature {name!r} has no fixed number of values')
        places.append((name, tensor))
        specs.append((name, spec))
    return Preparing(features=tuple(specs), places=tuple(places))


def _spec(tensor: tf.Tensor, given: TensorSpec | None, meta_graph: meta_graph_pb2.MetaGraphDef) -> TensorSpec:
    shape = tensor.shape
    if shape.rank is None and given is not None and given.has_rank:
        shape = tf.TensorShape(given.shape)
    if shape.rank is None:
        shape = _saved_shape(tensor, meta_graph)
    return TensorSpec((None, *shape[1:]) if shape.rank else (), tensor.dtype, shape.rank is not None)


def _saved_shape(tensor: tf.Tensor, meta_graph: meta_graph_pb2.MetaGraphDef) -> tf.TensorShape:
    """The shape that the SavedModel records for a tensor, which loading drops; unknown where it records several."""
    shapes = {
        str(noted[tensor.value_index]): noted[tensor.value_index]
        for function in meta_graph.graph_def.library.function
        for node in function.node_def
        if tensor.op.name.endswith(f'/{node.name}') and node.op == tensor.op.type
        for noted in [node.attr['_output_shapes'].list.shape]
        if len(noted) > tensor.value_index
    }
    return tf.TensorShape(next(iter(shapes.values()))) if len(shapes) == 1 else tf.TensorShape(None)
