"""Wider ranges for activations that stayed at or near zero during calibration.

A dead activation (a rectified layer that no example reached, or one that was switched off) has the range 0 to 0,
which no scale can express. XNNPACK refuses a file in which one step of an operator's sum is 256 steps of its output
or more; here the output's range is widened until it is 128 steps. Then it is still narrower than two steps of the
sum, so nothing that was calibrated is lost. An activation that stayed at zero, such as a state that starts there, gets
steps so large that the bias behind its kernel fits into int32; otherwise the steps of the kernel, which later steps of
a sequence share, would have to be larger (`weight_ranges`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.integer_types import activation_scale, largest, steps
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import kernel_indices
from tfx_edge.components.core.litert.file.operands import OPERANDS, Operands, weighted_operators
from tfx_edge.components.core.litert.quantization.kernel_ranges import LARGEST_BIAS
from tfx_edge.components.core.litert.quantization.modes import activation_bits, kernel_bits, mode_of
from tfx_edge.components.core.litert.quantization.quantized_activations import ActivationTensor

_LOG = logging.getLogger(__name__)

_SMALLEST_WIDTH = 2.0**-20
# An activation with no wider range counts as one that stayed at zero; training gives it a range of 1e-6.
_DEAD_WIDTH = 2.0**-19
# A channel counts as empty if its largest weight is below this share of the kernel's largest.
_SMALLEST_WEIGHTS = 1e-3
# The largest step of an operator's sum, in steps of its output; XNNPACK takes less than 256.
_MOST_STEPS = 128

Range = tuple[float, float]


def widened(
    content: flatbuffer.schema.ModelT,
    tensors: Sequence[ActivationTensor],
    ranges: Mapping[str, Range],
    mode: str,
) -> dict[str, Range]:
    """The ranges that a file can hold and run; those that had to be widened are named in the log.

    Args:
      content: a float model.
      tensors: what becomes integer in it.
      ranges: (minimum, maximum) by tensor name, one for each group at least.
      mode: a mode with integer activations.

    Returns:
      (minimum, maximum) by tensor name for each of `tensors`.

    Raises:
      EdgeError: a range is infinite or NaN.
    """
    live = wide_enough(content, tensors, ranges, mode)
    changed = sorted({t.group for t in tensors if t.fixed is None and live[t.name] != ranges[t.group]})
    if changed:
        _LOG.warning(
            'the calibration saw %d activations stay at zero, or next to it; their ranges were widened: %s. '
            'A state that starts at zero does so; for another activation, calibrate on examples that reach it.',
            len(changed),
            ', '.join(changed),
        )
    return live


def wide_enough(
    content: flatbuffer.schema.ModelT,
    tensors: Sequence[ActivationTensor],
    ranges: Mapping[str, Range],
    mode: str,
) -> dict[str, Range]:
    """`widened` without a line in the log, for ranges that were not calibrated."""
    group = {tensor.name: tensor.group for tensor in tensors}
    fixed = {tensor.name: tensor.fixed for tensor in tensors if tensor.fixed is not None}
    given = {name: ranges[group[name]] for name in group if name not in fixed}
    _require_finite(given)
    by_group = _widened_groups(content, group, fixed, given, mode)
    return {name: fixed[name] if name in fixed else by_group[group[name]] for name in group}


def are_wide_enough(content: flatbuffer.schema.ModelT, ranges: Mapping[str, Range], mode: str) -> bool:
    """Whether `widened` changes none of these ranges, whichever tensors become integer and however they are grouped.

    Args:
      content: a float model.
      ranges: (minimum, maximum) by tensor name; tensors of one group have the same.
      mode: a mode with integer activations.
    """
    return _widened_groups(content, {name: name for name in ranges}, {}, ranges, mode) == ranges


def _widened_groups(
    content: flatbuffer.schema.ModelT,
    group: Mapping[str, str],
    fixed: Mapping[str, Range],
    given: Mapping[str, Range],
    mode: str,
) -> dict[str, Range]:
    """By group, a range that a file can hold and run."""
    by_group = {group[name]: _at_least(limits, _SMALLEST_WIDTH) for name, limits in given.items()}
    dead = {name for name, (low, high) in by_group.items() if max(high, 0.0) - min(low, 0.0) <= _DEAD_WIDTH}
    if dead:
        for source, step in _bias_steps(content, mode):
            if group.get(source) in dead:
                bits = activation_bits(mode)
                width = step * (largest(bits) if bits == 16 else steps(bits))
                by_group[group[source]] = _at_least(by_group[group[source]], width)
    if mode_of(mode).activation_bits != 8:
        return by_group
    products = list(_kernel_steps(content, mode))
    # A widened range widens what is computed from it; twice, as a group may span a loop back to an earlier tensor.
    for source, kernel_step, target in [*products, *products]:
        if source not in group or target not in group or target in fixed:
            continue
        low, high = fixed.get(source) or by_group[group[source]]
        sum_step = activation_scale(min(low, 0.0), max(high, 0.0), 8) * kernel_step
        needed = sum_step / _MOST_STEPS * steps(8)
        by_group[group[target]] = _at_least(by_group[group[target]], needed)
    return by_group


def _require_finite(given: Mapping[str, Range]) -> None:
    for name, limits in given.items():
        if not np.isfinite(limits).all():
            raise EdgeError(
                f'the calibrated range of tensor {name!r} is {limits[0]:g} to {limits[1]:g}; expected finite numbers. '
                'Keep the operator that yields it float with keep_float, or correct the model.'
            )


def _kernel_steps(content: flatbuffer.schema.ModelT, mode: str) -> Iterator[tuple[str, float, str]]:
    """Of each operator with a kernel, in order of execution: source, largest step of the kernel, and target."""
    graph = content.subgraphs[0]
    kernels = kernel_indices(content, graph)
    for operator in graph.operators:
        kind = flatbuffer.operator_name(content, operator)
        index = next((int(i) for i in operator.inputs if i in kernels), None)
        if index is None:
            continue
        kernel = flatbuffer.constant(content, graph.tensors[index])
        if kernel is None or not kernel.size:
            continue
        step = float(np.abs(kernel).max()) / largest(kernel_bits(mode, kind))
        source = graph.tensors[operator.inputs[OPERANDS.get(kind, Operands()).source]]
        yield flatbuffer.tensor_name(source), step, flatbuffer.tensor_name(graph.tensors[operator.outputs[0]])


def _bias_steps(content: flatbuffer.schema.ModelT, mode: str) -> Iterator[tuple[str, float]]:
    """Of each operator with kernel and bias: its source, and the source's step with which the bias fits into int32.

    With one scale for each channel: one in all is as large as theirs or larger, so that the bias fits the more.
    """
    graph = content.subgraphs[0]
    for product in weighted_operators(content, graph):
        if product.bias is None:
            continue
        kernel = flatbuffer.constant(content, graph.tensors[product.kernel])
        bias = flatbuffer.constant(content, graph.tensors[product.bias])
        if kernel is None or bias is None or not kernel.size:
            continue
        others = tuple(axis for axis in range(kernel.ndim) if axis != product.operands.channel_axis)
        steps_to_largest = largest(kernel_bits(mode, product.kind))
        kernel_steps = np.abs(kernel).max(axis=others).astype(np.float64) / steps_to_largest
        # A channel without weights has a scale of its own that fits.
        used = kernel_steps > _SMALLEST_WEIGHTS * kernel_steps.max()
        if used.shape == bias.ravel().shape and used.any():
            # Half of the largest bias, to leave room for float32 rounding.
            step = float((np.abs(bias.ravel())[used] / kernel_steps[used]).max()) / (LARGEST_BIAS / 2)
            yield flatbuffer.tensor_name(graph.tensors[product.source]), step


def _at_least(limits: Range, width: float) -> Range:
    """The range if it is wide enough with 0 in it; else one of that width, extended on its larger side of 0."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    if high - low >= width:
        return limits
    return (high - width, high) if -low > high else (low, low + width)
