"""Loads SavedModels, and names what cannot be loaded: damaged variables, or operators that TensorFlow does not have."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.signature import read_saved_model
from tfx_edge.components.core.unknown_operators import unknown_operator

_VARIABLES = ('VarHandleOp', 'Variable', 'VariableV2')
# What TensorFlow raises for files that are cut off, changed, of another kind, or gone.
FAULTS = (tf.errors.OpError, IndexError, RuntimeError, ValueError, OSError)


def load_saved_model(saved_model_dir: str) -> Any:
    """`tf.saved_model.load`; a variable that cannot be read, or an unknown operator, is named in one line.

    Args:
      saved_model_dir: the folder of the SavedModel.

    Returns:
      What `tf.saved_model.load` returns.

    Raises:
      EdgeError: a variable cannot be read, or TensorFlow does not have an operator.

    Example:
      >>> sorted(load_saved_model('/models/digits').signatures)
      ['serve', 'serving_default']
    """
    with unreadable_variables_named(saved_model_dir):
        return tf.saved_model.load(saved_model_dir)


@contextlib.contextmanager
def unreadable_variables_named(saved_model_dir: str) -> Iterator[None]:
    """Where the block fails and a variable cannot be read, or an operator is unknown, the error names that.

    Args:
      saved_model_dir: the folder of the SavedModel that the block reads.

    Raises:
      EdgeError: a variable cannot be read.

    Example:
      >>> with unreadable_variables_named('/models/digits'):
      ...   loaded = tf.saved_model.load('/models/digits')
    """
    try:
        yield
    except Exception as error:
        if unknown := unknown_operator(saved_model_dir, str(error)):
            raise unknown from error
        require_readable_variables(saved_model_dir)
        raise


def require_readable_variables(saved_model_dir: str) -> None:
    """Reads all variables of a SavedModel, checksums included.

    Args:
      saved_model_dir: the folder of the SavedModel.

    Raises:
      EdgeError: one cannot be read; it is named, with the reason.

    Example:
      >>> require_readable_variables('/models/digits')
    """
    if not _has_variables(saved_model_dir):
        return
    fault = why_unreadable(os.path.join(saved_model_dir, 'variables', 'variables'))
    if fault:
        raise EdgeError(
            f'the variables of the SavedModel in {saved_model_dir} cannot be read ({fault}); copy the whole folder '
            'again, or export the model again.'
        )


def why_unreadable(prefix: str) -> str:
    """Why the tensors of a checkpoint cannot be read; '' where all can.

    Args:
      prefix: path of the checkpoint, without `.index`.

    Example:
      >>> why_unreadable('/models/gone/variables/variables')
      '/models/gone/variables/variables.index is not there'
    """
    index = f'{prefix}.index'
    if not tf.io.gfile.exists(index):
        return f'{index} is not there'
    name = ''
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in sorted(reader.get_variable_to_shape_map()):
            reader.get_tensor(name)
    except FAULTS as error:
        what = f'{_shown(name)!r} in {prefix}' if name else index
        return f'{what}: {_first_line(error)}'
    return ''


def _has_variables(saved_model_dir: str) -> bool:
    meta_graph = read_saved_model(saved_model_dir).meta_graphs[0]
    nodes = [node for node in meta_graph.object_graph_def.nodes if node.HasField('variable')]
    return bool(nodes) or any(node.op in _VARIABLES for node in meta_graph.graph_def.node)


def _shown(key: str) -> str:
    return key.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE')


def _first_line(error: BaseException) -> str:
    lines = str(getattr(error, 'message', '') or error).splitlines() or [type(error).__name__]
    return lines[0].strip()
