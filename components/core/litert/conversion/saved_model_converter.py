"""TensorFlow's converter, for a process of its own: it can abort that process, and keeps memory with each call.

Call `convert_signature` through `isolation.run_isolated`.
"""

from __future__ import annotations

import collections
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx_edge.components.core.signature import Signature

# Modules that the server imports before it forks a process for these functions.
LOADED_BEFORE = ('tensorflow',)


def convert_signature(
    saved_model_dir: str, signature: Signature | str, *, frozen: bool, in_float32: bool = False
) -> tuple[bytes, set[str]]:
    """Converts one signature of a SavedModel.

    Args:
      saved_model_dir: the folder of the SavedModel.
      signature: of `choose_signature`, or the name of one of its signatures.
      frozen: make its variables constants first; this is always done where `signature` is a part of an exported one.
      in_float32: compute in float32 what it computes in other floating types, inputs and outputs included.

    Returns:
      The converter's file, and the names of all nodes of the graph that was converted.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix='tfx_edge_frozen_') as folder:
        if frozen or not _is_whole(signature):
            _freeze(saved_model_dir, signature, folder, in_float32=in_float32)
            saved_model_dir = folder
        keys = [name_of(signature)]
        converter = tf.lite.TFLiteConverter.from_saved_model(saved_model_dir, signature_keys=keys)
        return bytes(converter.convert()), _node_names(saved_model_dir)


def convert_unrolled(saved_model_dir: str, signature: Signature | str) -> tuple[bytes, set[str]] | None:
    """`convert_signature` with loops over steps unrolled, for an open batch; None where they cannot be unrolled."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix='tfx_edge_unrolled_') as folder:
        if not _freeze(saved_model_dir, signature, folder, unrolled=True):
            return None
        keys = [name_of(signature)]
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=keys)
        return bytes(converter.convert()), _node_names(folder)


def _node_names(saved_model_dir: str) -> set[str]:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    with tf.io.gfile.GFile(os.path.join(saved_model_dir, 'saved_model.pb'), 'rb') as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    graphs = [meta_graph.graph_def for meta_graph in saved_model.meta_graphs]
    bodies = [graph.node for graph in graphs]
    bodies += [function.node_def for graph in graphs for function in graph.library.function]
    return {node.name for body in bodies for node in body}


def name_of(signature: Signature | str) -> str:
    """The name of a signature that is given whole or by its name."""
    return signature if isinstance(signature, str) else signature.name


def _is_whole(signature: Signature | str) -> bool:
    return isinstance(signature, str) or signature.source is None


def _freeze(
    saved_model_dir: str,
    signature: Signature | str,
    folder: str,
    *,
    in_float32: bool = False,
    unrolled: bool = False,
) -> bool:
    """Writes the signature as a SavedModel of its own, in which variables are constants.

    Returns:
      False where `unrolled` is set and the loops cannot be unrolled; nothing is written then.
    """
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    from tfx_edge.components.core.dense_function.concrete_function import dense_function
    from tfx_edge.components.core.dense_function.signature_arguments import keywords
    from tfx_edge.components.core.saved_variables import load_saved_model
    from tfx_edge.components.core.signature import read_signatures

    loaded = load_saved_model(saved_model_dir)  # kept: its variables are deleted with it
    if isinstance(signature, str):
        signature = read_signatures(saved_model_dir)[signature]
    function = dense_function(loaded, signature)
    specs = function.structured_input_signature[1]
    keyword = keywords(function, signature.inputs)
    # Keyword arguments and dicts are flattened in order of name.
    names, results = sorted(keyword, key=keyword.__getitem__), sorted(function.structured_outputs)
    inputs = [tf.TensorSpec(specs[keyword[n]].shape, specs[keyword[n]].dtype, name=n) for n in names]

    def call(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(**{keyword[name]: value for name, value in zip(names, values, strict=True)})

    concrete = tf.function(call, input_signature=inputs).get_concrete_function()
    frozen = convert_to_constants.convert_variables_to_constants_v2(
        concrete, lower_control_flow=False, aggressive_inlining=unrolled
    )
    frozen = _rewritten(concrete, frozen)
    if in_float32:
        frozen = _as_float32(frozen)
        inputs = [
            tf.TensorSpec(spec.shape, tf.float32 if spec.dtype.is_floating else spec.dtype, spec.name)
            for spec in inputs
        ]
    flat = _unrolled(frozen) if unrolled else frozen
    if flat is None:
        return False

    def call_frozen(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(results, flat(*values), strict=True))

    module = tf.Module()
    module.call = tf.function(call_frozen, input_signature=inputs)
    tf.saved_model.save(module, folder, signatures={signature.name: module.call})
    return True


def _unrolled(frozen: Any) -> Callable[..., list[Any]] | None:
    """A frozen function with its loops over steps unrolled; None where they cannot be."""
    import tensorflow as tf

    from tfx_edge.components.core.loops.unrolling import unroll

    graph_def = unroll(frozen.graph.as_graph_def())
    if graph_def is None:
        return None
    outputs = [tensor.name for tensor in frozen.outputs]
    # Drops the operations that made the loops' lists, which nothing reads any more.
    graph_def = tf.compat.v1.graph_util.extract_sub_graph(graph_def, [name.split(':')[0] for name in outputs])
    _shorten_names(graph_def)
    present = {node.name for node in graph_def.node}

    def call(*values: Any) -> list[Any]:
        given = zip(frozen.inputs, values, strict=True)
        mapping = {tensor.name: value for tensor, value in given if tensor.op.name in present}
        return tf.graph_util.import_graph_def(graph_def, mapping, outputs, name='unrolled')

    return call


def _shorten_names(graph_def: Any) -> None:
    """Removes the names of inlined calls from the front of node names, where the names stay unique."""
    short = {
        node.name: re.sub(r'^(?:(?:Stateful)?PartitionedCall/)+', '', node.name) for node in graph_def.node
    }
    times = collections.Counter(short.values())
    names = {name: found if times[found] == 1 else name for name, found in short.items()}
    for node in graph_def.node:
        node.name = names[node.name]
        node.input[:] = [
            re.sub(r'[^^:]+', lambda found: names[found[0]], name, count=1) for name in node.input
        ]


def _rewritten(concrete: Any, frozen: Any) -> Any:
    """A frozen function whose preprocessing is in operators that LiteRT has; `frozen` itself where it has them."""
    from tensorflow.python.framework import convert_to_constants

    from tfx_edge.components.core.preprocessing import rewriting

    if not rewriting.has_rewritten(frozen.graph.as_graph_def()):
        return frozen
    inlined = convert_to_constants.convert_variables_to_constants_v2(
        concrete, lower_control_flow=False, aggressive_inlining=True
    )
    count = len(concrete.inputs) - len(concrete.captured_inputs)
    captured = {tensor.op.name: tensor for tensor in concrete.inputs[count:]}
    given = dict(zip(captured, concrete.captured_inputs, strict=True))
    graph_def = rewriting.rewritten(inlined.graph.as_graph_def(), given)
    _shorten_names(graph_def)
    return _as_function(graph_def, inlined.inputs[:count], inlined.outputs)


def _as_float32(function: Any) -> Any:
    """A function without variables that computes in float32."""
    from tfx_edge.components.core import float32_graph

    graph_def = float32_graph.in_float32(function.graph.as_graph_def())
    return _as_function(graph_def, function.inputs, function.outputs)


def _as_function(graph_def: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """A graph as a function; its inputs and outputs are the tensors with the names of the given ones."""
    import tensorflow as tf

    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=''), [])
    ends = ([tensor.name for tensor in tensors] for tensors in (inputs, outputs))
    return whole.prune(*(tf.nest.map_structure(whole.graph.get_tensor_by_name, names) for names in ends))
