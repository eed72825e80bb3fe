"""The manifests: valid for Kubernetes, and fitting the steps, the image and each other."""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tfx_edge.pipelines.kubeflow.pods import SHARED_FOLDER

FOLDER = pathlib.Path(__file__).parents[2] / 'deploy'
MANIFESTS = FOLDER / 'kubernetes'
# From the oldest that Kubeflow Pipelines still runs on to the newest whose schemas are at hand.
VERSIONS = ('1.29', str(kubernetes_validate.latest_version()))


def documents() -> list[dict[str, Any]]:
    names = yaml.safe_load((MANIFESTS / 'kustomization.yaml').read_text())['resources']
    assert {*names, 'kustomization.yaml'} == {path.name for path in MANIFESTS.iterdir()}
    return [made for name in names for made in yaml.safe_load_all((MANIFESTS / name).read_text())]


def label(document: dict[str, Any]) -> str:
    return f'{document["kind"]}-{document["metadata"]["name"]}'


def deployments() -> dict[str, dict[str, Any]]:
    made = documents()
    return {
        document['metadata']['name']: document['spec']['template']
        for document in made
        if document['kind'] == 'Deployment'
    }


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('document', documents(), ids=label)
def test_manifest_is_valid(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_a_wrong_manifest_would_be_found() -> None:
    document = documents()[0]
    document['spec']['accessMode'] = 'ReadWriteMany'
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)


@pytest.mark.parametrize('name', deployments())
def test_pod_runs_without_rights_and_asks_for_its_resources(name: str) -> None:
    spec = deployments()[name]['spec']
    assert spec['securityContext']['runAsNonRoot'] is True
    assert spec['automountServiceAccountToken'] is False
    for container in spec['containers']:
        user = container['securityContext'].get('runAsUser', spec['securityContext'].get('runAsUser'))
        assert user in (1000, 9999)
        assert container['securityContext']['allowPrivilegeEscalation'] is False
        assert container['securityContext']['capabilities'] == {'drop': ['ALL']}
        requests, limits = container['resources']['requests'], container['resources']['limits']
        assert {'cpu', 'memory'} <= requests.keys()
        assert memory(requests['memory']) <= memory(limits['memory'])


def test_flink_has_all_the_memory_that_it_takes() -> None:
    """A JVM that was given its size does not give memory back: what it is to have is reserved for it, and some more."""
    for name in ('flink-jobmanager', 'flink-taskmanager'):
        container = deployments()[name]['spec']['containers'][0]
        (size,) = re.findall(r'memory\.process\.size: (\d+)m$', flink_properties(container), re.MULTILINE)
        resources = container['resources']
        assert resources['limits']['memory'] == resources['requests']['memory']
        assert memory(resources['limits']['memory']) >= (int(size) + 100) * 2**20


def test_no_old_pod_is_needed_or_left_for_a_new_one() -> None:
    """None of these can be there twice, and a task manager more than there is room for never starts."""
    made = {
        document['metadata']['name']: document for document in documents() if document['kind'] == 'Deployment'
    }
    assert [document['spec']['strategy'] for document in made.values()] == [{'type': 'Recreate'}] * len(made)


def memory(quantity: str) -> int:
    number, unit = re.fullmatch(r'(\d+)([MG]i)', quantity).groups()
    return int(number) * {'Mi': 2**20, 'Gi': 2**30}[unit]


def flink_properties(container: dict[str, Any]) -> str:
    return next(variable['value'] for variable in container['env'] if variable['name'] == 'FLINK_PROPERTIES')


def test_workers_have_the_volume_where_the_steps_have_it_and_their_image() -> None:
    pods = deployments()
    containers = {c['name']: c for pod in pods.values() for c in pod['spec']['containers']}
    workers = containers['beam-workers']
    (mount,) = workers['volumeMounts']
    assert mount['mountPath'] == SHARED_FOLDER
    claims = {
        volume['persistentVolumeClaim']['claimName']
        for pod in pods.values()
        for volume in pod['spec'].get('volumes', [])
    }
    assert claims == {'tfx-edge-shared'}
    (claim,) = [made for made in documents() if made['kind'] == 'PersistentVolumeClaim']
    assert claim['metadata']['name'] in claims
    assert claim['spec']['accessModes'] == ['ReadWriteMany']
    # What writes there has the user of the image.
    dockerfile = (FOLDER / 'Dockerfile').read_text()
    assert f'USER {workers["securityContext"]["runAsUser"]}\n' in dockerfile
    images = yaml.safe_load((MANIFESTS / 'kustomization.yaml').read_text())['images']
    assert {image['name'] for image in images} == {container['image'] for container in containers.values()}
    assert workers['image'] == 'tfx-edge'


def test_services_find_their_pods_and_ports() -> None:
    pods = deployments().values()
    for service in (made for made in documents() if made['kind'] == 'Service'):
        (pod,) = [p for p in pods if service['spec']['selector'].items() <= p['metadata']['labels'].items()]
        ports = {port['containerPort'] for c in pod['spec']['containers'] for port in c.get('ports', [])}
        assert {port['port'] for port in service['spec']['ports']} == ports


def test_flinks_image_has_the_flink_that_beam_was_built_for() -> None:
    images = {c['name']: c['image'] for pod in deployments().values() for c in pod['spec']['containers']}
    assert images['jobmanager'] == images['taskmanager'] == images['job-server'] == 'tfx-edge-flink'
    pom = (FOLDER / 'flink' / 'pom.xml').read_text()
    flink, beam = re.search(
        r'<artifactId>beam-runners-flink-([\d.]+)</artifactId>\s*<version>([\d.]+)</version>', pom
    ).groups()
    dockerfile = (FOLDER / 'flink' / 'Dockerfile').read_text()
    assert f'\nFROM docker.io/library/flink:{flink}-' in dockerfile
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    assert flink in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    # A job server that is newer than the steps' Beam may ask what that does not know.
    pins = map(Requirement, (FOLDER / 'constraints.txt').read_text().splitlines())
    pinned = [str(pin.specifier).removeprefix('==') for pin in pins if pin.name == 'apache-beam']
    assert Version(beam) <= min(map(Version, pinned))


def test_job_server_has_the_class_path_of_the_cluster() -> None:
    containers = {c['name']: c for pod in deployments().values() for c in pod['spec']['containers']}
    arguments = containers['job-server']['args']
    folder = arguments[arguments.index('-cp') + 1].removesuffix('/*')
    assert (FOLDER / 'flink' / 'Dockerfile').read_text().endswith(f' {folder}\n')
    (main,) = (FOLDER / 'flink').glob('*.java')
    assert main.stem in arguments


def test_readme_names_what_is_there() -> None:
    readme = (FOLDER / 'README.md').read_text()
    made = documents()
    services = {document['metadata']['name'] for document in made if document['kind'] == 'Service'}
    (job_server,) = services - {'flink-jobmanager'}
    ports = {
        port['name']: port['port']
        for document in made
        if document['metadata']['name'] == job_server and document['kind'] == 'Service'
        for port in document['spec']['ports']
    }
    pool = next(
        port['containerPort']
        for pod in deployments().values()
        for container in pod['spec']['containers']
        for port in container.get('ports', [])
        if port['name'] == 'pool'
    )
    assert f'--job_endpoint={job_server}:{ports["job"]}' in readme
    assert f'--environment_config=localhost:{pool}' in readme
    (rest,) = [
        port['port']
        for document in made
        if document['metadata']['name'] == 'flink-jobmanager' and document['kind'] == 'Service'
        for port in document['spec']['ports']
        if port['name'] == 'rest'
    ]
    assert f'--flink_master=flink-jobmanager:{rest}' in readme
    assert '--shared-volume tfx-edge-shared' in readme
    assert f'/tfx_edge-{importlib.metadata.version("tfx-edge")}' in readme.replace(' ', '/')
