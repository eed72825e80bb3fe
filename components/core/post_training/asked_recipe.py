"""What to do with a float file, without what does it, which imports TensorFlow and Beam."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.post_training.bound import Bound


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to do with a float file.

    Attributes:
      quantization: which file to make.
      range_method: see `range_methods.ranges`.
      percentile: for PERCENTILE, in percent.
      equalize: even out the ranges of channels first.
      correct_bias: take the mean error of the weights out of the biases.
      float_budget_bytes: what the file may grow by for operators that stay float; None for nothing.
      report_sensitivity: measure what each operator loses.
      bound: the fidelity that the file has to reach.
      trained: the model was trained for this file's arithmetic, which must not change.
    """

    quantization: QuantizationOptions
    range_method: str = 'MIN_MAX'
    percentile: float = 99.99
    equalize: bool = False
    correct_bias: bool = False
    float_budget_bytes: int | None = None
    report_sensitivity: bool = False
    bound: Bound = dataclasses.field(default_factory=Bound)
    trained: bool = False

    @property
    def needs_samples(self) -> bool:
        """Whether it runs examples through the quantized file."""
        return self.report_sensitivity or self.float_budget_bytes is not None
