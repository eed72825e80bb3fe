"""A `.tflite` file as objects and back: the one place that touches the file format."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import damaged_file, interpreter, sparse_values

# A flatbuffer's own limit is 2 GiB; the rest is for what is not weights.
_MAX_WEIGHT_BYTES = 2**31 - 2**26

OPERATOR_NAMES = {
    number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith('_')
}
TENSOR_TYPES = {number: name for name, number in vars(schema.TensorType).items() if not name.startswith('_')}
FLOAT_TYPES = ('FLOAT16', 'FLOAT32', 'FLOAT64', 'BFLOAT16')


class _AlignedBuffer(schema.BufferT):
    """A buffer that starts at a multiple of 16 bytes, as the format asks and Python's packer omits."""

    def Pack(self, builder: Any) -> int:
        data = np.frombuffer(self.data, np.uint8)
        builder.StartVector(1, len(data), 16)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data.tobytes()
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def read(model: bytes) -> schema.ModelT:
    """Parses a file into objects that may be changed, after the runtime has verified it.

    Where a file is read more than once, `ModelFile` verifies and parses it once.

    Raises:
      EdgeError: it is damaged.
    """
    verify(model)
    return parse(bytearray(model))


def verify(model: bytes) -> None:
    """Lets the runtime verify the structure of a file.

    Raises:
      EdgeError: it is damaged.
    """
    interpreter.load(model, allocate=False)


@damaged_file.damage_as_edge_error()
def parse(model: bytes | bytearray) -> schema.ModelT:
    """Parses a file that was verified.

    Args:
      model: the file's bytes. The values of constants are views of them; those of `bytes` are read-only.

    Raises:
      EdgeError: it contradicts itself.
    """
    return flatbuffer_utils.read_model_from_bytearray(model)


def write(model: schema.ModelT) -> bytes:
    """Packs a model, and leaves it as it is; the same model gives the same bytes.

    Raises:
      EdgeError: it is larger than a file of this format can be.
    """
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    if size > _MAX_WEIGHT_BYTES:
        raise EdgeError(
            f'the weights take {size} bytes; a .tflite file holds at most 2 GiB. Use a smaller model.'
        )
    packed = copy.copy(model)
    packed.buffers = [_aligned(buffer) for buffer in model.buffers]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(packed))


def _aligned(buffer: schema.BufferT) -> schema.BufferT:
    if buffer.data is None or not len(buffer.data):
        return buffer
    aligned = _AlignedBuffer()
    aligned.data = buffer.data
    return aligned


def operator_name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """An operator's name as in the format, such as CONV_2D; for a custom one, its own name."""
    code = model.operatorCodes[operator.opcodeIndex]
    name = OPERATOR_NAMES[flatbuffer_utils.get_builtin_code_from_operator_code(code)]
    return code.customCode.decode() if name == 'CUSTOM' else name


def operator_code(model: schema.ModelT, name: str) -> int:
    """The number under which operators of a model name a built-in one; it is added where the model has none.

    Args:
      model: changed in place.
      name: in the format, such as PAD.
    """
    builtin = getattr(schema.BuiltinOperator, name)
    for number, code in enumerate(model.operatorCodes):
        if flatbuffer_utils.get_builtin_code_from_operator_code(code) == builtin:
            return number
    added = schema.OperatorCodeT()
    # Old readers take the first, a byte in which the last value means "see the other".
    added.deprecatedBuiltinCode = min(builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    added.builtinCode, added.version = builtin, 1
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1


def tensor_name(tensor: schema.TensorT) -> str:
    """A tensor's name, '' if it has none."""
    return tensor.name.decode() if tensor.name else ''


def shape(tensor: schema.TensorT) -> tuple[int | None, ...]:
    """A tensor's shape, None for each dimension left open."""
    sizes = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return tuple(None if size < 0 else int(size) for size in sizes) if sizes is not None else ()


def is_constant(model: schema.ModelT, tensor: schema.TensorT) -> bool:
    """Whether the file holds the tensor's values."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def constant(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray | None:
    """The values of a tensor that the file holds, in their shape, or None for an activation.

    4-bit integers are unpacked to int8, and the zeros of a sparse tensor are filled in.
    """
    if not is_constant(model, tensor):
        return None
    raw = np.frombuffer(model.buffers[tensor.buffer].data, np.uint8)
    sizes = tuple(tensor.shape) if tensor.shape is not None else ()
    name = TENSOR_TYPES[tensor.type]
    if name == 'INT4':
        # Two in a byte, the low half first; the right shift extends the sign.
        low, high = raw.astype(np.int8) << 4 >> 4, raw.view(np.int8) >> 4
        return np.stack([low, high], axis=1).ravel()[: int(np.prod(sizes))].reshape(sizes)
    if name not in _NUMPY_TYPES:
        return None
    values = raw.view(_NUMPY_TYPES[name])
    if tensor.sparsity is not None:
        return sparse_values.decode(tensor.sparsity, values, sizes)
    return values.reshape(sizes)


_NUMPY_TYPES = {
    name: np.dtype(name.lower())
    for name in (
        'FLOAT16',
        'FLOAT32',
        'FLOAT64',
        'INT8',
        'INT16',
        'INT32',
        'INT64',
        'UINT8',
        'UINT16',
        'UINT32',
    )
} | {'BOOL': np.dtype(bool)}
