"""Scopes, structures, criteria and policies of pruning, each checked in the values that are written."""

from __future__ import annotations

import itertools
import logging
import pathlib
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.clustering import ClusteringOptions, cluster
from tfx_edge.components.core.compression.constraints import sparsity
from tfx_edge.components.core.compression.constraints.constrained_model import folded_kernels
from tfx_edge.components.core.compression.constraints.integer_grid import to_integers
from tfx_edge.components.core.compression.constraints.sparsity_structure import Block, MOfN
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.pruning import PruningOptions, prune
from tfx_edge.components.core.compression.training.user_functions import UserFunctions
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, find_weight_sites
from tfx_edge.components.core.errors import EdgeError

from .conftest import Batches, make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow


def _pruned(
    source: str, target: pathlib.Path, pruning: PruningOptions, num_steps: int, batches: Batches
) -> tuple[ServingGraph, dict[str, WeightSite]]:
    """The written model, and its sites by variable name."""
    graph = open_graph(source)
    values = prune(graph, pruning, make_options(num_steps), batches(graph) if num_steps else None)
    return _written(source, target, values)


def _written(
    source: str, target: pathlib.Path, values: Mapping[str, np.ndarray]
) -> tuple[ServingGraph, dict[str, WeightSite]]:
    write_with_values(source, str(target), values)
    graph = open_graph(str(target))
    return graph, {site.variable.name: site for site in find_weight_sites(graph)}


def _zeros(site: WeightSite) -> int:
    return int(np.count_nonzero(site.variable.value == 0))


@pytest.mark.parametrize('num_steps', [0, 40])
def test_global_scope_meets_the_target_over_all_weights(
    saved_model: str, batches: Batches, tmp_path: pathlib.Path, num_steps: int
) -> None:
    _, sites = _pruned(saved_model, tmp_path / 'p', make_pruning(scope='GLOBAL'), num_steps, batches)
    zeros = {name: _zeros(site) for name, site in sites.items()}
    sizes = {name: site.variable.value.size for name, site in sites.items()}
    assert sum(zeros.values()) == np.floor(0.75 * sum(sizes.values()) + 0.5)
    assert any(zeros[name] != np.floor(0.75 * sizes[name] + 0.5) for name in zeros)
    assert all(zeros[name] < sizes[name] for name in zeros)


def test_global_scope_drops_the_smallest_magnitudes_of_the_model(
    digits_saved_model: pathlib.Path, batches: Batches, tmp_path: pathlib.Path
) -> None:
    _, before = _pruned(str(digits_saved_model), tmp_path / 'a', make_pruning(0.0), 0, batches)
    _, after = _pruned(str(digits_saved_model), tmp_path / 'b', make_pruning(0.3, scope='GLOBAL'), 0, batches)
    values = [site.variable.value for site in before.values()]
    for keep, site in zip(sparsity.masks([np.abs(v) for v in values], 0.3), after.values(), strict=True):
        np.testing.assert_array_equal(site.variable.value != 0, keep)


@pytest.mark.parametrize('num_steps', [0, 40])
@pytest.mark.parametrize('scope', ['TENSOR', 'GLOBAL'])
def test_blocks_are_zero_whole_and_as_near_to_the_target_as_they_allow(
    saved_model: str, batches: Batches, tmp_path: pathlib.Path, num_steps: int, scope: str
) -> None:
    block = Block(4, 2, 'AVG')
    pruning = make_pruning(0.6, structure=block, scope=scope)
    _, sites = _pruned(saved_model, tmp_path / 'p', pruning, num_steps, batches)
    groups = [list(sites.values())] if scope == 'GLOBAL' else [[site] for site in sites.values()]
    for group in groups:
        for site in group:
            keep = site.variable.value != 0
            matrix = np.moveaxis(keep, site.channel_axes, range(-len(site.channel_axes), 0))
            matrix = matrix.reshape(-1, np.prod([keep.shape[axis] for axis in site.channel_axes]))
            for row, column in itertools.product(range(0, matrix.shape[0], 4), range(0, matrix.shape[1], 2)):
                whole = matrix[row : row + 4, column : column + 2]
                assert whole.all() or not whole.any()
        size = sum(site.variable.value.size for site in group)
        assert abs(sum(_zeros(site) for site in group) - 0.6 * size) <= 4  # half a block


@pytest.mark.parametrize('num_steps', [0, 40])
def test_two_of_every_four_weights_along_the_input_channels_are_zero(
    saved_model: str, batches: Batches, tmp_path: pathlib.Path, num_steps: int
) -> None:
    pruning = make_pruning(1.0, structure=MOfN(2, 4))
    _, sites = _pruned(saved_model, tmp_path / 'p', pruning, num_steps, batches)
    for site in sites.values():
        if site.op == 'DepthwiseConv2dNative':
            assert _zeros(site) == 0
        else:
            _assert_m_of_n(site.variable.value, site.variable.value.ndim - 2, 2, 4)


def test_groups_lie_along_the_input_channels_of_transposed_kernels(
    many_kernels: str, batches: Batches, tmp_path: pathlib.Path
) -> None:
    _, sites = _pruned(many_kernels, tmp_path / 'p', make_pruning(1.0, structure=MOfN(1, 3)), 3, batches)
    axes = {'first': 2, 'pointwise': 2, 'strided': 2, 'grouped': 2, 'transposed': 3, 'matrix': 1}
    assert axes.keys() == sites.keys()
    for name, axis in axes.items():
        assert sites[name].sum_axes == (axis,)
        _assert_m_of_n(sites[name].variable.value, axis, 1, 3)


def _assert_m_of_n(value: np.ndarray, axis: int, m: int, n: int) -> None:
    rows = np.moveaxis(value, axis, -1)
    for start in range(0, rows.shape[-1], n):
        group = rows[..., start : start + n]
        np.testing.assert_array_equal(np.count_nonzero(group == 0, axis=-1), m * group.shape[-1] // n)


def test_weights_without_input_channels_are_reported_and_alone_refused(
    digits_saved_model: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = open_graph(str(digits_saved_model))
    with caplog.at_level(logging.INFO):
        prune(graph, make_pruning(1.0, structure=MOfN(2, 4)), make_options(0), None)
    assert 'not pruned; DepthwiseConv2dNative has no input channels' in caplog.text
    only = make_pruning(1.0, structure=MOfN(2, 4), include=('depthwise',))
    with pytest.raises(EdgeError, match=r'm_of_n leaves no weight to prune: .*depthwise'):
        prune(graph, only, make_options(0), None)


def test_zeros_of_each_group_grow_with_the_schedule(
    digits_saved_model: pathlib.Path, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx_edge.components.core.compression import pruning as module

    seen = []

    def record(score: np.ndarray, axis: int, zeros: int, n: int) -> np.ndarray:
        seen.append(zeros)
        return np.ones(score.shape, bool)

    monkeypatch.setattr(module, 'm_of_n_mask', record)
    graph = open_graph(str(digits_saved_model))
    options = make_pruning(
        1.0, structure=MOfN(3, 4), power=1.0, end_step=8, frequency=1, include=('conv2d/kernel',)
    )
    prune(graph, options, make_options(10), batches(graph))
    assert seen == [0, 0, 1, 1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize('structure', [None, Block(2, 2, 'MAX'), MOfN(2, 4)])
def test_taylor_drops_what_costs_little_and_never_brings_a_weight_back(
    digits_saved_model: pathlib.Path,
    batches: Batches,
    monkeypatch: pytest.MonkeyPatch,
    structure: Block | MOfN | None,
) -> None:
    from tfx_edge.components.core.compression.constraints.constrained_model import ConstrainedModel

    dropped: dict[str, list[np.ndarray]] = {}
    original = ConstrainedModel.set_mask

    def record(model: ConstrainedModel, key: str, keep: np.ndarray) -> None:
        dropped.setdefault(key, []).append(~keep)
        original(model, key, keep)

    monkeypatch.setattr(ConstrainedModel, 'set_mask', record)
    graph = open_graph(str(digits_saved_model))
    target = 1.0 if isinstance(structure, MOfN) else 0.75
    results = {}
    for criterion in ('MAGNITUDE', 'TAYLOR'):
        dropped.clear()
        options = make_pruning(target, criterion=criterion, structure=structure, frequency=5)
        results[criterion] = prune(graph, options, make_options(40), batches(graph))
    for masks in dropped.values():
        assert len(masks) == 7
        assert not masks[0].any()
        for before, after in itertools.pairwise(masks):
            assert not (before & ~after).any()
    key = next(v.key for v in graph.variables if v.name.endswith('dense/kernel'))
    zeros = {criterion: values[key] == 0 for criterion, values in results.items()}
    assert np.count_nonzero(zeros['MAGNITUDE']) == np.count_nonzero(zeros['TAYLOR'])
    assert (zeros['MAGNITUDE'] != zeros['TAYLOR']).any()


def test_taylor_scores_are_weight_times_gradient(module_saved_model: pathlib.Path, batches: Batches) -> None:
    graph = open_graph(str(module_saved_model))
    options = make_pruning(0.5, criterion='TAYLOR', begin_step=1, end_step=1, include=('matrix',))
    functions = UserFunctions(
        loss_fn=lambda features, teacher, student: tf.reduce_mean(tf.square(student['score'] - 1.0))
    )
    batch = next(batches(graph))
    tuning = make_options(1, optimizer='SGD', learning_rate=1e-9, functions=functions)
    value = prune(graph, options, tuning, iter([batch]))
    matrix = next(v for v in graph.variables if v.name == 'matrix')

    @tf.function(autograph=False)
    def gradient() -> tf.Tensor:
        weight = tf.constant(matrix.value)
        inputs = {name: tf.constant(batch[name]) for name in graph.inputs}
        (score,) = graph.call(inputs, {matrix.key: weight}, list(graph.outputs.values()))
        return tf.gradients(tf.reduce_mean(tf.square(score - 1.0)), [weight])[0]

    importance = np.abs(matrix.value * gradient().numpy())
    kept = value[matrix.key] != 0
    assert np.count_nonzero(~kept) == matrix.value.size // 2
    assert importance[~kept].max() <= importance[kept].min() * 1.001
    assert np.abs(matrix.value[~kept]).max() > np.abs(matrix.value[kept]).min()


def test_taylor_without_steps_before_the_target_is_refused(
    digits_saved_model: pathlib.Path, batches: Batches
) -> None:
    graph = open_graph(str(digits_saved_model))
    with pytest.raises(EdgeError, match=r'TAYLOR needs gradients .* \(FineTuning.num_steps is 0\)'):
        prune(graph, make_pruning(criterion='TAYLOR'), make_options(0), None)
    with pytest.raises(EdgeError, match='TAYLOR needs gradients'):
        prune(graph, make_pruning(criterion='TAYLOR'), make_options(1), batches(graph))


def test_steps_that_end_before_pruning_begins_are_refused(digits_saved_model: pathlib.Path) -> None:
    with pytest.raises(EdgeError, match=r'begin_step is 9; expected FineTuning.num_steps \(5\) or less'):
        prune(open_graph(str(digits_saved_model)), make_pruning(begin_step=9), make_options(5), None)


def test_xnnpack_policy_prunes_plain_pointwise_convolutions_only(
    many_kernels: str, batches: Batches, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _, sites = _pruned(many_kernels, tmp_path / 'a', make_pruning(policy='XNNPACK'), 4, batches)
    assert {name for name, site in sites.items() if _zeros(site)} == {'pointwise'}
    assert _zeros(sites['pointwise']) == 36
    assert 'XNNPACK uses sparse kernels' not in caplog.text
    with caplog.at_level(logging.WARNING):
        _pruned(many_kernels, tmp_path / 'b', make_pruning(0.5, policy='XNNPACK'), 0, batches)
    assert '50.0% of the 1x1 kernels are zero; XNNPACK uses sparse kernels from 66.7% on' in caplog.text


def test_xnnpack_policy_without_pointwise_convolutions_names_what_there_is(many_kernels: str) -> None:
    options = make_pruning(policy='XNNPACK', exclude=('pointwise',))
    with pytest.raises(
        EdgeError, match='first 3x3x1x8, strided 1x1x6x6, grouped 1x1x3x4, transposed 2x2x5x4'
    ):
        prune(open_graph(many_kernels), options, make_options(0), None)


@pytest.mark.parametrize(
    'changes',
    [
        {'scope': 'GLOBAL'},
        {'structure': Block(2, 2, 'AVG')},
        {'structure': MOfN(2, 4), 'target': 1.0},
        {'criterion': 'TAYLOR'},
    ],
    ids=['global', 'block', 'm_of_n', 'taylor'],
)
def test_clusters_that_came_in_stay(
    digits_saved_model: pathlib.Path, batches: Batches, tmp_path: pathlib.Path, changes: dict
) -> None:
    graph = open_graph(str(digits_saved_model))
    clustering = ClusteringOptions(number_of_clusters=12, preserve_sparsity=True, include=(), exclude=())
    clustered = cluster(graph, clustering, make_options(10), batches(graph))
    _written(str(digits_saved_model), tmp_path / 'c', clustered)
    graph, sites = _pruned(str(tmp_path / 'c'), tmp_path / 'p', make_pruning(**changes), 30, batches)
    kernels = folded_kernels(graph, tuple(sites.values()))
    total = sum(_zeros(site) for site in sites.values())
    size = sum(site.variable.value.size for site in sites.values())
    # Depthwise kernels and those of one input channel have no groups of four.
    assert abs(total / size - (0.5 if 'target' in changes else 0.75)) < 0.03
    for site in sites.values():
        integers = to_integers(kernels[site.variable.key], site.channel_axes)
        assert integers is not None
        assert np.unique(integers).size <= 12


def test_masks_of_a_large_net_are_few_and_those_of_a_small_one_many(
    digits_saved_model: pathlib.Path, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx_edge.components.core.compression import pruning as module

    graph = open_graph(str(digits_saved_model))
    calls = []
    monkeypatch.setattr(module.sparsity, 'mask', lambda score, share: calls.append(share) or score > -1)

    def count() -> int:
        calls.clear()
        prune(graph, make_pruning(include=('dense/kernel',)), make_options(200), batches(graph))
        return len(calls)

    assert count() == 151
    monkeypatch.setattr(module, '_WEIGHTS_PER_STEP', 1)
    assert count() == 11


@pytest.mark.parametrize(
    ('target', 'is_open', 'times'),
    [(0.5, True, 1.0), (0.625, True, 2.0), (0.9, True, 3.0), (0.9, False, 1.0)],
)
def test_the_rate_fits_the_zeros_unless_it_is_given(
    module_saved_model: pathlib.Path,
    batches: Batches,
    caplog: pytest.LogCaptureFixture,
    target: float,
    is_open: bool,
    times: float,
) -> None:
    caplog.set_level(logging.INFO)
    graph = open_graph(str(module_saved_model))
    scale = next(v for v in graph.variables if v.name == 'scale')
    moved = []
    for rate, is_left_open in ((1e-5 * times, False), (1e-5, is_open)):
        options = make_options(3, optimizer='SGD', learning_rate=rate, rate_is_open=is_left_open)
        values = prune(graph, make_pruning(target, end_step=1), options, batches(graph))
        moved.append(values[scale.key])
        assert (values[scale.key] != scale.value).any()
    np.testing.assert_array_equal(*moved)
    assert ('times the default' in caplog.text) == (times > 1)


def test_the_rate_falls_when_masks_change_no_more(module_saved_model: pathlib.Path, batches: Batches) -> None:
    graph = open_graph(str(module_saved_model))
    scale = next(v for v in graph.variables if v.name == 'scale')

    def trained(end_step: int, schedule: str) -> np.ndarray:
        options = make_options(8, optimizer='SGD', learning_rate=1e-4, learning_rate_schedule=schedule)
        pruning = make_pruning(0.5, end_step=end_step, include=('matrix',))
        return prune(graph, pruning, options, batches(graph))[scale.key]

    # Until the end of the masks, which is that of the steps, the rate does not fall.
    np.testing.assert_array_equal(trained(8, 'CONSTANT_THEN_COSINE'), trained(8, 'CONSTANT'))
    assert (trained(4, 'CONSTANT_THEN_COSINE') != trained(4, 'CONSTANT')).any()
