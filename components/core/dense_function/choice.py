"""Which function of a SavedModel is compressed, calibrated and converted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfx_edge.components.core.dense_function.after_parsing import function_behind_strings
from tfx_edge.components.core.dense_function.keras_dense_function import (
    function_of_keras,
    same_of_keras,
    used_part,
)
from tfx_edge.components.core.dense_function.keras_functions import names_of_keras_functions
from tfx_edge.components.core.dense_function.signature_arguments import signature_tensors
from tfx_edge.components.core.dense_function.unused_inputs import unused_inputs
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.log_once import log_once
from tfx_edge.components.core.signature import Signature, read_saved_model, read_signatures, why_not_dense

_LOG = logging.getLogger(__name__)

_DEFAULT = 'serving_default'

Load = Callable[[str], Any]


def choose_signature(
    saved_model_dir: str,
    signature_name: str = '',
    *,
    transform_graph: str | None = None,
    load: Load = tf.saved_model.load,
) -> Signature:
    """The dense function to work on: it takes numbers, in shapes that are fixed except for the batch.

    Takes the first that exists of: a dense signature ('serving_default', then by name); the part of a signature with
    string inputs, such as serialized tf.Examples, that follows parsing, decoding and Transform; a function that Keras
    saved beside the signatures. A choice among several is logged, as a warning where there is no dense
    'serving_default'. Inputs that no output depends on are left out.

    Args:
      saved_model_dir: the folder of the SavedModel.
      signature_name: of a signature (dense or with string inputs) or of a function that Keras saved; '' to choose.
      transform_graph: folder of the transform graph that the Trainer was given, or None; it names Transform's
        outputs where the SavedModel does not.
      load: `tf.saved_model.load`, or what returns the same; not called for a dense signature that uses all its inputs.

    Returns:
      The signature, or the part of it that is dense, under its name.

    Raises:
      EdgeError: no such signature, or there is no dense function in it.

    Example:
      >>> choose_signature('/models/taxi').inputs['trip_miles_xf']
      TensorSpec(shape=(None, 1), dtype=tf.float32, has_rank=True)
    """
    signatures = read_signatures(saved_model_dir)
    meta_graph = read_saved_model(saved_model_dir).meta_graphs[0]
    keras = names_of_keras_functions(meta_graph)
    if signature_name:
        if signature_name not in {*signatures, *keras}:
            found = ', '.join(map(repr, dict.fromkeys([*signatures, *keras]))) or 'none'
            raise EdgeError(
                f'signature {signature_name!r} is not in {saved_model_dir} (found: {found}); '
                'name one of these in signature_name.'
            )
        if signature_name not in signatures:
            loaded = load(saved_model_dir)
            return _named_function_of_keras(loaded, saved_model_dir, signature_name)
        signatures = {signature_name: signatures[signature_name]}
    ordered = [signatures[name] for name in sorted(signatures, key=lambda name: (name != _DEFAULT, name))]
    dense = [signature for signature in ordered if not why_not_dense(signature)]
    if dense:
        _log_choice(saved_model_dir, dense)
        return _without_unused(saved_model_dir, dense[0], load)
    return _behind(saved_model_dir, ordered, keras, transform_graph, load, any_function=not signature_name)


def _behind(
    saved_model_dir: str,
    signatures: Sequence[Signature],
    keras: Sequence[str],
    transform_graph: str | None,
    load: Load,
    *,
    any_function: bool,
) -> Signature:
    """The dense part of a signature with string inputs, else a dense function that Keras saved."""
    loaded = load(saved_model_dir)
    meta_graph = read_saved_model(saved_model_dir).meta_graphs[0]
    faults, found = [], []
    for signature in signatures:
        try:
            found.append(function_behind_strings(loaded, signature, meta_graph, transform_graph))
        except EdgeError as error:
            faults.append((why_not_dense(signature), str(error)))
    name = signatures[0].name if signatures else _DEFAULT
    own = [function for held in keras for function in [function_of_keras(loaded, held, name)] if function]
    if found:
        chosen = found[0]
        if chosen.source is not None and chosen.source.preparing is None:
            chosen = same_of_keras(loaded, chosen, own) or chosen
        _log_source(saved_model_dir, chosen, _that_differ(found))
        return chosen
    if own and any_function:
        _log_source(saved_model_dir, own[0], ())
        return own[0]
    fault, reason = faults[0] if faults else (f'{saved_model_dir} has no signature', 'there is none')
    raise EdgeError(
        f'{fault}; tfx-edge needs a signature with dense numeric inputs, or one of strings with a dense part, and '
        f'{reason}. Export a dense one, or name it in signature_name '
        f'(found: {", ".join(repr(s.name) for s in signatures) or "none"}).'
    )


def _named_function_of_keras(loaded: Any, saved_model_dir: str, name: str) -> Signature:
    function = function_of_keras(loaded, name, _DEFAULT)
    if function is None:
        raise EdgeError(
            f'the Keras function {name!r} of {saved_model_dir} does not take dense numbers of fixed shapes but for the '
            'batch; name a signature in signature_name, or export one that does.'
        )
    _log_source(saved_model_dir, function, ())
    return function


def _without_unused(saved_model_dir: str, signature: Signature, load: Load) -> Signature:
    """A dense signature without the inputs that no output depends on."""
    unused = unused_inputs(read_saved_model(saved_model_dir).meta_graphs[0], signature.name)
    if not unused or len(unused) == len(signature.inputs):
        return signature
    function = load(saved_model_dir).signatures[signature.name]
    inputs, outputs = signature_tensors(function, signature.inputs)
    found = used_part(signature, function, inputs, outputs)
    _log_source(saved_model_dir, found, ())
    return found


def _that_differ(found: Sequence[Signature]) -> tuple[str, ...]:
    taken, *others = found
    return tuple(s.name for s in others if (s.inputs, s.outputs) != (taken.inputs, taken.outputs))


def _log_choice(saved_model_dir: str, dense: Sequence[Signature]) -> None:
    """Logs which of several dense signatures is taken."""
    if names := _that_differ(dense):
        log_once(
            _LOG,
            logging.INFO if dense[0].name == _DEFAULT else logging.WARNING,
            f'of the signatures with dense inputs in {saved_model_dir}, {dense[0].name!r} is taken, and not '
            f'{", ".join(map(repr, names))}; name another in signature_name to take it',
        )


def _log_source(saved_model_dir: str, signature: Signature, others: Sequence[str]) -> None:
    log_once(_LOG, logging.INFO, f'{saved_model_dir}: {describe(signature)}')
    if others:
        log_once(
            _LOG,
            logging.WARNING,
            f'{saved_model_dir} has a dense function behind {", ".join(map(repr, others))} too, which is not taken; '
            'name it in signature_name to take it',
        )


def describe(signature: Signature) -> str:
    """A sentence that names the chosen function and its inputs.

    Example:
      >>> describe(choose_signature('/models/taxi'))
      "the Keras function '_default_save_signature' behind signature 'serving_default' is taken, with the inputs ..."
    """
    source = signature.source
    inputs = ', '.join(
        f'{name} {spec.dtype.name}{list(spec.shape[1:])}' for name, spec in signature.inputs.items()
    )
    if source is None:
        return f'signature {signature.name!r} is taken, with the inputs {inputs}'
    place = f'signature {signature.name!r}'
    if source.keras_function:
        place = f'the Keras function {source.keras_function!r} behind {place}'
    elif not source.unused:
        place = f'the part of {place} behind parsing, decoding and Transform'
    unused = ', '.join(map(repr, source.unused))
    return f'{place} is taken, with the inputs {inputs}' + (
        f', without {unused}, which no output depends on' if unused else ''
    )
