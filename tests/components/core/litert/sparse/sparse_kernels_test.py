"""1x1 kernels stored sparse: the same answers in fewer bytes, or the operator that is in the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.components.core.litert.file_edits import add_tensor
from tests.components.core.litert.sparse.pointwise_nets import Net, end, stem
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.sparse import sparse_kernels

_VALID = flatbuffer.schema.Padding.VALID


def _kinds(file: ModelFile) -> list[str]:
    return [operator.name for operator in inspect_model(file).operators]


def _answers(file: ModelFile, size: int = 33) -> np.ndarray:
    images = np.random.default_rng(1).uniform(-1, 1, (5, size, size, 3)).astype(np.float32)
    (answers,) = LiteRTModel(file.data)({'image': images}).values()
    return answers


def _padded(before: int) -> ModelFile:
    """A net on 32x32 whose strided convolutions have a PAD each: so many rows before, one after."""
    net = Net(size=32)
    net.pad(before, 1)
    net.convolution(8, 3, 2, padding=_VALID)
    net.depthwise()
    net.convolution(24, zeros=0.9)
    net.pad(before, 1)
    net.depthwise(stride=2, padding=_VALID)
    net.convolution(32, zeros=0.9)
    net.mean()
    net.dense()
    return net.file()


def _require_alike(sparse: ModelFile, dense: ModelFile, size: int = 33) -> None:
    """Sums in another order differ by little of the largest answer."""
    expected = _answers(dense, size)
    np.testing.assert_allclose(_answers(sparse, size), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_kernels_are_sparse_and_answers_stay() -> None:
    dense = end(stem())
    made = sparse_kernels.make(dense)
    assert not made.obstacle
    assert len(made.kernels) == 2
    assert made.zeros == pytest.approx(0.8, abs=0.01)
    assert len(made.file.data) < len(dense.data)
    _require_alike(made.file, dense)


def test_kernels_of_float16_stay_dense() -> None:
    dense = end(stem(half=True))
    made = sparse_kernels.make(dense)
    assert made.file is dense
    assert 'has weights that are not stored as float32; make the file with mode FLOAT32' in made.obstacle


def test_the_same_file_is_made_twice() -> None:
    assert sparse_kernels.make(end(stem())).file == sparse_kernels.make(end(stem())).file


def test_reports_see_the_zeros_of_sparse_kernels() -> None:
    dense = end(stem())
    before, after = inspect_model(dense), inspect_model(sparse_kernels.make(dense).file)
    assert after.kernel_zeros == before.kernel_zeros
    assert after.kernel_max_distinct == before.kernel_max_distinct
    assert {kernel.name for kernel in after.kernels} == {kernel.name for kernel in before.kernels}
    assert 'DENSIFY' in _kinds(sparse_kernels.make(dense).file)
    assert all(
        operator.arithmetic == 'conversion' for operator in after.operators if operator.name == 'DENSIFY'
    )


@pytest.mark.parametrize(
    ('size', 'mirrored'),
    [
        # 33 rows become 17, and these 9: at odd sizes SAME adds one row on each side.
        (33, False),
        # Even sizes: a row after, none before. 34 become 17, of which one is even and one is not.
        (32, True),
        (34, True),
    ],
)
def test_same_padding_is_written_as_even_padding(size: int, mirrored: bool) -> None:
    dense = end(stem(size))
    made = sparse_kernels.make(dense)
    assert (made.padded, made.mirrored) == (('conv_2d_0', 'depthwise_conv_2d_3'), mirrored)
    assert _kinds(made.file).count('PAD') == 2
    assert _kinds(made.file).count('REVERSE_V2') == 2 * mirrored
    _require_alike(made.file, dense, size)


def test_kernels_of_5x5_are_padded_evenly_in_the_mirror_image_too() -> None:
    net = stem(32)
    net.depthwise(5, stride=2)
    dense = end(net)
    made = sparse_kernels.make(dense)
    assert made.mirrored
    _require_alike(made.file, dense, 32)


def test_a_row_of_padding_after_the_image_alone_is_made_even() -> None:
    # As keras.applications pads before convolutions with stride 2.
    dense = _padded(before=0)
    made = sparse_kernels.make(dense)
    assert (made.mirrored, len(made.kernels), _kinds(made.file).count('PAD')) == (True, 2, 2)
    _require_alike(made.file, dense, 32)


def test_what_cannot_be_mirrored_is_named() -> None:
    net = stem(32)
    held = add_tensor(net.content, 'size', 'INT32', (2,), np.array([20, 20], np.int32))
    net.add('RESIZE_BILINEAR', [net.last, held], (-1, 20, 20, 24), 'ResizeBilinearOptions')
    obstacle = sparse_kernels.make(end(net)).obstacle
    assert "RESIZE_BILINEAR 'resize_bilinear_3' does not take the mirror image" in obstacle


def test_padding_in_the_model_is_taken_as_it_is() -> None:
    dense = _padded(before=1)
    made = sparse_kernels.make(dense)
    assert (made.obstacle, made.padded, len(made.kernels)) == ('', (), 2)
    _require_alike(made.file, dense, 32)


def test_branches_that_meet_inside_are_sparse() -> None:
    net = stem()
    shortcut = net.last
    net.depthwise()
    net.convolution(24, zeros=0.8)
    net.add('ADD', [shortcut, net.last], net.shape(), 'AddOptions')
    # Squeeze and excitation: pooled values become factors of the channels.
    excited = net.last
    net.mean(keep=True)
    net.convolution(24, zeros=0.8)
    net.add('LOGISTIC', [net.last], net.shape(), 'AbsOptions')
    net.add('MUL', [net.last, excited], net.shape(excited), 'MulOptions')
    assert sparse_kernels.make(end(net)).obstacle == ''


def test_with_too_few_zeros_kernels_stay_dense() -> None:
    dense = end(stem(zeros=0.6), zeros=0.66)
    made = sparse_kernels.make(dense)
    assert made.file is dense
    assert 'of the weights in 1x1 kernels are zero; expected more than two thirds' in made.obstacle


def _max_pool(net: Net) -> None:
    shape = net.shape()
    sizes = {'filterWidth': 3, 'filterHeight': 3, 'strideW': 1, 'strideH': 1}
    net.add('MAX_POOL_2D', [net.last], shape, 'Pool2DOptions', **sizes)


def _concatenation(net: Net) -> None:
    shape = net.shape()
    net.add('CONCATENATION', [net.last] * 2, (*shape[:3], 2 * shape[3]), 'ConcatenationOptions', axis=3)


def _added_constant(net: Net) -> None:
    held = add_tensor(net.content, 'shift', 'FLOAT32', (24,), np.ones(24, np.float32))
    net.add('ADD', [net.last, held], net.shape(), 'AddOptions')


def _added_from_outside(net: Net) -> None:
    image = net.content.subgraphs[0].inputs[0]
    inside = net.last
    net.last = image
    net.convolution(24, 5, 2)
    net.add('ADD', [inside, net.last], net.shape(inside), 'AddOptions')


@pytest.mark.parametrize(
    ('blocking', 'named'),
    [
        (_max_pool, "MAX_POOL_2D 'max_pool_2d_3' is not computed between sparse kernels"),
        (_concatenation, "CONCATENATION 'concatenation_3' is not computed between sparse kernels"),
        (_added_constant, "ADD 'add_3' takes a constant"),
        (_added_from_outside, "ADD 'add_4' also reads 'conv_2d_3', which does not come from the stem"),
        (lambda net: net.convolution(24, 3), "CONV_2D 'conv_2d_3' has a kernel of 3x3; expected 1x1"),
        (lambda net: net.convolution(24, 1, 2), "CONV_2D 'conv_2d_3' has stride (2, 2); expected 1"),
        (lambda net: net.depthwise(7), "DEPTHWISE_CONV_2D 'depthwise_conv_2d_3' has a kernel of 7x7"),
        (
            lambda net: net.add('ADD', [net.last] * 2, net.shape(), 'AddOptions'),
            "ADD 'add_3' adds a value to itself",
        ),
        (
            lambda net: net.add('LEAKY_RELU', [net.last], net.shape(), 'LeakyReluOptions', alpha=0.0),
            "LEAKY_RELU 'leaky_relu_3' has a slope of 0",
        ),
        (
            lambda net: net.add('TANH', [net.last], net.shape(), 'AbsOptions'),
            "TANH 'tanh_3' is not computed between sparse kernels",
        ),
        (lambda net: net.depthwise(3, dilationHFactor=2), "'depthwise_conv_2d_3' is dilated"),
        (lambda net: net.depthwise(3, fusedActivationFunction=4), "'depthwise_conv_2d_3' ends with TANH"),
        (
            lambda net: net.depthwise(3, padding=_VALID),
            "'depthwise_conv_2d_3' pads ((0, 0), (0, 0)) around 17x17; expected 1",
        ),
        (lambda net: net.pad(), "PAD 'pad_3' is not read by one depthwise convolution"),
    ],
)
def test_the_operator_in_the_way_is_named(blocking: Callable[[Net], None], named: str) -> None:
    net = stem()
    blocking(net)
    dense = end(net)
    made = sparse_kernels.make(dense)
    assert named in made.obstacle
    assert made.file is dense


def _unpadded_stem() -> Net:
    net = Net()
    net.convolution(8, 3, 2, padding=_VALID)
    net.depthwise()
    net.convolution(24, zeros=0.8)
    return net


@pytest.mark.parametrize(
    ('net', 'named'),
    [
        (_unpadded_stem(), "CONV_2D 'conv_2d_0' pads ((0, 0), (0, 0)) around 33x33; expected 1 on all sides"),
        (
            Net(size=33, channels=1),
            'has a kernel of 3x3 and 1 channels; expected a 3x3 convolution of 3 channels',
        ),
    ],
)
def test_what_the_first_convolution_lacks_is_named(net: Net, named: str) -> None:
    if net.shape()[-1] == 1:
        net.convolution(8, 3, 2)
        net.convolution(24, zeros=0.8)
    assert named in sparse_kernels.make(end(net)).obstacle


def test_a_convolution_of_pooled_values_at_the_end_is_named_with_the_remedy() -> None:
    net = stem()
    net.mean(keep=True)
    net.convolution(10, zeros=0.8)
    net.add('SOFTMAX', [net.last], net.shape(), 'SoftmaxOptions')
    obstacle = sparse_kernels.make(net.file()).obstacle
    assert "SOFTMAX 'softmax_5' lies behind a 1x1 convolution of pooled values" in obstacle
    assert 'GlobalAveragePooling2D and Dense' in obstacle


def test_pooled_values_that_no_convolution_reads_are_named() -> None:
    net = stem()
    whole = net.last
    net.mean(keep=True)
    net.add('LOGISTIC', [net.last], net.shape(), 'AbsOptions')
    net.add('MUL', [net.last, whole], net.shape(whole), 'MulOptions')
    assert "LOGISTIC 'logistic_4' reads pooled values" in sparse_kernels.make(end(net)).obstacle


def test_an_output_inside_is_named() -> None:
    net = stem()
    assert "the output 'conv_2d_2' is read inside" in sparse_kernels.make(net.file()).obstacle


def test_a_second_stem_leaves_all_kernels_dense() -> None:
    net = stem()
    net.mean()
    first = net.last
    net.last = net.content.subgraphs[0].inputs[0]
    net.convolution(8, 3, 2)
    net.convolution(24, zeros=0.9)
    net.mean()
    net.add('ADD', [first, net.last], net.shape(), 'AddOptions')
    assert "CONV_2D 'conv_2d_4' is a second stem" in sparse_kernels.make(net.file()).obstacle


def _kept_mean(net: Net) -> None:
    net.mean(keep=True)


def _kept_mean_and_dense_of_four_dimensions(net: Net) -> None:
    net.mean(keep=True)
    kernel = add_tensor(net.content, 'head', 'FLOAT32', (4, 24), np.ones((4, 24), np.float32))
    net.add('FULLY_CONNECTED', [net.last, kernel], (-1, 1, 1, 4), 'FullyConnectedOptions', keepNumDims=True)


def _kept_mean_and_softmax(net: Net) -> None:
    net.mean(keep=True)
    net.add('SOFTMAX', [net.last], net.shape(), 'SoftmaxOptions')


@pytest.mark.parametrize(
    'ended', [_kept_mean, _kept_mean_and_dense_of_four_dimensions, _kept_mean_and_softmax]
)
def test_a_mean_that_keeps_its_dimensions_at_the_end_is_named(ended: Callable[[Net], None]) -> None:
    net = stem()
    ended(net)
    obstacle = sparse_kernels.make(net.file()).obstacle
    assert "MEAN 'mean_3' keeps one row and one column" in obstacle
    assert 'GlobalAveragePooling2D without keepdims' in obstacle


def test_a_mean_that_keeps_its_dimensions_may_be_reshaped() -> None:
    net = stem()
    net.mean(keep=True)
    shape = add_tensor(net.content, 'flat', 'INT32', (2,), np.array([-1, 24], np.int32))
    net.add('RESHAPE', [net.last, shape], (-1, 24), 'ReshapeOptions')
    assert sparse_kernels.make(net.file()).obstacle == ''


def test_even_padding_at_an_even_size_is_not_mirrored() -> None:
    net = stem(32)
    net.pad()
    net.depthwise(stride=2, padding=_VALID)
    net.convolution(32, zeros=0.8)
    net.mean()
    dense = net.file()
    made = sparse_kernels.make(dense)
    assert 'pads as much before as after at an even size, and others less before' in made.obstacle
    assert made.file is dense


def test_a_kernel_of_the_part_that_is_read_elsewhere_too_is_named() -> None:
    net = stem()
    (kernel,) = (op.inputs[1] for op in net.content.subgraphs[0].operators if op.outputs[0] == net.last)
    net.mean()
    scores = net.last
    net.add('ABS', [int(kernel)], net.shape(int(kernel)), 'AbsOptions')
    net.content.subgraphs[0].outputs = [scores, net.last]
    assert (
        "the kernel of CONV_2D 'conv_2d_2' is read elsewhere too" in sparse_kernels.make(net.file()).obstacle
    )


def test_a_kernel_that_is_an_output_is_named() -> None:
    net = stem()
    (kernel,) = (op.inputs[1] for op in net.content.subgraphs[0].operators if op.outputs[0] == net.last)
    net.mean()
    net.content.subgraphs[0].outputs = [net.last, int(kernel)]
    assert (
        "the kernel of CONV_2D 'conv_2d_2' is read elsewhere too" in sparse_kernels.make(net.file()).obstacle
    )


def test_padding_that_is_an_output_too_is_not_taken_for_the_stems() -> None:
    net = Net(size=32)
    padded = net.pad()
    net.convolution(8, 3, 2, padding=_VALID)
    net.convolution(24, zeros=0.9)
    net.mean()
    net.content.subgraphs[0].outputs = [net.last, padded]
    assert "CONV_2D 'conv_2d_1' pads ((0, 0), (0, 0))" in sparse_kernels.make(net.file()).obstacle


def test_amounts_of_padding_in_another_type_are_named() -> None:
    net = stem()
    amounts = np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int64)
    held = add_tensor(net.content, 'amounts', 'INT64', amounts.shape, amounts)
    net.add('PAD', [net.last, held], (-1, 19, 19, 24), 'PadOptions')
    net.depthwise(stride=2, padding=_VALID)
    net.convolution(32, zeros=0.8)
    net.mean()
    assert 'a padding that is computed; expected fixed sizes' in sparse_kernels.make(net.file()).obstacle


def test_blocks_of_one_are_named() -> None:
    net = stem()
    net.add('DEPTH_TO_SPACE', [net.last], net.shape(), 'DepthToSpaceOptions', blockSize=1)
    assert "DEPTH_TO_SPACE 'depth_to_space_3' has blocks of 1" in sparse_kernels.make(net.file()).obstacle


def test_a_kernel_that_two_convolutions_read_counts_twice() -> None:
    """As XNNPACK counts: twice 24x24 weights, of which nine tenths are zero, and 8x24 of which none is."""
    net = stem(zeros=0.0)
    net.convolution(24, zeros=0.9)
    first = net.content.subgraphs[0].operators[-1]
    net.convolution(24, zeros=0.0)
    net.content.subgraphs[0].operators[-1].inputs = [int(first.outputs[0]), *map(int, first.inputs[1:])]
    net.mean()
    made = sparse_kernels.make(net.file())
    assert made.zeros == pytest.approx(2 * 0.9 * 576 / (2 * 576 + 192), abs=0.01)


def test_numbers_that_are_not_finite_in_both_files_are_equal() -> None:
    net = stem()
    net.mean()
    net.add('LOG', [net.last], net.shape(), 'AbsOptions')
    assert sparse_kernels.make(net.file()).obstacle == ''


def test_zeros_that_someone_may_expect_to_be_sparse_are_found() -> None:
    assert sparse_kernels.has_pointwise_zeros(end(stem(zeros=0.7), zeros=0.1))
    assert not sparse_kernels.has_pointwise_zeros(end(stem(zeros=0.6), zeros=0.6))
