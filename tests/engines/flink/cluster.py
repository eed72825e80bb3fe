"""A Flink session cluster and Beam's job server, with the numbers of deploy/kubernetes."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Mapping

import yaml

from tests.engines import manifests
from tests.engines.flink.java import OPENED, java
from tests.engines.flink.rest import Rest
from tests.engines.pods import Container, Pod, Pods, wait_for_port
from tfx_edge.pipelines.kubeflow.pods import SHARED_FOLDER

_JOB_MANAGER, _TASK_MANAGER, _JOB_SERVER = 'flink-jobmanager', 'flink-taskmanager', 'beam-job-server'
# Flink's class path in its image.
_LIB = '/opt/flink/lib'
_ENTRY = 'org.apache.flink.runtime'
# As Flink's scripts read them.
_OWN_FLAGS = {'JM': 'jobmanager', 'TM': 'taskmanager'}
_ANSWER = 'BASH_JAVA_UTILS_EXEC_RESULT:'


class FlinkCluster:
    """The pods of deploy/kubernetes.

    Args:
      pods: where it runs.
      jars: what Maven brought.
      shared: the folder that is the shared volume.
      deployed: what the manifests say.
    """

    def __init__(
        self,
        pods: Pods,
        jars: pathlib.Path,
        shared: pathlib.Path,
        deployed: Mapping[str, manifests.Deployment],
    ) -> None:
        self._jars, self._shared, self._deployed = jars, shared, deployed
        self._folder = pods.folder
        self._job_manager_pod = pods.pod(_JOB_MANAGER)
        self._task_manager_pods = [
            pods.pod(f'{_TASK_MANAGER}-{number}') for number in range(deployed[_TASK_MANAGER].replicas)
        ]
        self._job_server_pod = pods.pod(_JOB_SERVER)
        self.rest = Rest(f'http://{_JOB_MANAGER}:{self._ports(_JOB_MANAGER)["rest"]}')
        self.task_managers: list[Container] = []
        self.pools: list[Container] = []

    def start(self) -> None:
        """Starts all, and waits until it is ready."""
        self.job_manager = self._start_flink(
            self._job_manager_pod,
            _JOB_MANAGER,
            'JM',
            f'{_ENTRY}.entrypoint.StandaloneSessionClusterEntrypoint',
        )
        self.pools = [self._start_pool(pod) for pod in self._task_manager_pods]
        wait_for_port(_JOB_MANAGER, self._ports(_JOB_MANAGER)['rest'], [self.job_manager])
        self.task_managers = [self._start_task_manager(pod) for pod in self._task_manager_pods]
        self.start_job_server()
        self.ready()

    def start_job_server(self) -> None:
        """Starts the job server, anew where it has ended."""
        spec = self._deployed[_JOB_SERVER].containers['job-server']
        assert spec.command == ('java',), spec.command
        here = {
            '$(POD_IP)': self._job_server_pod.address,
            SHARED_FOLDER: str(self._shared),
            _LIB: str(self._jars),
        }
        arguments = list(spec.arguments)
        for there, path in here.items():
            arguments = [argument.replace(there, path) for argument in arguments]
        # What Java takes for the machine's memory in a container.
        command = ['java', *OPENED, f'-XX:MaxRAM={spec.memory}', *arguments]
        self.job_server = self._job_server_pod.start('job-server', command, self._own_tmp('job-server'))

    def ready(self) -> None:
        """Starts what has ended, as a Deployment does, and waits until every slot is free.

        Raises:
          TimeoutError: a job holds on to its slots, or something does not come up.
        """
        for number, pod in enumerate(self._task_manager_pods):
            if self.task_managers[number].process.poll() is not None:
                self.task_managers[number] = self._start_task_manager(pod)
            if self.pools[number].process.poll() is not None:
                self.pools[number] = self._start_pool(pod)
        if self.job_server.process.poll() is not None:
            self.start_job_server()
        for container in self.pools:
            address = container.name.partition('/')[0]
            wait_for_port(address, self._ports(_TASK_MANAGER, 'beam-workers')['pool'], [container])
        wait_for_port(_JOB_SERVER, self._ports(_JOB_SERVER)['job'], [self.job_server])
        self.rest.wait_for_slots(self.slots, self.task_managers)

    @property
    def slots(self) -> int:
        """All slots of the cluster."""
        properties = self._deployed[_TASK_MANAGER].containers['taskmanager'].properties
        (line,) = [
            line for line in properties.splitlines() if line.startswith('taskmanager.numberOfTaskSlots:')
        ]
        return int(line.partition(':')[2]) * self._deployed[_TASK_MANAGER].replicas

    def beam_args(self, parallelism: int) -> tuple[str, ...]:
        """What deploy/README.md gives to `tfx-edge compile`."""
        pool = self._ports(_TASK_MANAGER, 'beam-workers')['pool']
        return (
            '--runner=PortableRunner',
            f'--job_endpoint={_JOB_SERVER}:{self._ports(_JOB_SERVER)["job"]}',
            '--environment_type=EXTERNAL',
            f'--environment_config=localhost:{pool}',
            f'--flink_master={_JOB_MANAGER}:{self._ports(_JOB_MANAGER)["rest"]}',
            '--sdk_container_image=image',
            f'--parallelism={parallelism}',
            '--environment_cache_millis=10000',
        )

    def _start_task_manager(self, pod: Pod) -> Container:
        return self._start_flink(pod, _TASK_MANAGER, 'TM', f'{_ENTRY}.taskexecutor.TaskManagerRunner')

    def _start_pool(self, pod: Pod) -> Container:
        spec = self._deployed[_TASK_MANAGER].containers['beam-workers']
        python, *command = spec.command
        assert python == 'python', spec.command
        return pod.start('beam-workers', [sys.executable, *command, *spec.arguments])

    def _start_flink(self, pod: Pod, deployment: str, kind: str, main_class: str) -> Container:
        """As Flink's scripts do: Flink's own BashJavaUtils works out the memory of the JVM."""
        (container,) = [c for c in self._deployed[deployment].containers.values() if c.properties]
        conf = self._folder / f'{pod.name}-conf'
        conf.mkdir(exist_ok=True)
        (conf / 'config.yaml').write_text(container.properties)
        at_conf = ['--configDir', str(conf)]
        asked = java(
            self._jars,
            f'{_ENTRY}.util.bash.BashJavaUtils',
            [f'GET_{kind}_RESOURCE_PARAMS', *at_conf],
        )
        done = subprocess.run(asked, capture_output=True, text=True)
        answers = [
            line.partition(_ANSWER)[2] for line in done.stdout.splitlines() if line.startswith(_ANSWER)
        ]
        if len(answers) != 2:
            raise RuntimeError(f'Flink does not take the settings of {deployment}: {done.stderr[-2000:]}')
        flags, parameters = (answer.split() for answer in answers)
        own = yaml.safe_load(container.properties).get(f'env.java.opts.{_OWN_FLAGS[kind]}', '')
        command = java(self._jars, main_class, [*at_conf, *parameters], [*flags, *own.split()])
        return pod.start(container_name(deployment), command, self._own_tmp(pod.name))

    def _own_tmp(self, name: str) -> dict[str, str]:
        tmp = self._folder / f'{name}-tmp'
        tmp.mkdir(exist_ok=True)
        return {'JAVA_TOOL_OPTIONS': f'-Djava.io.tmpdir={tmp}'}

    def _ports(self, deployment: str, container: str | None = None) -> Mapping[str, int]:
        containers = self._deployed[deployment].containers
        return containers[container or next(iter(containers))].ports


def container_name(deployment: str) -> str:
    return deployment.partition('-')[2]
