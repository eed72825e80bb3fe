"""Files held against the float model: what is lost is found, named and repaired; what is fine stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests import digits as data
from tests.golden import files
from tfx_edge.components.core.calibration.reference import Reference
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantized_file
from tfx_edge.components.core.post_training import fidelity_report
from tfx_edge.components.core.post_training.bound import Bound
from tfx_edge.components.core.post_training.compared_file import ComparedFile, make_compared
from tfx_edge.components.core.post_training.fidelity import compare

Inputs = dict[str, np.ndarray]


def masked(rows: int = 192) -> Inputs:
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 9, size=rows)
    mask = np.arange(8) < lengths[:, np.newaxis]
    return {
        'tokens': rng.normal(size=(rows, 8, 6)).astype(np.float32),
        'mask': mask.astype(np.float32),
    }


def unlike_columns(rows: int = 192) -> Inputs:
    row = np.random.default_rng(1).normal(size=(rows, 4)) * [1e5, 300, 0.05, 1e-3] + [3e5, 900, 0.1, 3e-3]
    return {'row': row.astype(np.float32)}


def selected(rows: int = 192) -> Inputs:
    x = np.random.default_rng(1).uniform(-1, 1, size=(rows, 6)).astype(np.float32)
    x[::2] *= 100
    return {'x': x}


def digits(rows: int = 192) -> Inputs:
    return {'image': data.load()['x_train'][:rows]}


class _Net:
    """A float file, the ranges of some examples, and its answers to others."""

    def __init__(self, model: bytes, inputs: Inputs) -> None:
        self.model = ModelFile(model)
        reader = ActivationReader(self.model)
        self.ranges: dict[str, tuple[float, float]] = {}
        for start in range(0, 128, 8):
            batch = {name: values[start : start + 8] for name, values in inputs.items()}
            for name, values in reader(batch).items():
                low, high = self.ranges.get(name, (np.inf, -np.inf))
                self.ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
        held = {name: values[128:] for name, values in inputs.items()}
        self.reference = Reference(held, LiteRTModel(model)(held), held_out=True)

    def held(
        self, mode: str = 'INT8', engine: str = 'LITERT', bound: Bound | None = None, **options: object
    ) -> ComparedFile:
        options_ = QuantizationOptions(mode, engine=engine, **options)  # type: ignore[arg-type]
        return make_compared(self.model, options_, self.ranges, self.reference, bound or Bound())

    def db(self, file: ModelFile) -> float:
        return compare(self.reference.answers, LiteRTModel(file.data)(self.reference.inputs)).db


NETS: Mapping[str, Callable[[], Inputs]] = {
    'masked': masked,
    'unlike_columns': unlike_columns,
    'selected': selected,
    'digits': digits,
}


@pytest.fixture(scope='module')
def nets() -> dict[str, _Net]:
    return {name: _Net(files.float_model(name), inputs()) for name, inputs in NETS.items()}


@pytest.mark.parametrize(
    ('name', 'mode', 'engine', 'operators'),
    [
        ('masked', 'INT8', 'LITERT', ('SELECT', 'SOFTMAX')),
        pytest.param('masked', 'INT8', 'CONVERTER', ('SELECT', 'SOFTMAX'), marks=pytest.mark.slow),
        ('masked', 'INT16X8', 'LITERT', ('SELECT', 'SOFTMAX')),
        ('unlike_columns', 'INT8', 'AUTO', ('SUB', 'FULLY_CONNECTED')),
        ('unlike_columns', 'INT16X8', 'LITERT', ('SUB', 'FULLY_CONNECTED')),
        ('unlike_columns', 'DYNAMIC_INT8', 'LITERT', ('FULLY_CONNECTED',)),
        pytest.param('selected', 'INT8', 'CONVERTER', ('MUL',), marks=pytest.mark.slow),
    ],
)
def test_the_operators_that_lose_the_answers_stay_float(
    nets: dict[str, _Net], name: str, mode: str, engine: str, operators: tuple[str, ...]
) -> None:
    net = nets[name]
    held = net.held(mode, engine)
    assert held.repaired
    assert held.lost is not None
    assert held.lost.db_before < 10 < held.min_db
    assert held.fidelity.db > 18
    assert held.fidelity.db == net.db(held.made.file)
    for operator in operators:
        assert any(entry.startswith(operator) for entry in held.lost.operators)
    summary = inspect_model(held.made.file)
    assert any(op.arithmetic in ('integer', 'hybrid') for op in summary.operators)
    # None of them can go back.
    for dropped in held.lost.keep_float:
        fewer = tuple(pattern for pattern in held.lost.keep_float if pattern != dropped)
        again = (
            make_compared(
                net.model,
                QuantizationOptions(mode, engine=held.lost.engine, keep_float=fewer),
                net.ranges,
                net.reference,
                Bound(repair=False, min_db=-100),
            )
            if engine != 'CONVERTER'
            else None
        )
        assert again is None or again.fidelity.db < held.min_db
    line = fidelity_report.line(held)
    assert f'the {mode} file against the float model on 64 held-out examples' in line
    assert 'stay float' in line


@pytest.mark.parametrize('number', [-1e4, -3e4, -2.3e38])
def test_any_number_of_a_mask_is_repaired(
    with_number: Callable[[bytes, float, float], bytes], number: float
) -> None:
    held = _Net(with_number(files.float_model('masked'), -1e9, number), masked()).held()
    assert held.repaired
    assert held.fidelity.db > 15


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8', 'DYNAMIC_INT8', 'FLOAT16', 'FLOAT32'])
def test_a_file_that_answers_as_the_float_model_stays_as_it_is(nets: dict[str, _Net], mode: str) -> None:
    net = nets['digits']
    held = net.held(mode)
    assert not held.is_low
    assert not held.repaired
    assert held.lost is None
    assert held.made.file == quantized_file(net.model, QuantizationOptions(mode, engine='LITERT'), net.ranges)
    assert 'expected' not in fidelity_report.line(held)


def test_auto_takes_the_engine_that_keeps_the_answers(nets: dict[str, _Net]) -> None:
    held = nets['selected'].held(engine='AUTO')
    assert held.made.engine == 'LITERT'
    assert not held.repaired
    assert held.fidelity.db > 30
    # The converter leaves no operator float, which is why it was taken when these were counted.
    assert inspect_model(held.made.file).float_ops


def test_without_repair_the_warning_names_what_repairs(nets: dict[str, _Net]) -> None:
    net = nets['unlike_columns']
    held = net.held(bound=Bound(repair=False))
    assert held.is_low
    assert not held.repaired
    assert held.lost is not None
    line = fidelity_report.line(held)
    for pattern in held.lost.keep_float:
        assert repr(pattern) in line
    followed = net.held(bound=Bound(repair=False), keep_float=held.lost.keep_float)
    assert followed.fidelity.db == held.lost.db_after
    assert not followed.is_low


def test_the_warning_names_other_modes_that_keep_the_answers(nets: dict[str, _Net]) -> None:
    net = nets['masked']
    held = net.held(bound=Bound(repair=False))
    assert [mode for mode, _ in held.other_modes] == ['DYNAMIC_INT8']
    for mode, db in held.other_modes:
        assert net.held(mode).fidelity.db == db
        assert f'mode {mode} (' in fidelity_report.line(held)


def test_the_warning_names_finer_scales_of_dense_kernels_where_these_keep_the_answers(
    nets: dict[str, _Net],
) -> None:
    net = nets['digits']
    fine = net.held('INT4X8', bound=Bound(min_db=-100)).fidelity.db
    held = net.held('INT4X8', bound=Bound(min_db=fine - 0.5, repair=False), dense_scales='PER_TENSOR')
    assert held.is_low
    assert held.other_modes[0] == ('INT4X8 with dense_scales PER_CHANNEL', fine)


def test_what_no_group_repairs_is_said(nets: dict[str, _Net]) -> None:
    held = nets['digits'].held(bound=Bound(min_db=55.0))
    assert held.is_low
    assert not held.repaired
    line = fidelity_report.line(held)
    assert 'expected 55 dB' in line
    assert 'little by little, first at ' in line


def test_a_float_file_that_answers_otherwise_is_not_the_quantizations_fault(nets: dict[str, _Net]) -> None:
    net = nets['digits']
    answers = {name: values[::-1] for name, values in net.reference.answers.items()}
    other = Reference(net.reference.inputs, answers, held_out=True)
    held = make_compared(net.model, QuantizationOptions('INT8'), net.ranges, other, Bound())
    assert held.is_low
    assert held.lost is None
    assert 'The float .tflite file is no nearer' in fidelity_report.line(held)


def test_a_repair_keeps_to_its_bytes(nets: dict[str, _Net]) -> None:
    held = nets['masked'].held(bound=Bound(most_bytes=-10_000))
    assert not held.repaired
    assert 'Tried, and helps: keep_float' in fidelity_report.line(held)


def test_the_report_is_strict_json(nets: dict[str, _Net]) -> None:
    for held in (nets['masked'].held(), nets['digits'].held('FLOAT32')):
        text = fidelity_report.to_json(held)
        content = json.loads(text, parse_constant=pytest.fail)
        assert content['mode'] == held.mode
        assert content['repaired'] is held.repaired
        assert text == fidelity_report.to_json(held)
