"""What TFLite metadata say of a file, without what writes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """The metadata of a file; '' for what is missing.

    Attributes:
      name: of the model.
      version: of the model.
      author: who made it.
      license: of the model.
      description: what it does.
      inputs: description by signature input name.
      outputs: description by signature output name.
      labels: one for each index of the last dimension of an output; None when there are none.
      labels_output: the signature output that they label; '' for the only one.
    """

    name: str = ''
    version: str = ''
    author: str = ''
    license: str = ''
    description: str = ''
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    labels_output: str = ''
