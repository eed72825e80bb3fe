"""Which layers hold the operators that the converter refuses, by the names that their author gave them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import tensorflow as tf

from tfx_edge.components.core.signature import read_saved_model

_FAULT = re.compile(r"^loc\((?P<place>.*)\): error: 'tfl?\.(?P<operator>\w+)' op ", re.MULTILINE)
# Innermost first: an operation, then the calls that it is in.
_PLACE = re.compile(r'fused\["\w*:", "([^"@]*)')
_CALL = re.compile(r'(Stateful)?PartitionedCall(_\d+)?$')
_NUMBERED = re.compile(r'(.+)_\d+$')
# Scopes that TensorFlow opens.
_NO_LAYERS = ('cond', 'map', 'while')
# Keras 2 alone writes these: an edge of the object graph, and a file with its layers' names where it saved the model.
_EDGE, _METADATA = 'keras_api', 'keras_metadata.pb'
_NAME = re.compile(rb'"name": "([^"\\]+)"')


def blamed_layers(saved_model_dir: str, printed: str, operators: Collection[str]) -> str:
    """Names the layers in which the converter refuses operators.

    Args:
      saved_model_dir: the folder of the SavedModel.
      printed: what the converter printed.
      operators: the refused operators to look for; empty for all.

    Returns:
      Such as "in layer 'whitening' (model/whitening)"; '' where no operator lies in a layer.

    Example:
      >>> blamed_layers(folder, printed, ['MatrixInverse'])
      "in layer 'whitening' (functional_1/whitening_1)"
    """
    faults = list(_FAULT.finditer(printed))
    if not faults:
        return ''
    known, numbered = _known_names(saved_model_dir), not _is_keras_2(saved_model_dir)
    found: dict[str, None] = {}
    for fault in faults:
        scopes = _scopes(fault['place'])
        layer = _layer(scopes, known, numbered=numbered)
        if layer and (not operators or fault['operator'] in operators):
            depth, name = layer
            found[f'{name!r} ({"/".join(scopes[: depth + 1])})'] = None
    return f'in layer{"s" if len(found) > 1 else ""} {", ".join(found)}' if found else ''


def _scopes(place: str) -> list[str]:
    """The scopes around an operation, the outermost first, without those of calls."""
    names = '/'.join(reversed(_PLACE.findall(place))).split('/')[:-1]
    return [name for name in names if not _CALL.match(name)]


def _layer(scopes: Sequence[str], known: Collection[str], *, numbered: bool) -> tuple[int, str] | None:
    """Which scope is that of the innermost layer, as far as it is known, and the layer's name."""
    for depth in range(len(scopes) - 1, 0, -1):
        if scopes[depth] in known:
            return depth, scopes[depth]
    if len(scopes) < 2 or scopes[1] in _NO_LAYERS:  # the first is the model's
        return None
    # Keras 3 opens the scope of each model and layer twice, which gives the second a number. Scopes within have none.
    depth = 0
    while numbered and depth < len(scopes) and _NUMBERED.match(scopes[depth]):
        depth += 1
    if depth < 2:
        return 1, scopes[1]
    return depth - 1, _NUMBERED.sub(r'\1', scopes[depth - 1])


def _known_names(saved_model_dir: str) -> set[str]:
    """The names of a model's layers, where they are written beside it."""
    path = f'{saved_model_dir}/{_METADATA}'
    if not tf.io.gfile.exists(path):
        return set()
    with tf.io.gfile.GFile(path, 'rb') as file:
        return {name.decode() for name in _NAME.findall(file.read())}


def _is_keras_2(saved_model_dir: str) -> bool:
    nodes = read_saved_model(saved_model_dir).meta_graphs[0].object_graph_def.nodes
    return any(child.local_name == _EDGE for node in nodes for child in node.children)
