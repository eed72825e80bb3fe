"""`tfx-edge compile`: a user's pipeline as what Kubeflow Pipelines 2 or Vertex AI runs."""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.console import quiet
from tfx_edge.pipelines.kubeflow import beam_workers, pages, specification
from tfx_edge.pipelines.kubeflow.branch_failures import branch_steps, with_branch_flags
from tfx_edge.pipelines.kubeflow.fingerprint_tasks import fingerprinted, with_fingerprints
from tfx_edge.pipelines.kubeflow.image_version import cache_line, with_image_versions
from tfx_edge.pipelines.kubeflow.pods import SHARED_FOLDER, PodOptions, platform_spec, with_containers
from tfx_edge.pipelines.kubeflow.training_steps import state_line, training_steps, with_kept_state
from tfx_edge.pipelines.user_pipeline import PipelineOptions, call_function

# By format: the file's suffix, what the pipeline root may start with, and how steps reach their artifacts.
_SUFFIX = {'kfp': '.yaml', 'vertex': '.json'}
_ROOTS = {'kfp': ('minio://', 's3://', 'gs://'), 'vertex': ('gs://',)}
_ARTIFACTS = {'kfp': 'mounts', 'vertex': 'uris'}
FORMATS = tuple(_SUFFIX)
NO_PODS = PodOptions()

_STEP_MODULE = 'tfx_edge.pipelines.kubeflow.container_step'
_PIPELINE_NAME = re.compile(r'[a-z0-9][a-z0-9-]{0,127}')
# Argo's rule for the names of tasks; Kubeflow appends '-driver', and Argo takes 128 characters.
_TASK_NAME = re.compile(r'[a-zA-Z0-9][-a-zA-Z0-9]{0,120}')
_OWN_OPTIONS = ('pipeline_name', 'pipeline_root')


def compile_user_pipeline(
    target: str,
    options: PipelineOptions,
    image: str,
    form: str,
    output: str | None,
    log: str,
    pods: PodOptions = NO_PODS,
) -> None:
    """Builds a pipeline, writes what a cluster runs, and prints its name and parameters.

    Args:
      target: 'module[:function]' or 'file.py[:function]', as `tfx-edge run` takes it.
      options: what to call the function with; `pipeline_root` is the URI of the folder for the artifacts.
      image: the container image of all steps, with tfx-edge and the user's code in it.
      form: 'kfp' for the YAML of open-source Kubeflow Pipelines 2, 'vertex' for the JSON of a Vertex PipelineJob.
      output: the file; None for the pipeline's name with the suffix of the format.
      log: file for what libraries print.
      pods: what the steps' pods get.

    Raises:
      CommandError: the function cannot be found or called, or the pipeline does not fit the format.

    Example:
      >>> options = PipelineOptions(pipeline_root='minio://mlpipeline/v2')
      >>> compile_user_pipeline('my_pipeline.py', options, 'registry/my:1', 'kfp', None, 'log.txt')
    """
    with quiet(log) as progress:
        progress.line(f'loading {target}; what libraries print goes to {log}')
        _check_root(options.pipeline_root or '', form)
        pipeline, _ = call_function(target, options, _OWN_OPTIONS)
        job = compile_pipeline(pipeline, image, form, pods)
        path = pathlib.Path(output or pipeline.pipeline_name + _SUFFIX[form])
        _write(path, as_text(job, form))
        progress.line(f'{path}: pipeline {pipeline.pipeline_name!r}, {len(pipeline.components)} steps')
        progress.text(f'  {cache_line(image)}')
        if form == 'kfp' and (training := training_steps(pipeline)):
            progress.text(f'  {state_line(training, pods.state_place)}')
        for step in fingerprinted(job['pipelineSpec']):
            progress.text(
                f'  {step}: every run looks at its data first, and takes it from the cache only if they are the same'
            )
        for line in _parameter_lines(job['pipelineSpec']):
            progress.text(line)


def compile_pipeline(pipeline: Any, image: str, form: str, pods: PodOptions = NO_PODS) -> dict[str, Any]:
    """Compiles a pipeline for a cluster.

    Args:
      pipeline: a `tfx.v1.dsl.Pipeline`.
      image: the container image of all steps.
      form: 'kfp' or 'vertex'.
      pods: what the steps' pods get.

    Returns:
      The JSON of a PipelineJob whose `pipelineSpec` has schema 2.1.0. With 'kfp' that spec holds only what open-source
      Kubeflow Pipelines 2 runs, and `platformSpec` what the pods get beside their containers.

    Raises:
      EdgeError: the pipeline does not fit the format.
    """
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner  # takes many seconds

    from tfx_edge.pipelines.kubeflow import object_store_files

    _check_pipeline(pipeline, form)
    _check_pods(pods, form)
    # TFX packs a module file into a wheel below the pipeline root now.
    object_store_files.register()
    config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image=image,
        default_commands=['python', '-m', _STEP_MODULE, '--artifacts', _ARTIFACTS[form]],
        use_pipeline_spec_2_1=True,
    )
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(config)
    parameters = specification.runtime_parameters(pipeline)
    job = runner.run(pipeline, write_out=False)
    spec = specification.with_parameters(job['pipelineSpec'], parameters)
    beam_steps = _beam_steps(pipeline)
    if form == 'kfp':
        spec = with_fingerprints(spec)
    spec = with_image_versions(with_containers(spec, pods, beam_steps))
    if form != 'kfp':
        return {**job, 'pipelineSpec': spec}
    spec = with_branch_flags(spec, branch_steps(pipeline))
    training = training_steps(pipeline)
    spec = with_kept_state(spec, pods.state_place, training, pods.mount_paths)
    sharing = beam_steps | (training if pods.state_place.startswith(SHARED_FOLDER) else set())
    beam_workers.check_workers(spec, beam_steps, has_shared_volume=bool(pods.shared_volume))
    spec = pages.with_pages(specification.for_open_source(spec, pipeline.pipeline_info.pipeline_root))
    return {**job, 'pipelineSpec': spec, 'platformSpec': platform_spec(spec, pods, sharing)}


def as_text(job: Mapping[str, Any], form: str) -> str:
    """The file of a format: the YAML of the spec alone, or the JSON of the job; the same bytes for the same job."""
    if form == 'vertex':
        return json.dumps(job, sort_keys=True, indent=1) + '\n'
    import yaml

    spec = job['pipelineSpec']
    # kfp's own compiler starts its files so, and its SDK reads the comment.
    head = f'# PIPELINE DEFINITION\n# Name: {spec["pipelineInfo"]["name"]}\n'
    text = head + yaml.safe_dump(spec, sort_keys=True, width=110)
    if platform := job.get('platformSpec'):
        text += '---\n' + yaml.safe_dump(platform, sort_keys=True, width=110)
    return text


def _write(path: pathlib.Path, text: str) -> None:
    draft = path.with_name(f'{path.name}.unfinished')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding='utf-8')
        os.replace(draft, path)
    except OSError as error:
        raise EdgeError(
            f'{path} cannot be written ({error.strerror}); name a place that can be, by --output FILE.'
        ) from error


def _check_root(root: str, form: str) -> None:
    if not root.startswith(_ROOTS[form]):
        raise EdgeError(
            f'--pipeline-root is {root!r}; format {form} expects a URI that starts with {" or ".join(_ROOTS[form])}.'
        )


def _check_pipeline(pipeline: Any, form: str) -> None:
    from tfx import components
    from tfx.dsl.components.common import resolver

    name, root = pipeline.pipeline_name, pipeline.pipeline_info.pipeline_root
    _check_root(root, form)
    if not _PIPELINE_NAME.fullmatch(name):
        raise EdgeError(
            f'the pipeline is named {name!r}; Kubeflow expects lower case letters, digits and -, at most 128.'
        )
    for component in pipeline.components:
        if isinstance(component, components.InfraValidator):
            raise EdgeError(f'{component.id} is an InfraValidator, which TFX cannot compile; leave it out.')
        if form == 'kfp':
            _check_component(component)
            if isinstance(component, resolver.Resolver):
                raise EdgeError(
                    f'{component.id} is a Resolver, which open-source Kubeflow Pipelines cannot run; leave it out, or '
                    'name the artifact with an Importer.'
                )


def _check_pods(pods: PodOptions, form: str) -> None:
    for option, value in (
        ('--shared-volume', pods.shared_volume),
        ('--volume', pods.volumes),
        ('--state', pods.state),
        ('--secret-env', pods.secret_variables),
    ):
        if value and form != 'kfp':
            raise EdgeError(
                f'{option} is for open-source Kubeflow Pipelines; leave it out with --format {form}.'
            )


def _beam_steps(pipeline: Any) -> set[str]:
    from tfx.dsl.components.base import executor_spec

    return {
        component.id
        for component in pipeline.components
        if isinstance(component.executor_spec, executor_spec.BeamExecutorSpec)
    }


def _check_component(component: Any) -> None:
    from tfx_edge.pipelines.kubeflow import object_store_files

    if not _TASK_NAME.fullmatch(component.id):
        raise EdgeError(
            f'a component has the id {component.id!r}; Kubeflow expects letters, digits and -, at most 121: '
            'give another with with_id.'
        )
    module = component.exec_properties.get('module_file')
    # TFX fetches what it packs from gs:// and s3:// alone.
    if object_store_files.is_at_store(module) and not module.startswith('s3://'):
        remedy = (
            'write s3:// for minio://: it is the same file'
            if module.startswith('minio://')
            else 'name a file on this machine'
        )
        raise EdgeError(f'{component.id}.module_file is {module}, which TFX cannot pack; {remedy}.')


def _parameter_lines(spec: Mapping[str, Any]) -> list[str]:
    parameters = spec['root'].get('inputDefinitions', {}).get('parameters', {})
    return [
        f'  parameter {name}: {body.get("defaultValue", "(to be given)")}'
        for name, body in sorted(parameters.items())
    ]
