"""TensorFlow Lite Micro: the arena that its own runtime records.

The wheel holds the runtime that microcontrollers run, built for this host. Its arena has a head, for activations, and
a tail, for what the runtime keeps of each tensor and operator, pointers among it: those of a 32-bit microcontroller
are half as long, so that its tail is no larger than the one that is reported here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import re
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.isolation.isolated_process import ChildFailure, run_isolated
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile

DEVICE = 'tflite-micro'

ABSENT = 'install tfx-edge[tflite-micro] (its wheels are for Linux on x86-64)'
# Arena sizes to try. The recorded size does not depend on them; a far too small arena ends the process.
_ARENAS_AT_HAND = (2**24, 2**27, 2**30)
_RECORDED = re.compile(r'Arena allocation total (\d+) bytes')
_TOO_SMALL = re.compile(r'Requested: \d+, available \d+, missing: \d+')
_LACKING = 'Failed to get registration from op code'
# An operator code of the format that stands for no operator.
_NO_OPERATOR = 'PLACEHOLDER_FOR_GREATER_OP_CODES'


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What the runtime says of a file: its arena in bytes, or the operators it lacks, or why else it refuses."""

    arena_bytes: int | None = None
    missing_operators: tuple[str, ...] = ()
    refusal: str = ''


def profile(model: bytes | ModelFile, device: str = DEVICE) -> DeviceCosts:
    """Loads and prepares a file, without running it, in a process of its own.

    Args:
      model: a `.tflite` file.
      device: DEVICE.

    Returns:
      `arena_bytes`, the smallest arena that will do on a 64-bit host, and `flash_bytes`, the file's; or the operators
      that the runtime lacks.

    Raises:
      EdgeError: the bytes are no valid `.tflite` file.

    Example:
      >>> profile(int8_file).arena_bytes
      5408
    """
    # Verified by reading `content`: the runtime reads the whole file without verifying it.
    file = ModelFile.of(model)
    _ = file.content
    try:
        tool = f'tflite-micro {importlib.metadata.version("tflite-micro")}'
    except importlib.metadata.PackageNotFoundError:
        return DeviceCosts(device, absent=ABSENT)
    try:
        recorded = run_isolated(record, file)
    except ChildFailure as failure:
        recorded = Recorded(refusal=failure.reason)
    missing = recorded.missing_operators
    reason = f'it lacks {", ".join(missing)}' if missing else recorded.refusal
    return DeviceCosts(
        device,
        tool,
        settings='64-bit host',
        arena_bytes=recorded.arena_bytes,
        flash_bytes=None if reason else len(file.data),
        missing_operators=missing,
        obstacle=f'{tool} does not load the file ({reason}); make it with mode INT8 and without such operators'
        if reason
        else '',
    )


def record(model: ModelFile) -> Recorded:
    """Prepares a file in this process, which a bad one may end.

    Args:
      model: a `.tflite` file.

    Returns:
      What the runtime says.
    """
    said = ''
    for size in _ARENAS_AT_HAND:
        said = _prepare(model.data, size)
        found = _RECORDED.search(said)
        if found:
            return Recorded(arena_bytes=int(found.group(1)))
        if not _TOO_SMALL.search(said):
            break
    if _LACKING in said:
        return Recorded(missing_operators=_missing_operators(model))
    return Recorded(refusal=' '.join(said.split())[-300:])


def _prepare(model: bytes, arena_bytes: int) -> str:
    """All that the runtime writes while it prepares a file and then reports."""
    from tflite_micro import runtime

    with tempfile.TemporaryFile() as file:
        with _stderr_into(file):
            try:
                runtime.Interpreter.from_bytes(model, arena_size=arena_bytes).print_allocations()
                refusal = ''
            except RuntimeError as error:
                refusal = str(error)
        file.seek(0)
        return f'{file.read().decode(errors="replace")} {refusal}'


@contextlib.contextmanager
def _stderr_into(file: IO[bytes]) -> Iterator[None]:
    """Redirects what native code writes to stderr into a file."""
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _missing_operators(model: ModelFile) -> tuple[str, ...]:
    """Names of the operators that the runtime lacks, in order of use.

    The runtime stops at the first operator that it lacks, before it prepares any. So each is tried in a file of two
    operators, of which no runtime has the second: if the runtime stops at the second, it has the first.
    """
    content = model.changeable()
    samples: dict[str, Any] = {}
    for graph in content.subgraphs:
        for operator in graph.operators:
            samples.setdefault(flatbuffer.operator_name(content, operator), operator)
    code, nowhere = flatbuffer.schema.OperatorCodeT(), flatbuffer.schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(flatbuffer.schema.BuiltinOperator, _NO_OPERATOR)
    nowhere.opcodeIndex = len(content.operatorCodes)
    nowhere.inputs = nowhere.outputs = []
    content.operatorCodes.append(code)
    missing = []
    for name, sample in samples.items():
        content.subgraphs[0].operators = [sample, nowhere]
        said = _prepare(flatbuffer.write(content), _ARENAS_AT_HAND[0])
        if f'{_LACKING} {_NO_OPERATOR}' not in said:
            missing.append(name)
    return tuple(missing)
