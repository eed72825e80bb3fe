"""Configuration messages as exec properties: JSON strings, which every orchestrator passes on unchanged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, MutableSequence
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf import message as protobuf_message

from tfx_edge.components.core.errors import EdgeError

# A hidden exec property with the plugin's version: it is part of the cache key, so that an upgrade
# does not serve results of the version before.
VERSION = 'tfx_edge_version'

_Message = TypeVar('_Message', bound=protobuf_message.Message)


def encode(config: Any, message_class: type[_Message], check: Callable[[_Message], object]) -> Any:
    """A configuration message as an exec property, checked where its value is already known.

    Args:
      config: a message, its JSON, None for the defaults, or a RuntimeParameter (passed on as it is
        and checked when the step runs).
      message_class: the message's class.
      check: raises EdgeError when a value is out of range.

    Returns:
      A JSON string with sorted keys, or the RuntimeParameter.

    Raises:
      EdgeError: `config` is of another type, does not parse, or is out of range.

    Example:
      >>> encode(proto.Pruning(target_sparsity=0.75), proto.Pruning, pruning_options)
      '{"target_sparsity": 0.75}'
    """
    if config is not None and not isinstance(config, (str, protobuf_message.Message)):
        from tfx.orchestration import data_types  # takes seconds

        if isinstance(config, data_types.RuntimeParameter):
            return config
        raise EdgeError(
            f'expected tfx_edge.proto.{message_class.__name__}, its JSON or a RuntimeParameter, '
            f'not {type(config).__name__}.'
        )
    message = decode(config, message_class) if isinstance(config, str) else config or message_class()
    if not isinstance(message, message_class):
        raise EdgeError(f'expected tfx_edge.proto.{message_class.__name__}, not {type(message).__name__}.')
    check(message)
    return json_format.MessageToJson(message, preserving_proto_field_name=True, sort_keys=True, indent=None)


def decode(text: str, message_class: type[_Message]) -> _Message:
    """The message that `encode` wrote."""
    try:
        return json_format.Parse(text or '{}', message_class())
    except json_format.ParseError as error:
        raise EdgeError(
            f'{text!r} is not the JSON of tfx_edge.proto.{message_class.__name__} ({error}); '
            'use the names and types of its fields.'
        ) from error


def field_name(message: protobuf_message.Message, field: str) -> str:
    """How errors name a field: `Pruning.target_sparsity`."""
    return f'{message.DESCRIPTOR.name}.{field}'


def field_name_if_any(message_class: type[protobuf_message.Message], field: str) -> str:
    """The same for a field that not all messages have; '' for one without it."""
    descriptor = message_class.DESCRIPTOR
    return f'{descriptor.name}.{field}' if field in descriptor.fields_by_name else ''


def require(
    message: protobuf_message.Message, field: str, holds: Callable[[Any], bool], expected: str
) -> Any:
    """A field's value if `holds` returns True; else an EdgeError with what was expected."""
    value = getattr(message, field)
    if not holds(value):
        raise EdgeError(f'{field_name(message, field)} is {value!r}; expected {expected}.')
    return value


def require_supported(message: protobuf_message.Message, field: str, supported: Iterable[str]) -> str:
    """An enum field's name, if this version supports it; EdgeError otherwise."""
    number = getattr(message, field)
    name = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[number].name
    supported = list(supported)
    if name not in supported:
        raise EdgeError(
            f'{field_name(message, field)} {name} is not supported by this version; '
            f'use {" or ".join(supported)}.'
        )
    return name


def require_unset(message: protobuf_message.Message, field: str) -> None:
    """Refuses a field that this version does not support yet, rather than ignore it."""
    descriptor = message.DESCRIPTOR.fields_by_name[field]
    value = getattr(message, field)
    if isinstance(value, MutableSequence):
        is_set = len(value) > 0
    elif descriptor.message_type is not None:
        is_set = message.HasField(field)
    else:
        is_set = message.HasField(field) and value != descriptor.default_value
    if is_set:
        raise EdgeError(f'{field_name(message, field)} is not supported by this version; leave it unset.')


def require_patterns(message: protobuf_message.Message, field: str) -> tuple[str, ...]:
    """A repeated field of regular expressions, each of which compiles."""
    patterns = tuple(getattr(message, field))
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise EdgeError(
                f'{field_name(message, field)} holds {pattern!r}, which is not a regular expression '
                f'({error}); correct it.'
            ) from error
    return patterns
