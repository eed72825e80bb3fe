"""SavedModel in, float `.tflite` out, in a process of its own.

TensorFlow's converter can abort its process (an LLVM error that no `except` sees), and keeps memory with each
call. So `python -m tfx_edge.components.core.litert.convert SAVED_MODEL SIGNATURE OUTPUT` does the work.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from tfx_edge.components.core.errors import EdgeError

_LOG = logging.getLogger(__name__)
_VARIABLE_OPERATORS = ('VAR_HANDLE', 'READ_VARIABLE', 'ASSIGN_VARIABLE', 'CALL_ONCE')


def convert_saved_model(saved_model_dir: str, signature_name: str) -> bytes:
    """Converts one signature of a SavedModel to a float32 `.tflite` file.

    The file holds that signature with its input and output names. Tensor names are unique, and the same for
    the same graph with other weights. The same SavedModel gives the same bytes wherever it lies, and on every
    supported version of TensorFlow.

    Args:
      saved_model_dir: the folder of the SavedModel.
      signature_name: one of its signatures.

    Returns:
      The file's bytes.

    Raises:
      EdgeError: it cannot be converted; the message holds the converter's own.

    Example:
      >>> model = convert_saved_model('/models/digits', 'serving_default')
    """
    # Imported here: the child process needs none of it.
    from tfx_edge.components.core.litert import canonical

    _LOG.info('converting signature %r to a float .tflite file', signature_name)
    with tempfile.TemporaryDirectory(prefix='tfx_edge_convert_') as folder:
        direct, frozen = pathlib.Path(folder) / 'direct.tflite', pathlib.Path(folder) / 'frozen.tflite'
        done = _run(saved_model_dir, signature_name, direct, 'direct')
        if _is_stateless(direct):
            return canonical.canonical_form(direct.read_bytes(), _nodes(direct))
        if not (fault := _missing_kernels(done)):
            # A Keras 3 model behind tf.saved_model.save: the converter does not find its variables, and aborts
            # (TensorFlow 2.16) or makes a file that reads variables which nothing sets (2.21).
            done_frozen = _run(saved_model_dir, signature_name, frozen, 'frozen')
            if _is_stateless(frozen):
                return canonical.canonical_form(frozen.read_bytes(), _nodes(frozen))
            fault = _missing_kernels(done_frozen)
        reason = f'LiteRT has no kernel for {fault}' if fault else _reason(done)
    raise EdgeError(
        f'signature {signature_name!r} of {saved_model_dir} cannot be converted to .tflite ({reason}). '
        'Replace the operators or layers that LiteRT lacks, and export the model again.'
    )


def _is_stateless(file: pathlib.Path) -> bool:
    """Whether a file is there, and reads no variable."""
    from tfx_edge.components.core.litert import flatbuffer

    if not file.exists():
        return False
    content = flatbuffer.read(file.read_bytes())
    operators = [o for graph in content.subgraphs for o in graph.operators]
    return not any(flatbuffer.operator_name(content, o) in _VARIABLE_OPERATORS for o in operators)


def _nodes(file: pathlib.Path) -> set[str]:
    """The names of the graph's nodes, which the child wrote beside the file."""
    return set(json.loads(file.with_suffix('.json').read_text()))


def _run(
    saved_model_dir: str, signature_name: str, output: pathlib.Path, how: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', __name__, saved_model_dir, signature_name, str(output), how]
    environment = {
        **os.environ,
        'TF_CPP_MIN_LOG_LEVEL': '2',
        # TFX sets this to 1 for its children, which would load a Keras 3 model with tf_keras.
        'TF_USE_LEGACY_KERAS': '0',
        'CUDA_VISIBLE_DEVICES': '-1',
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors='replace')


def _missing_kernels(done: subprocess.CompletedProcess[str]) -> str:
    """The TensorFlow operators that LiteRT has no kernel for, or ''."""
    found = re.search(r'(?:TF Select|Flex|Custom) ops: (.*)', done.stderr)
    return found[1].strip() if found else ''


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The line of the converter's output that says most."""
    if done.returncode == 0:
        return 'it keeps state in variables'
    lines = [' '.join(line.split()) for line in done.stderr.splitlines() if line.strip()]
    for pattern in (r'LLVM ERROR', r'error:', r'^[\w.]*(Error|Exception)\b'):
        for line in reversed(lines):
            if re.search(pattern, line):
                return line[-300:]
    return lines[-1][-300:] if lines else f'exit status {done.returncode}'


def _convert(saved_model_dir: str, signature_name: str, output: str, how: str) -> None:
    """What the child process does."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix='tfx_edge_frozen_') as folder:
        if how == 'frozen':
            _freeze(saved_model_dir, signature_name, folder)
            saved_model_dir = folder
        converter = tf.lite.TFLiteConverter.from_saved_model(saved_model_dir, signature_keys=[signature_name])
        converted = converter.convert()
        pathlib.Path(output).with_suffix('.json').write_text(json.dumps(_node_names(saved_model_dir)))
    # Renamed when whole: that it is there tells the parent that all went well.
    draft = pathlib.Path(f'{output}.unfinished')
    draft.write_bytes(converted)
    draft.rename(output)


def _node_names(saved_model_dir: str) -> list[str]:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    with tf.io.gfile.GFile(os.path.join(saved_model_dir, 'saved_model.pb'), 'rb') as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    graphs = [meta_graph.graph_def for meta_graph in saved_model.meta_graphs]
    bodies = [graph.node for graph in graphs]
    bodies += [function.node_def for graph in graphs for function in graph.library.function]
    return sorted({node.name for body in bodies for node in body})


def _freeze(saved_model_dir: str, signature_name: str, folder: str) -> None:
    """Writes the signature as a SavedModel of its own, in which variables are constants."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    loaded = tf.saved_model.load(saved_model_dir)  # its variables live as long as it does
    signature = loaded.signatures[signature_name]
    specs = signature.structured_input_signature[1]
    # Keyword arguments and dicts are flattened in order of name.
    names, results = sorted(specs), sorted(signature.structured_outputs)
    inputs = [tf.TensorSpec(specs[name].shape, specs[name].dtype, name=name) for name in names]

    def call(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature(**dict(zip(names, values, strict=True)))

    concrete = tf.function(call, input_signature=inputs).get_concrete_function()
    frozen = convert_to_constants.convert_variables_to_constants_v2(concrete, lower_control_flow=False)

    def call_frozen(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(results, frozen(*values), strict=True))

    module = tf.Module()
    module.call = tf.function(call_frozen, input_signature=inputs)
    tf.saved_model.save(module, folder, signatures={signature_name: module.call})


if __name__ == '__main__':
    _convert(*sys.argv[1:])
