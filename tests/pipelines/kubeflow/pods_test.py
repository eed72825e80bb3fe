"""What the pods of a compiled pipeline get: resources, volumes, variables; and no secret's value in the file."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from kfp import components as kfp_components
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx

from tfx_edge import proto
from tfx_edge.components import Pruner, TFLiteQuantizer
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.pods import PodOptions, with_containers

pytestmark = pytest.mark.slow


def compiled(form: str = 'kfp', beam_args: Sequence[str] = (), **options: Any) -> dict[str, Any]:
    root = {'kfp': 'minio://bucket/root', 'vertex': 'gs://bucket/root'}[form]
    model = tfx.dsl.Importer(f'{root}/model', tfx.types.standard_artifacts.Model).with_id('Model')
    pruner = Pruner(model.outputs['result'], fine_tuning=proto.FineTuning(num_steps=0))
    quantizer = TFLiteQuantizer(
        pruner.outputs['model'], quantization=proto.Quantization(mode=proto.Quantization.FLOAT16)
    )
    if beam_args:
        quantizer.with_beam_pipeline_args(list(beam_args))
    pipeline = tfx.dsl.Pipeline('small', root, components=[model, pruner, quantizer])
    return compile_pipeline(pipeline, 'image', form, PodOptions(**options))


def container(job: dict[str, Any], step: str) -> dict[str, Any]:
    return job['pipelineSpec']['deploymentSpec']['executors'][f'{step}_executor']['container']


def pods(job: dict[str, Any]) -> dict[str, Any]:
    return job['platformSpec']['platforms']['kubernetes']['deploymentSpec']['executors']


def test_step_asks_for_its_resources_and_gets_no_more() -> None:
    asked = ('Pruner=cpu:500m,memory:8Gi,gpu:1', 'TFLiteQuantizer=memory:500M')
    job = compiled(resources=asked, gpu_image='image-gpu')
    message = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec()
    json_format.ParseDict(container(job, 'Pruner'), message)
    resources = message.resources
    assert (resources.cpu_request, resources.cpu_limit) == (0.5, 0.5)
    # Kubeflow writes the number before a G: 8 GiB are 8.589934592 G.
    assert resources.memory_request == resources.memory_limit == 8 * 2**30 / 1e9
    assert (resources.accelerator.type, resources.accelerator.count) == ('nvidia.com/gpu', 1)
    assert container(job, 'TFLiteQuantizer')['resources'] == {'memoryRequest': 0.5, 'memoryLimit': 0.5}


@pytest.mark.parametrize('form', ['kfp', 'vertex'])
def test_steps_with_a_gpu_run_in_the_image_that_has_cuda(form: str) -> None:
    job = compiled(form, resources=('Pruner=gpu:1', 'TFLiteQuantizer=cpu:1'), gpu_image='image:7-gpu')
    assert container(job, 'Pruner')['image'] == 'image:7-gpu'
    assert container(job, 'TFLiteQuantizer')['image'] == 'image'
    # Which code a step runs, its own image says.
    arguments = container(job, 'Pruner')['args']
    assert arguments[arguments.index('--image_version') + 1] == '7-gpu'


@given(cpus=st.integers(1, 10**5), megabytes=st.integers(1, 10**7))
def test_thousandths_and_megabytes_are_kept(cpus: int, megabytes: int) -> None:
    spec = {
        'root': {'dag': {'tasks': {'Step': {'componentRef': {'name': 'Step'}}}}},
        'components': {'Step': {'executorLabel': 'Step_executor'}},
        'deploymentSpec': {'executors': {'Step_executor': {'container': {'args': []}}}},
    }
    options = PodOptions(resources=(f'Step=cpu:{cpus}m,memory:{megabytes}M',))
    changed = with_containers(spec, options, [])
    resources = changed['deploymentSpec']['executors']['Step_executor']['container']['resources']
    assert round(resources['cpuLimit'] * 1000) == cpus
    assert round(resources['memoryLimit'] * 1000) == megabytes
    assert spec['deploymentSpec']['executors']['Step_executor']['container'] == {'args': []}


def test_steps_that_run_beam_have_the_shared_volume() -> None:
    job = compiled(shared_volume='shared', volumes=('data:/data',))
    arguments = container(job, 'TFLiteQuantizer')['args']
    assert arguments[arguments.index('--shared_folder') + 1] == '/tfx-edge-shared'
    assert '--shared_folder' not in container(job, 'Pruner')['args']
    mounts = [
        {'constant': 'data', 'mountPath': '/data'},
        {'constant': 'shared', 'mountPath': '/tfx-edge-shared'},
    ]
    # A step that trains keeps its state there.
    assert pods(job) == {f'{name}_executor': {'pvcMount': mounts} for name in ('Pruner', 'TFLiteQuantizer')}


@pytest.mark.parametrize(
    ('options', 'place'),
    [
        ({'shared_volume': 'shared'}, '/tfx-edge-shared/training-state'),
        ({'shared_volume': 'shared', 'state': 'minio://bucket/states'}, 'minio://bucket/states'),
        ({'state': 'gs://bucket/states'}, 'gs://bucket/states'),
        ({'volumes': ('data:/data',), 'state': '/data/states'}, '/data/states'),
    ],
)
def test_steps_that_train_keep_their_state_and_are_repeated_where_a_pod_is_lost(
    options: dict[str, Any], place: str
) -> None:
    job = compiled(**options)
    arguments = container(job, 'Pruner')['args']
    assert arguments[arguments.index('--training_state') + 1] == place
    assert '--training_state' not in container(job, 'TFLiteQuantizer')['args']
    tasks = {
        name: json_format.ParseDict(task, pipeline_spec_pb2.PipelineTaskSpec())
        for name, task in job['pipelineSpec']['root']['dag']['tasks'].items()
    }
    policy = tasks['Pruner'].retry_policy
    assert policy.max_retry_count == 2
    # Counted from the start of the first pod.
    assert policy.backoff_max_duration.ToTimedelta().days >= 30
    assert not tasks['TFLiteQuantizer'].HasField('retry_policy')


def test_without_a_place_nothing_is_repeated() -> None:
    job = compiled()
    assert '--training_state' not in container(job, 'Pruner')['args']
    assert 'retryPolicy' not in job['pipelineSpec']['root']['dag']['tasks']['Pruner']


def test_variables_are_in_the_file_and_secrets_by_name_only() -> None:
    options = {'variables': ('URL=http://x?a=b',), 'secret_variables': ('KEY=minio:secretkey',)}
    job = compiled(**options)
    assert container(job, 'Pruner')['env'] == [{'name': 'URL', 'value': 'http://x?a=b'}]
    secret = {'secretName': 'minio', 'keyToEnv': [{'secretKey': 'secretkey', 'envVar': 'KEY'}]}
    assert pods(job)['Pruner_executor'] == {'secretAsEnv': [secret]}
    assert 'Model_executor' not in pods(job)


def test_kfp_loads_both_documents(tmp_path: pathlib.Path) -> None:
    text = as_text(compiled(shared_volume='shared'), 'kfp')
    assert len(list(yaml.safe_load_all(text))) == 2
    (tmp_path / 'small.yaml').write_text(text)
    loaded = kfp_components.load_component_from_file(str(tmp_path / 'small.yaml'))
    executors = loaded.platform_spec.platforms['kubernetes'].deployment_spec.executors
    (mount,) = json_format.MessageToDict(executors['TFLiteQuantizer_executor'])['pvcMount']
    assert mount['constant'] == 'shared'


def test_nothing_asked_is_one_document() -> None:
    assert '---' not in as_text(compiled(), 'kfp')


def test_vertex_takes_resources_and_variables() -> None:
    job = compiled('vertex', resources=('Pruner=cpu:2',), variables=('A=b',))
    assert container(job, 'Pruner')['resources'] == {'cpuRequest': 2.0, 'cpuLimit': 2.0}
    assert 'platformSpec' not in job


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'resources': ('Pruner',)}, '--resources Pruner is not of the form'),
        ({'resources': ('Pruner=cpu:two',)}, 'cpu:two is not of the form'),
        ({'resources': ('Pruner=memory:8',)}, 'memory:8 is not of the form'),
        ({'resources': ('Tuner=cpu:2',)}, "no step 'Tuner'; its steps are Pruner, TFLiteQuantizer"),
        (
            {'resources': ('Pruner=gpu:1',)},
            '--resources Pruner=gpu: .* has no CUDA; name one .* by --gpu-image',
        ),
        ({'gpu_image': 'image-gpu'}, '--gpu-image image-gpu: no step has a GPU; give one by --resources'),
        (
            {'gpu_image': 'image-gpu', 'resources': ('Pruner=gpu:0',)},
            '--gpu-image image-gpu: no step has a GPU',
        ),
        ({'volumes': ('data',)}, '--volume data is not of the form CLAIM:/path'),
        ({'volumes': ('Data:/data',)}, "'Data' is no name of a volume claim"),
        ({'volumes': ('a:/data', 'b:/data')}, 'two volumes are mounted at /data'),
        ({'state': 'bucket/states'}, '--state bucket/states is neither in a volume of the steps'),
        ({'state': '/states', 'volumes': ('a:/data',)}, '--state /states is neither in a volume'),
        ({'variables': ('1=2',)}, '--env 1 is not of the form'),
        (
            {'variables': ('AWS_SECRET_ACCESS_KEY=s3cr3t',)},
            'give --secret-env AWS_SECRET_ACCESS_KEY=SECRET:KEY',
        ),
        ({'secret_variables': ('KEY=s3cr3t',)}, 'a --secret-env is not of the form NAME=SECRET:KEY'),
        (
            {'secret_variables': ('KEY=another-namespace/store:key',)},
            'NAME=SECRET:KEY, of a secret in the namespace of the run, by its name alone',
        ),
    ],
)
def test_wrong_option_is_reported(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgeError, match=message) as error:
        compiled(**options)
    assert 's3cr3t' not in str(error.value)


@pytest.mark.parametrize(
    'options',
    [
        {'shared_volume': 'shared'},
        {'volumes': ('data:/data',)},
        {'state': 'gs://bucket/states'},
        {'secret_variables': ('KEY=minio:secretkey',)},
    ],
)
def test_vertex_is_not_given_what_it_cannot_read(options: dict[str, Any]) -> None:
    with pytest.raises(EdgeError, match='leave it out with --format vertex'):
        compiled('vertex', **options)


PORTABLE = ('--runner=PortableRunner', '--job_endpoint=beam-job-server:8099')


@pytest.mark.parametrize(
    'beam_args',
    [
        PORTABLE,
        ('--runner', 'flinkrunner'),
        ('--runner=apache_beam.runners.portability.spark_runner.SparkRunner',),
    ],
)
def test_workers_that_share_nothing_with_the_step_are_refused(beam_args: Sequence[str]) -> None:
    """What they write would be lost, and the step would end well."""
    with pytest.raises(EdgeError, match=r'TFLiteQuantizer runs Beam on .* --shared-volume CLAIM'):
        compiled(beam_args=beam_args)
    assert compiled(beam_args=beam_args, shared_volume='shared')['platformSpec']


@pytest.mark.parametrize(
    'beam_args',
    [
        (),
        ('--runner=DirectRunner', '--direct_num_workers=2'),
        ('--runner=FnApiRunner',),
        (*PORTABLE, '--environment_type=LOOPBACK'),
    ],
)
def test_workers_in_the_pod_need_no_volume(beam_args: Sequence[str]) -> None:
    assert not compiled(beam_args=beam_args)['platformSpec']


def test_dataflow_is_for_vertex() -> None:
    beam_args = ('--runner=DataflowRunner', '--project=p', '--region=r')
    with pytest.raises(EdgeError, match='compile with --format vertex'):
        compiled(beam_args=beam_args, shared_volume='shared')
    assert compiled('vertex', beam_args=beam_args)
