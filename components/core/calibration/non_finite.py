"""NaN and infinities in calibration: operators that handle them stay float; where none does, the model is refused.

A model may fill in NaN that its inputs hold (`where(isnan(x), 0, x)`), or take a logarithm of zero that it does not use
afterwards. Integers hold neither, so the operators that touch such values stay float. Where the values get as far as
an output or the operand of a kernel, nothing handles them.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.file.operands import OPERANDS

_LOG = logging.getLogger(__name__)

# A file and the number of a record in it.
Place = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class NonFinite:
    """The examples on which a tensor held NaN or infinity.

    Attributes:
      examples: how many.
      nan: whether one of them held NaN.
      first: the first of their places, by file name and number; None where places are not known.
    """

    examples: int
    nan: bool
    first: Place | None

    def __add__(self, other: NonFinite) -> NonFinite:
        """The examples of both, in either order."""
        places = [place for place in (self.first, other.first) if place is not None]
        return NonFinite(
            self.examples + other.examples, self.nan or other.nan, min(places) if places else None
        )

    @property
    def what(self) -> str:
        """What was held, for messages."""
        return 'NaN' if self.nan else 'infinity'


def operators_to_keep_float(
    float_model: bytes | ModelFile, seen: Mapping[str, NonFinite], examples: int
) -> tuple[str, ...]:
    """The operators that handle NaN and infinities, which are named in the log.

    Args:
      float_model: the float32 `.tflite` file that was calibrated.
      seen: by name of the tensors that held some.
      examples: on how many it was calibrated; 0 where that is not known.

    Returns:
      Regular expressions on names of their outputs, for `keep_float`.

    Raises:
      EdgeError: NaN or infinities get to an output of the model, or are multiplied with a kernel.
    """
    if not seen:
        return ()
    content = ModelFile.of(float_model).content
    graph = content.subgraphs[0]
    names = [flatbuffer.tensor_name(tensor) for tensor in graph.tensors]
    features = _features(content)
    for index in graph.outputs:
        if names[index] in seen:
            raise _unhandled(
                seen, features, examples, f'output {_short(names[index])!r} of the model is that too'
            )
    handling = set()
    for number, operator in enumerate(graph.operators):
        read = {names[index] for index in operator.inputs if index >= 0}
        made = {names[index] for index in operator.outputs}
        if flatbuffer.operator_name(content, operator) in OPERANDS and read & {*seen}:
            named = _named(content, graph, operator)
            raise _unhandled(seen, features, examples, f'{named} multiplies it with weights')
        if (read | made) & {*seen}:
            handling.add(number)
    kept = [graph.operators[number] for number in sorted(_with_conditions(graph, handling))]
    _log(seen, features, examples, [_named(content, graph, operator) for operator in kept])
    return tuple(f'^{re.escape(names[operator.outputs[0]])}$' for operator in kept)


def _with_conditions(graph: flatbuffer.schema.SubGraphT, handling: set[int]) -> set[int]:
    """Adds to some operators those that compute truth values for them: in integers, these values could change."""
    makers = {index: number for number, operator in enumerate(graph.operators) for index in operator.outputs}
    found, waiting = set(handling), sorted(handling)
    while waiting:
        for index in graph.operators[waiting.pop()].inputs:
            if index < 0 or flatbuffer.TENSOR_TYPES[graph.tensors[index].type] != 'BOOL':
                continue
            number = makers.get(index)
            if number is not None and number not in found:
                found.add(number)
                waiting.append(number)
    return found


def require_float_input(float_model: bytes | ModelFile, seen: Mapping[str, NonFinite], io: str) -> None:
    """Refuses integer inputs that are to hold NaN or infinity.

    Args:
      float_model: the float32 `.tflite` file that was calibrated.
      seen: by name of the tensors that held some.
      io: of the quantized file.

    Raises:
      EdgeError: an input held some, and `io` is not FLOAT.
    """
    for tensor, feature in _features(ModelFile.of(float_model).content).items():
        if io != 'FLOAT' and tensor in seen:
            raise EdgeError(
                f'feature {feature!r} holds {seen[tensor].what}, which the model handles itself, '
                f'and which integer inputs cannot hold; set io to FLOAT (now {io}), or fill in what is missing.'
            )


def _unhandled(
    seen: Mapping[str, NonFinite], features: Mapping[str, str], examples: int, consequence: str
) -> EdgeError:
    # In order of execution, so that the tensor is named in which they arose.
    name, held = next(iter(seen.items()))
    share = f'in {_share(held, examples)}'
    start = f'tensor {_short(name)!r} held {held.what} while calibrating'
    if name not in features:
        return EdgeError(
            f'{start} ({share}), and {consequence}; expected finite numbers. '
            'Look for a division or a logarithm in the model that makes them, or leave out such examples.'
        )
    return EdgeError(
        f'{start}: feature {features[name]!r} holds it ({share}), and {consequence}; expected finite '
        'numbers. Fill in what is missing: in the preprocessing_fn, in the examples, or in the model itself '
        f'(where(isnan({features[name]}), 0, {features[name]})).'
    )


def _log(
    seen: Mapping[str, NonFinite], features: Mapping[str, str], examples: int, operators: list[str]
) -> None:
    held = [
        f'{"feature" if name in features else "tensor"} {features.get(name, _short(name))!r} holds {what.what} (in '
        f'{_share(what, examples)})'
        for name, what in seen.items()
    ]
    _LOG.warning(
        '%s; integers cannot hold it: %d operators that handle it stay float: %s',
        '; '.join(held),
        len(operators),
        ', '.join(operators),
    )


def _features(content: flatbuffer.schema.ModelT) -> dict[str, str]:
    """The signature's inputs by name of their tensor."""
    graph = content.subgraphs[0]
    entries = content.signatureDefs[0].inputs if content.signatureDefs else []
    return {
        flatbuffer.tensor_name(graph.tensors[entry.tensorIndex]): entry.name.decode()
        if isinstance(entry.name, bytes)
        else entry.name
        for entry in entries
    }


def _share(held: NonFinite, examples: int) -> str:
    if not examples:
        return 'some examples'
    first = f'; the first is record {held.first[1]} of {held.first[0]}' if held.first else ''
    return f'{held.examples} of {examples} examples{first}'


def _named(
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
    operator: flatbuffer.schema.OperatorT,
) -> str:
    name = flatbuffer.tensor_name(graph.tensors[operator.outputs[0]])
    return f'{flatbuffer.operator_name(content, operator)} {_short(name)!r}'


def _short(name: str) -> str:
    return name.split(';')[0]
