"""Which weight a kernel of the deployed file is, and along which of the weight's axes it has its scales."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, channel_scales
from tfx_edge.components.core.dense_scales import FULLY_CONNECTED

_LOG = logging.getLogger(__name__)
# Relative to the largest weight; the converter folds factors in another order.
_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class DeployedConstant:
    """A constant of the deployed file that becomes integer.

    Attributes:
      name: in the file.
      values: before quantization, float32, in the file's shape.
      bits: of the integers.
      axis: of `values`, along which it has one scale for each index; None where it has one scale in all.
      symmetric: whether its zero point is 0 throughout.
      operator: the first operator that uses it, such as CONV_2D.
      outputs: name of the first output tensor of each operator that uses it.
      source: name of the activation that the first operator multiplies it with; '' where there is none.
      bias: what that operator adds, float32, of one dimension; None where it adds nothing.
    """

    name: str
    values: np.ndarray
    bits: int
    axis: int | None
    symmetric: bool
    operator: str
    outputs: tuple[str, ...]
    source: str = ''
    bias: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class DeployedKernel:
    """A weight as the deployed file holds it.

    Attributes:
      site: the weight; its `scale_axes` and `scales` are those of the file.
      constant: the file's constant.
    """

    site: WeightSite
    constant: DeployedConstant


def match_kernels(
    graph: ServingGraph, sites: Sequence[WeightSite], constants: Sequence[DeployedConstant]
) -> dict[str, DeployedKernel]:
    """Finds, for each weight, the constant that the converter made of it, by its values.

    The weight is compared with and without the factors that may be folded into it, its axes in every order,
    neighbours joined; then multiples of these. So nothing is assumed about how an operator lays out its kernel.

    Args:
      graph: the incoming signature.
      sites: its weights.
      constants: constants of the file; those that are not symmetric match no weight.

    Returns:
      By variable key; weights whose constant was not found, or that stay float, are left out.

    Example:
      >>> match_kernels(graph, find_weight_sites(graph), constants)['layer/kernel'].site.channel_axes
      (3,)
    """
    free = {
        constant.name: constant for constant in constants if constant.symmetric and constant.values.ndim > 1
    }
    _LOG.info('looking for %d weights among %d constants of the file', len(sites), len(free))
    found: dict[str, DeployedKernel] = {}
    tried = list(_folded_kernels(graph, sites))
    for match in (_matching_axes, _matching_axes_of_multiple):
        for site, folded in tried:
            if site.variable.key in found:
                continue
            for constant in free.values():
                axes = match(folded, constant)
                if axes is not None:
                    site = _as_in_file(site, axes, constant)
                    found[site.variable.key] = DeployedKernel(site, constant)
                    del free[constant.name]
                    break
    return found


def _as_in_file(site: WeightSite, axes: tuple[int, ...], constant: DeployedConstant) -> WeightSite:
    """The site with the constant's axes; with one scale in a dense kernel its channels stay what they are."""
    if not axes and constant.operator == FULLY_CONNECTED:
        return dataclasses.replace(site, one_scale=True)
    return dataclasses.replace(site, channel_axes=axes)


def _folded_kernels(
    graph: ServingGraph, sites: Sequence[WeightSite]
) -> Iterator[tuple[WeightSite, np.ndarray]]:
    """Each weight with all that may be folded into it, then with less and less of it."""
    tried = [
        dataclasses.replace(site, scales=site.scales[:count])
        for site in sites
        for count in range(len(site.scales), -1, -1)
    ]
    for site, scale in zip(tried, channel_scales(graph, tried, {}), strict=True):
        yield site, site.variable.value if scale is None else site.variable.value * scale


def _matching_axes(kernel: np.ndarray, constant: DeployedConstant) -> tuple[int, ...] | None:
    """The kernel's axes that the constant has its scales along; None where the two differ in values."""
    if kernel.size != constant.values.size:
        return None
    largest = float(np.abs(constant.values).max())
    flat = constant.values.ravel()
    if not np.allclose(np.abs(kernel).max(), largest, rtol=_TOLERANCE, atol=0.0):
        return None
    for order in itertools.permutations([axis for axis, size in enumerate(kernel.shape) if size > 1]):
        axes = _axes_of_scales(kernel.shape, order, constant)
        if axes is None:
            continue
        laid_out = kernel.squeeze().transpose(_ranks(order)).ravel()
        if np.abs(laid_out - flat).max() <= _TOLERANCE * largest:
            return axes
    return None


def _matching_axes_of_multiple(kernel: np.ndarray, constant: DeployedConstant) -> tuple[int, ...] | None:
    """`_matching_axes` of a constant that is the kernel times one number, which changes at most the integers' signs.

    The converter folds a factor before a convolution without padding (of a rescaling layer, say) into its kernel.
    """
    largest = float(np.abs(kernel).max()) if kernel.size == constant.values.size else 0.0
    if not largest:
        return None
    factor = float(np.abs(constant.values).max()) / largest
    axes = _matching_axes(kernel * np.float32(factor), constant)
    return _matching_axes(kernel * np.float32(-factor), constant) if axes is None else axes


def _axes_of_scales(
    shape: Sequence[int], order: Sequence[int], constant: DeployedConstant
) -> tuple[int, ...] | None:
    """The axes that make up the constant's axis with the scales, when the kernel's stand in this order."""
    if constant.axis is None:
        return ()
    before = math.prod(constant.values.shape[: constant.axis])
    within = constant.values.shape[constant.axis]
    bounds = [1, *itertools.accumulate((shape[axis] for axis in order), lambda a, b: a * b)]
    if before not in bounds or before * within not in bounds:
        return None
    if within == 1:
        # One output channel: its scale is that of the whole weight.
        return ()
    return tuple(sorted(order[bounds.index(before) : bounds.index(before * within)]))


def _ranks(order: Sequence[int]) -> list[int]:
    """The order of the axes that are left when those of size 1 are dropped."""
    places = sorted(order)
    return [places.index(axis) for axis in order]


def with_deployed_axes(
    sites: Sequence[WeightSite], kernels: Mapping[str, DeployedKernel]
) -> tuple[WeightSite, ...]:
    """The sites, those of `kernels` with the file's axes and folding."""
    return tuple(kernels[site.variable.key].site if site.variable.key in kernels else site for site in sites)
