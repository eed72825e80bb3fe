"""`Quantization.for_micro`: a second file, for TensorFlow Lite Micro, stands beside the first and is pushed with it."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from tfx.components.pusher import executor as pusher
from tfx.dsl.components.base import base_executor
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import path_utils, proto_utils

from tests.components.executed import artifact, execute
from tfx_edge import proto
from tfx_edge.components import EdgeEvaluator, TFLiteQuantizer
from tfx_edge.components.clusterer.options import clustering_options
from tfx_edge.components.core.calibration import reference
from tfx_edge.components.core.compression.clustering import cluster
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.tflite_quantizer.options import quantizer_options
from tfx_edge.components.tfx_interface import artifact_types
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec('tflite_micro') is None,
        reason='tflite-micro is not installed (the dev group brings it on Linux x86-64)',
    ),
]


@pytest.fixture(scope='module')
def clustered(digits_saved_model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The digits net with codebooks of 16 members."""
    source = str(digits_saved_model)
    graph = ServingGraph(source, choose_signature(source))
    options = fine_tuning_options(proto.FineTuning(num_steps=0), has_module=False)
    values = cluster(graph, clustering_options(proto.Clustering(number_of_clusters=16)), options, None)
    model = artifact(standard_artifacts.Model, tmp_path_factory.mktemp('clustered'))
    write_with_values(source, path_utils.serving_model_dir(model.uri), values)
    return model


@pytest.fixture(scope='module')
def made(clustered: Any, examples_artifact: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return execute(
        TFLiteQuantizer,
        tmp_path_factory.mktemp('quantized'),
        {'model': clustered, 'examples': examples_artifact},
        quantization=proto.Quantization(for_micro=True),
    )


@pytest.fixture(scope='module')
def quantized(made: dict[str, Any]) -> Any:
    return made['model']


def test_both_files_stand_beside_each_other(quantized: Any) -> None:
    folder = pathlib.Path(path_utils.serving_model_dir(quantized.uri))
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sizes.keys() == {'tflite', 'tflite_micro'}
    assert sizes['tflite_micro'] < 0.9 * sizes['tflite']
    assert quantized.get_int_custom_property('tfx_edge_micro_file_bytes') == sizes['tflite_micro']


def test_the_runtime_of_microcontrollers_reads_it(quantized: Any, digits: dict[str, np.ndarray]) -> None:
    from tflite_micro import runtime

    folder = pathlib.Path(path_utils.serving_model_dir(quantized.uri))
    model = runtime.Interpreter.from_bytes((folder / 'tflite_micro').read_bytes(), arena_size=2**20)
    answers = []
    for image in digits['x_eval']:
        model.set_input(image[np.newaxis], 0)
        model.invoke()
        answers.append(model.get_output(0)[0].copy())
    # On kernels of another runtime, whose last bits differ from XNNPACK's.
    (plain,) = LiteRTModel((folder / 'tflite').read_bytes())({'image': digits['x_eval']}).values()
    assert np.mean(np.argmax(answers, 1) == plain.argmax(1)) > 0.98


def test_the_pusher_takes_both(quantized: Any, tmp_path: pathlib.Path) -> None:
    pushed = artifact(standard_artifacts.PushedModel, tmp_path / 'pushed')
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(tmp_path / 'serving'))
    )
    pusher.Executor(base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path), unique_id='1')).Do(
        {'model': [quantized]},
        {'pushed_model': [pushed]},
        {'push_destination': proto_utils.proto_to_json(destination), 'custom_config': 'null'},
    )
    (version,) = (tmp_path / 'serving').iterdir()
    assert {path.name for path in version.iterdir()} == {'tflite', 'tflite_micro'}


def test_the_evaluator_measures_what_the_microcontroller_gets(
    quantized: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    folder = pathlib.Path(path_utils.serving_model_dir(quantized.uri))
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    limits = {'name': 'tflite-micro', 'max_flash_bytes': sizes['tflite_micro'], 'max_arena_bytes': 1 << 20}
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name='ExampleCount')])],
        slicing_specs=[tfma.SlicingSpec()],
    )
    outputs = execute(
        EdgeEvaluator,
        tmp_path,
        {'model': quantized, 'examples': examples_artifact},
        eval_config=config,
        edge=proto.EdgeEvaluation(devices=[limits]),
    )
    report = json.loads((pathlib.Path(outputs['edge_evaluation'].uri) / 'report.json').read_text())
    (costs,) = report['devices']
    assert costs['flash_bytes'] == sizes['tflite_micro']
    assert costs['settings'] == '64-bit host, of tflite_micro'
    gates = {gate['name']: gate['holds'] for gate in report['gates'] if 'tflite-micro' in gate['name']}
    assert gates == {'max_flash_bytes on tflite-micro': True, 'max_arena_bytes on tflite-micro': True}
    assert report['file']['file_bytes'] == sizes['tflite']


def test_a_model_without_codebooks_leaves_nothing_behind(
    model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(EdgeError, match=r'no kernel of the file becomes smaller .* number_of_clusters 16'):
        execute(
            TFLiteQuantizer,
            tmp_path,
            {'model': model_artifact, 'examples': examples_artifact},
            quantization=proto.Quantization(for_micro=True),
        )
    assert not [path for path in (tmp_path / 'model').rglob('*') if path.is_file()]


@pytest.mark.parametrize('mode', ['DYNAMIC_INT8', 'FLOAT16', 'INT4X8'])
def test_modes_without_int8_kernels_of_integer_files_are_refused(mode: str) -> None:
    with pytest.raises(EdgeError, match=f'for_micro .* mode is {mode}, expected INT8 or INT16X8'):
        quantizer_options(proto.Quantization(mode=mode, for_micro=True))


def test_it_is_proved_on_examples(clustered: Any, made: dict[str, Any], tmp_path: pathlib.Path) -> None:
    calibration = artifact(artifact_types.Calibration, tmp_path / 'calibration')
    shutil.copytree(made['calibration'].uri, calibration.uri)
    (tmp_path / 'calibration' / reference.FILE_NAME).unlink()
    with pytest.raises(EdgeError, match='for_micro is proved on examples, and there are none'):
        execute(
            TFLiteQuantizer,
            tmp_path / 'out',
            {'model': clustered, 'calibration': calibration},
            quantization=proto.Quantization(for_micro=True),
        )
