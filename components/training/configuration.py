"""What the constructor and the executor of a component know of the message that configures it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from google.protobuf import message as protobuf_message

from tfx_edge.components.core.dense_scales import DENSE_SCALES, PER_CHANNEL
from tfx_edge.components.tfx_interface import exec_properties


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The message that configures one component.

    Attributes:
      key: of the exec property, which is the name of the constructor's argument too.
      message_class: of `tfx_edge.proto`.
      trains_ranges: whether ranges of activations are trained too, as QATTrainer does.

    Example:
      >>> PRUNING = Configuration('pruning', proto.Pruning)
    """

    key: str
    message_class: type[protobuf_message.Message]
    trains_ranges: bool = False

    def message(self, properties: Mapping[str, Any]) -> Any:
        """The message that the exec properties hold."""
        return exec_properties.decode(properties[self.key], self.message_class)

    def saved_model_only(self, properties: Mapping[str, Any]) -> bool:
        """Whether the message says that no `.tflite` file need be made of the model."""
        return bool(self.saved_model_only_field and self.message(properties).saved_model_only)

    def dense_scales(self, properties: Mapping[str, Any]) -> str:
        """The scales of dense kernels in the file that the component works for; PER_CHANNEL where it knows of none."""
        message = self.message(properties)
        if not hasattr(message, 'dense_scales'):
            return PER_CHANNEL
        return exec_properties.require_supported(message, 'dense_scales', DENSE_SCALES)

    @property
    def saved_model_only_field(self) -> str:
        """The field that says so, as errors name it (`Pruning.saved_model_only`); '' where the message has none."""
        return exec_properties.field_name_if_any(self.message_class, 'saved_model_only')
