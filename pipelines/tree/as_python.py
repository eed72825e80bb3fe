"""A configuration message as the Python that makes it."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor
from google.protobuf import message as protobuf_message


def as_python(message: protobuf_message.Message) -> str:
    """The call of `tfx_edge.proto` that makes a message; fields with their defaults are left out.

    Args:
      message: of `tfx_edge.proto`.

    Returns:
      One line of Python.

    Example:
      >>> from tfx_edge import proto
      >>> as_python(proto.Pruning(target_sparsity=0.75, scope='GLOBAL'))
      "proto.Pruning(target_sparsity=0.75, scope='GLOBAL')"
    """
    fields = ', '.join(f'{field.name}={_value(field, value)}' for field, value in message.ListFields())
    return f'proto.{message.DESCRIPTOR.name}({fields})'


def _value(field: descriptor.FieldDescriptor, value: Any) -> str:
    if field.label == descriptor.FieldDescriptor.LABEL_REPEATED:
        return f'[{", ".join(_single(field, item) for item in value)}]'
    return _single(field, value)


def _single(field: descriptor.FieldDescriptor, value: Any) -> str:
    if field.message_type is not None:
        items = (f'{name.name!r}: {_value(name, item)}' for name, item in value.ListFields())
        return f'{{{", ".join(items)}}}'
    return repr(field.enum_type.values_by_number[value].name if field.enum_type else value)
