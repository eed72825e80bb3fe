"""`tfx-edge compile`: what Kubeflow gets is what the pipeline says, and what cannot run there is refused now."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from kfp import components as kfp_components
from tfx import v1 as tfx
from tfx.orchestration import data_types

from tests.pipelines.kubeflow.golden import make_golden
from tfx_edge import proto
from tfx_edge.components import Pruner
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline

pytestmark = pytest.mark.slow

MESSAGES = {'pruning', 'clustering', 'fine_tuning', 'quantization', 'limits'}


def pipeline(*components: Any, name: str = 'small', root: str = 'minio://bucket/root') -> Any:
    return tfx.dsl.Pipeline(name, root, components=list(components), enable_cache=True)


def model() -> Any:
    return tfx.dsl.Importer('minio://bucket/model', tfx.types.standard_artifacts.Model).with_id('Model')


def pruner(source: Any, pruning: Any = None) -> Any:
    return Pruner(source.outputs['result'], pruning=pruning, fine_tuning=proto.FineTuning(num_steps=0))


def example_gen(pattern: str) -> Any:
    splits = [tfx.proto.Input.Split(name='all', pattern=pattern)]
    return tfx.components.ImportExampleGen('/data', input_config=tfx.proto.Input(splits=splits))


@pytest.mark.parametrize(('form', 'name'), [('kfp', 'digits.yaml'), ('vertex', 'digits.json')])
def test_digits_pipeline_compiles_to_the_golden_file(form: str, name: str) -> None:
    assert make_golden.digits(form) == (make_golden.FOLDER / name).read_text(encoding='utf-8')


def test_kfp_loads_the_yaml_with_its_parameters_and_their_defaults() -> None:
    loaded = kfp_components.load_component_from_file(str(make_golden.FOLDER / 'digits.yaml'))
    inputs = loaded.component_spec.inputs
    assert loaded.name == 'digits'
    assert inputs.keys() == MESSAGES
    assert json.loads(inputs['pruning'].default) == {'target_sparsity': 0.6}
    assert all(value.optional for value in inputs.values())


def test_open_source_spec_has_its_root_and_no_driver_that_it_would_ignore() -> None:
    spec = yaml.safe_load((make_golden.FOLDER / 'digits.yaml').read_text())
    assert spec['schemaVersion'] == '2.1.0'
    assert spec['defaultPipelineRoot'] == 'minio://mlpipeline/v2/artifacts'
    containers = {
        name: executor['container'] for name, executor in spec['deploymentSpec']['executors'].items()
    }
    assert len(containers) == 9
    assert not any('lifecycle' in container for container in containers.values())
    with_driver = {name for name, container in containers.items() if '--run_driver' in container['args']}
    assert with_driver == {'ImportExampleGen_executor'}


@pytest.mark.parametrize('pattern', ['all/*', '{SPAN:4}/*', '{YYYY}/{MM}/{DD}/*'])
def test_example_gen_is_cached_and_its_data_are_looked_at(pattern: str) -> None:
    job = compile_pipeline(pipeline(example_gen(pattern)), 'image', 'kfp')
    tasks = job['pipelineSpec']['root']['dag']['tasks']
    assert tasks['ImportExampleGen']['cachingOptions'] == {'enableCache': True}
    assert tasks['ImportExampleGen']['dependentTasks'] == ['ImportExampleGen-data']
    assert tasks['ImportExampleGen-data']['cachingOptions'] == {}


def test_runtime_parameter_may_have_no_default_and_serves_several_components() -> None:
    shared = data_types.RuntimeParameter('pruning', str)
    source = model()
    job = compile_pipeline(
        pipeline(source, pruner(source, shared), pruner(source, shared).with_id('Again')), 'image', 'kfp'
    )
    spec = job['pipelineSpec']
    assert spec['root']['inputDefinitions']['parameters'] == {'pruning': {'parameterType': 'STRING'}}
    for task in ('Pruner', 'Again'):
        given = spec['root']['dag']['tasks'][task]['inputs']['parameters']['pruning']
        assert given == {'componentInputParameter': 'pruning'}


def test_same_pipeline_gives_the_same_bytes() -> None:
    made = []
    for _ in range(2):
        source = model()
        job = compile_pipeline(pipeline(source, pruner(source)), 'image', 'kfp')
        made.append(as_text(job, 'kfp'))
    assert made[0] == made[1]


def with_resolver() -> Any:
    latest = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
    )
    return pipeline(latest.with_id('Latest'))


def with_two_of_one_name() -> Any:
    source = model()
    one, other = (
        data_types.RuntimeParameter('pruning', str, default=text) for text in ('{}', '{"power": 2}')
    )
    return pipeline(source, pruner(source, one), pruner(source, other).with_id('Again'))


def with_infra_validator() -> Any:
    source = model()
    validator = tfx.components.InfraValidator(source.outputs['result'], tfx.proto.ServingSpec())
    return pipeline(source, validator, root='gs://bucket/root')


@pytest.mark.parametrize(
    ('build', 'form', 'message'),
    [
        (
            lambda: pipeline(model(), name='Small'),
            'kfp',
            "named 'Small'; Kubeflow expects lower case letters",
        ),
        (
            lambda: pipeline(model(), root='/tmp/root'),
            'kfp',
            "'/tmp/root'; format kfp expects a URI that starts with",
        ),
        (lambda: pipeline(model(), root='s3://b/r'), 'vertex', "'s3://b/r'; format vertex expects .* gs://"),
        (lambda: pipeline(model().with_id('my_model')), 'kfp', "id 'my_model'; Kubeflow expects letters"),
        (with_resolver, 'kfp', 'Latest is a Resolver, which open-source Kubeflow Pipelines cannot run'),
        (with_two_of_one_name, 'kfp', "RuntimeParameter 'pruning' is declared twice"),
        (with_infra_validator, 'vertex', 'InfraValidator is an InfraValidator, which TFX cannot compile'),
    ],
)
def test_pipeline_that_cannot_run_there_is_refused(build: Callable[[], Any], form: str, message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        compile_pipeline(build(), 'image', form)


PIPELINE = """
from tfx import v1 as tfx


def create_pipeline(pipeline_root, data_root, beam_pipeline_args, pipeline_name='mine', metadata_path=None):
    example_gen = tfx.components.ImportExampleGen(input_base=data_root)
    return tfx.dsl.Pipeline(
        pipeline_name, pipeline_root, components=[example_gen], beam_pipeline_args=beam_pipeline_args
    )
"""


def run(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(pathlib.Path(sys.executable).with_name('tfx-edge')), 'compile', 'mine.py', *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_command_writes_the_file_and_takes_the_options_of_run(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'mine.py').write_text(PIPELINE)
    shared = ['--image', 'registry/mine:1', '--pipeline-root', 's3://bucket/root', '--beam-arg=--x=1']
    done = run(tmp_path, *shared, '--set', 'data_root=/data', '--pipeline-name', 'yours', '--no-cache')
    assert (done.returncode, done.stderr) == (0, '')
    assert re.search(r"yours\.yaml: pipeline 'yours', 1 steps", done.stdout)
    assert sorted(path.name for path in tmp_path.glob('yours*')) == ['yours.yaml']
    spec = yaml.safe_load((tmp_path / 'yours.yaml').read_text())
    (executor,) = spec['deploymentSpec']['executors'].values()
    assert executor['container']['image'] == 'registry/mine:1'
    beam = ['--runner=FnApiRunner', '--direct_running_mode=in_memory', '--x=1']
    assert executor['container']['args'][-3:] == beam
    (task,) = spec['root']['dag']['tasks'].values()
    assert 'enableCache' not in task.get('cachingOptions', {})


def test_command_that_fails_is_one_line_and_leaves_no_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'mine.py').write_text(PIPELINE)
    done = run(tmp_path, '--image', 'i', '--pipeline-root', 'gs://bucket/root', '--output', 'out.yaml')
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "tfx-edge: mine.py needs a value for 'data_root'; give --set data_root=VALUE."
    assert lines[1:] == ['tfx-edge: details are in tfx-edge.log']
    assert not (tmp_path / 'out.yaml').exists()
