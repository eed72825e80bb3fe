"""What it costs to hold a file against the float model, on the demo: `make demo`, then `make bench-fidelity-cost`.

The files of the demo's QATTrainer and TFLiteQuantizer are made in turns with and without the comparison, in a process
of their own as the steps do, and the answers of the float models are computed as the steps do. The median of what the
comparison takes more is printed beside the time of the step, as ML Metadata has it from the demo's last run.
"""

from __future__ import annotations

import os

# Read when TensorFlow is imported.
os.environ.update(TF_CPP_MIN_LOG_LEVEL='3', CUDA_VISIBLE_DEVICES='-1')

import argparse
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

from tfx.orchestration import metadata
from tfx.utils import path_utils

from tfx_edge.components.core.calibration.arithmetic import read_arithmetic
from tfx_edge.components.core.calibration.ranges import FILE_NAME, read_ranges
from tfx_edge.components.core.calibration.reference import read_reference
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.isolation.isolated_process import run_isolated
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import quantize
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.post_training.bound import Bound
from tfx_edge.components.core.post_training.compared_file import make_compared
from tfx_edge.components.core.post_training.float_answers import reference_answers
from tfx_edge.pipelines import run_records
from tfx_edge.pipelines.digits.pipeline import PIPELINE_NAME

_TIMES = 15


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--demo', type=pathlib.Path, default=pathlib.Path('demo-output'))
    folder = parser.parse_args().demo
    connection = metadata.sqlite_metadata_connection_config(str(folder / 'metadata.sqlite'))
    steps = run_records.last_run(connection, PIPELINE_NAME)
    trained, calibration = (steps['QATTrainer'].output(key).uri for key in ('model', 'calibration'))
    incoming = path_utils.serving_model_dir(steps['Clusterer'].output('model').uri)
    reference, arithmetic = read_reference(calibration), read_arithmetic(calibration)
    assert reference is not None
    assert arithmetic is not None
    ranges = read_ranges(os.path.join(calibration, FILE_NAME))
    options = QuantizationOptions(keep_float=arithmetic.kept_float, engine='LITERT')
    float_file = ModelFile(convert_saved_model(path_utils.serving_model_dir(trained), 'serving_default'))
    graph = ServingGraph(incoming, choose_signature(incoming))
    # The first call of a signature takes longer: it is part of the price.
    answers = _seconds(lambda: reference_answers(graph.answers, reference.inputs, held_out=True))
    run_isolated(quantize.make_file, float_file, options, ranges)
    more = []
    for _ in range(_TIMES):
        plain = _seconds(lambda: run_isolated(quantize.make_file, float_file, options, ranges))
        held = _seconds(lambda: run_isolated(make_compared, float_file, options, ranges, reference, Bound()))
        more.append(held - plain)
    compared, made = statistics.median(more), plain
    # QATTrainer makes one file more, before training, and compares twice.
    for name, cost in (('QATTrainer', answers + made + 2 * compared), ('TFLiteQuantizer', compared)):
        seconds = steps[name].seconds
        print(f'{name}: {cost:.3f} s of {seconds:.1f} s, {cost / seconds:.1%}')


if __name__ == '__main__':
    main()
