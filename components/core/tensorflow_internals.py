"""The adapter for functions that TensorFlow has but does not export."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2
from tensorflow.core.protobuf import fingerprint_pb2

from tfx_edge.components.core.version_differences import set_content_id


def inlined_graph(function: Any) -> graph_pb2.GraphDef:
    """A concrete function's graph with every function call inlined and its variables kept.

    While and If keep their bodies as functions.

    Args:
      function: a `tf.types.experimental.ConcreteFunction`.

    Returns:
      A GraphDef whose placeholders are the function's inputs and captures, by their names.
    """
    from tensorflow.python.framework import convert_to_constants

    return convert_to_constants._run_inline_graph_optimization(
        function, lower_control_flow=False, aggressive_inlining=True
    )


def function_as_graph(function: function_pb2.FunctionDef) -> tuple[graph_pb2.GraphDef, dict[str, str]]:
    """A function's body with the tensor names of a graph.

    Args:
      function: registered with the runtime, as the functions that it calls.

    Returns:
      A graph with a placeholder for each argument, and the graph's tensor name by that of the function.
    """
    from tensorflow.python.framework import function_def_to_graph

    return function_def_to_graph.function_def_to_graph_def(function)


def register_functions(library: function_pb2.FunctionDefLibrary) -> None:
    """Makes functions known to TensorFlow's runtime, which looks the bodies of imported loops up there.

    Args:
      library: functions whose names no others have.
    """
    from tensorflow.python.eager import context

    runtime = context.context()
    runtime.ensure_initialized()
    for function in library.function:
        if not runtime.has_function(function.signature.name):
            runtime.add_function_def(function)


def write_fingerprint(saved_model_dir: str) -> None:
    """Writes `fingerprint.pb` for a SavedModel, with an id that follows from its content.

    TensorFlow draws the id at random; the same model is to have the same bytes.
    """
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    fingerprint = fingerprint_pb2.FingerprintDef.FromString(
        fingerprinting.CreateFingerprintDef(saved_model_dir)
    )
    set_content_id(fingerprint)
    with tf.io.gfile.GFile(os.path.join(saved_model_dir, 'fingerprint.pb'), 'wb') as file:
        file.write(fingerprint.SerializeToString(deterministic=True))
