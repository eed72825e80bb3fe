"""Files in which more stays float, made of ranges that were completed once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import litert_engine
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantized_file
from tfx_edge.components.core.post_training.complete_ranges import complete_ranges
from tfx_edge.components.core.post_training.sensitivity import exactly, measure


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The mode of each run of litert-quantizer."""
    found: list[str] = []
    run = litert_engine.run

    def counted(*args: object) -> bytes:
        found.append(args[1].mode)
        return run(*args)

    monkeypatch.setattr(litert_engine, 'run', counted)
    return found


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8', 'INT4X8'])
def test_settled_ranges_give_the_file_that_is_made_without_them(
    separable: bytes, digits: dict[str, np.ndarray], observe: Callable, mode: str, runs: list[str]
) -> None:
    file, options = ModelFile(separable), QuantizationOptions(mode, engine='LITERT')
    completed = complete_ranges(file, options, observe(separable, digits['x_train'][:32]))
    assert completed.settled is not None
    outputs = [op.output for op in inspect_model(file).operators]
    for output in outputs:
        alone = QuantizationOptions(
            mode, keep_float=tuple(exactly(other) for other in outputs if other != output), engine='LITERT'
        )
        runs.clear()
        made = quantized_file(file, alone, completed.ranges, settled=completed.settled)
        assert len(runs) == 1
        assert made == quantized_file(file, alone, completed.ranges)


def test_nothing_is_settled_where_a_bias_widens_a_kernel(
    separable: bytes, digits: dict[str, np.ndarray], observe: Callable, with_constants: Callable
) -> None:
    def change(name: str, values: np.ndarray) -> np.ndarray:
        if '/stem' in name:
            values[..., 0] = 100.0 if name.endswith('/bias') else values[..., 0]
            if name.endswith('/kernel'):
                values[0] = 0
        return values

    model = with_constants(separable, change)
    ranges = observe(model, digits['x_train'][:32])
    assert complete_ranges(model, QuantizationOptions('INT8'), ranges).settled is None


def test_sensitivity_runs_the_quantizer_once_for_each_operator(
    separable: bytes, digits: dict[str, np.ndarray], observe: Callable, runs: list[str]
) -> None:
    images = digits['x_train'][:32]
    measured = measure(separable, QuantizationOptions('INT8'), observe(separable, images), {'image': images})
    # Once more to ask which activations become integer, and once for the whole file.
    assert len(runs) == len(measured) + 2
