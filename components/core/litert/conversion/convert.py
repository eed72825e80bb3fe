"""SavedModel in, float `.tflite` out."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.isolation.isolated_process import ChildFailure, run_isolated
from tfx_edge.components.core.isolation.printed_line import shortened_line
from tfx_edge.components.core.litert.conversion import saved_model_converter
from tfx_edge.components.core.litert.file import canonical_form, flatbuffer
from tfx_edge.components.core.loops.longest_loop import MOST_ROUNDS
from tfx_edge.components.core.preprocessing.operators import COUNT, REWRITTEN
from tfx_edge.components.core.unknown_operators import unknown_operator

if TYPE_CHECKING:
    from tfx_edge.components.core.signature import Signature

_LOG = logging.getLogger(__name__)
# The converter's error names it where a tensor list, which loops fill, has elements with an open batch dimension.
_LISTS = 'TensorList'
_TYPE_NAMES = {'bf16': 'bfloat16', 'f16': 'float16', 'f64': 'float64'}
_RANDOM_OPERATORS = ('RANDOM_UNIFORM', 'RANDOM_STANDARD_NORMAL', 'MULTINOMIAL')
_VARIABLE_OPERATORS = ('VAR_HANDLE', 'READ_VARIABLE', 'ASSIGN_VARIABLE', 'CALL_ONCE')


def convert_saved_model(saved_model_dir: str, signature: Signature | str) -> bytes:
    """Converts one signature of a SavedModel to a float32 `.tflite` file, in a process of its own.

    The file holds that signature with its input and output names. Tensor names are unique, and the same for
    the same graph with other weights. The same SavedModel gives the same bytes wherever it lies, and on every
    supported version of TensorFlow.

    Args:
      saved_model_dir: the folder of the SavedModel.
      signature: of `choose_signature`, or the name of one of its signatures.

    Returns:
      The file's bytes.

    Raises:
      EdgeError: it cannot be converted; the message holds the converter's own.

    Example:
      >>> model = convert_saved_model('/models/digits', 'serving_default')
    """
    signature_name = saved_model_converter.name_of(signature)
    _LOG.info('converting signature %r to a float .tflite file', signature_name)
    file, printed = _converted(saved_model_dir, signature, frozen=False)
    if file is None and _LISTS in printed:
        file = _without_loops(saved_model_dir, signature)
        if file is not None:
            return file
        raise EdgeError(
            f'signature {signature_name!r} of {saved_model_dir} cannot be converted to .tflite: it has a loop over the '
            f'steps of a sequence (LSTM, GRU, RNN or a map over rows){_in_layers(saved_model_dir, printed)} that is '
            f'too long to be written out (at most {MOST_ROUNDS} steps), or has no fixed number of steps. Export the '
            'model with a fixed number of steps in its input, and the layers with unroll=True where there are more.'
        )
    reason = _reason(printed)
    if file is None and (not (fault := _missing_kernels(printed)) or _are_written_in_others(fault)):
        # A Keras 3 model saved by tf.saved_model.save: the converter does not find its variables, and aborts
        # (TensorFlow 2.16) or makes a file that reads variables which nothing sets (2.21). Or a model with
        # preprocessing, which is rewritten in other operators once its variables are constants.
        file, printed_frozen = _converted(saved_model_dir, signature, frozen=True)
        fault = _missing_kernels(printed_frozen) or fault
        printed += printed_frozen
    types = _other_types(printed) if file is None else ''
    if types:
        file, printed_float32 = _converted(saved_model_dir, signature, frozen=True, in_float32=True)
        fault = _missing_kernels(printed_float32) or fault
    if file is not None:
        if types:
            _LOG.warning(
                'signature %r computes in %s, which LiteRT does not: the file computes in float32, and takes and '
                'answers float32. Export the model in float32 to train it in what ships.',
                signature_name,
                types,
            )
        _warn_of_random_operators(file)
        return file
    if unknown := unknown_operator(saved_model_dir, printed):
        raise unknown
    _require_readable_variables(saved_model_dir)
    if fault:
        reason = f'LiteRT has no kernel for {fault}'
    in_types = f' (of type {types})' if types else ''
    in_layers = _in_layers(saved_model_dir, printed, fault.split(', ') if fault else ())
    raise EdgeError(
        f'signature {signature_name!r} of {saved_model_dir} cannot be converted to .tflite '
        f'({reason}{in_types}{in_layers}). {_remedy(fault)}'
    )


def _require_readable_variables(saved_model_dir: str) -> None:
    from tfx_edge.components.core.saved_variables import require_readable_variables  # imports TensorFlow

    require_readable_variables(saved_model_dir)


def _in_layers(saved_model_dir: str, printed: str, operators: Sequence[str] = ()) -> str:
    from tfx_edge.components.core.litert.conversion.blamed_layers import blamed_layers  # imports TensorFlow

    layers = blamed_layers(saved_model_dir, printed, operators) if printed else ''
    return f' {layers}' if layers else ''


def _converted(
    saved_model_dir: str, signature: Signature | str, *, frozen: bool, in_float32: bool = False
) -> tuple[bytes | None, str]:
    """The file in canonical form, if there is one that reads no variable; else what the converter printed."""
    try:
        model, nodes = run_isolated(
            saved_model_converter.convert_signature,
            saved_model_dir,
            signature,
            frozen=frozen,
            in_float32=in_float32,
        )
    except ChildFailure as error:
        return None, error.output or error.reason
    return (canonical_form.canonical_form(model, nodes), '') if _is_stateless(model) else (None, '')


def _without_loops(saved_model_dir: str, signature: Signature | str) -> bytes | None:
    """The file of a model whose loops over steps are unrolled; None where that is impossible or does not help."""
    try:
        converted = run_isolated(saved_model_converter.convert_unrolled, saved_model_dir, signature)
    except ChildFailure as error:
        _LOG.info(
            'without its loops it cannot be converted either: %s', _reason(error.output or error.reason)
        )
        return None
    if converted is None:
        return None
    model, nodes = converted
    _LOG.info('loops over the steps of a sequence are written out step by step')
    return canonical_form.canonical_form(model, nodes) if _is_stateless(model) else None


def _warn_of_random_operators(model: bytes) -> None:
    """Warns of a model that draws random numbers."""
    content = flatbuffer.read(model)
    found = [
        f'{kind} {flatbuffer.tensor_name(graph.tensors[operator.outputs[0]])!r}'
        for graph in content.subgraphs
        for operator in graph.operators
        for kind in [flatbuffer.operator_name(content, operator)]
        if kind in _RANDOM_OPERATORS
    ]
    if found:
        _LOG.warning(
            'the model draws random numbers (%s), so its answers change from one call to the next: no file can be held '
            'against it. Export it with training=False, or without the layer (dropout, say).',
            ', '.join(found),
        )


def _other_types(printed: str) -> str:
    """The floating types but float32 in what the converter printed, or ''."""
    found = {
        _TYPE_NAMES[kind] for kind in re.findall(r'tensor<[^>]*?\b(?:\d+x|\?x)*(bf16|f16|f64)>', printed)
    }
    return ' and '.join(sorted(found))


def _remedy(fault: str) -> str:
    if 'HashTable' in fault or 'LookupTable' in fault:
        return 'Look words and ids up before the model (in Transform, say), and export the model again.'
    if COUNT in fault:
        return (
            'Count up to a fixed number (minlength and maxlength of tf.math.bincount that are the same, say), and '
            'export the model again.'
        )
    if 'ToHashBucket' in fault:
        return 'Hash before the model (in Transform, say), and export the model again.'
    return 'Replace the operators or layers that LiteRT lacks, and export the model again.'


def _is_stateless(model: bytes) -> bool:
    """Whether a file reads no variable."""
    content = flatbuffer.read(model)
    operators = [o for graph in content.subgraphs for o in graph.operators]
    return not any(flatbuffer.operator_name(content, o) in _VARIABLE_OPERATORS for o in operators)


def _missing_kernels(printed: str) -> str:
    """The TensorFlow operators that LiteRT has no kernel for, or ''."""
    found = re.search(r'(?:TF Select|Flex|Custom) ops: (.*)', printed)
    return found[1].strip() if found else ''


def _are_written_in_others(fault: str) -> bool:
    return any(operator in fault for operator in REWRITTEN)


def _reason(printed: str) -> str:
    """The line of the converter's output that names the fault."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    for pattern in (r'LLVM ERROR', r'error:', r'^[\w.]*(Error|Exception)\b'):
        for line in reversed(lines):
            if re.search(pattern, line):
                return shortened_line(line)
    return shortened_line(lines[-1]) if lines else 'it keeps state in variables'
