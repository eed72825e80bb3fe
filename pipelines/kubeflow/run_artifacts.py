"""What a run on Kubeflow left at the object store, fetched to this machine."""

from __future__ import annotations

import dataclasses
import pathlib
import posixpath

from tfx.dsl.io import fileio

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow import object_store_files


@dataclasses.dataclass(frozen=True)
class RunArtifacts:
    """The artifacts of the steps that one run has executed; what it took from the cache lies below another run.

    Attributes:
      root: URI of the folder for the artifacts, that the run was started with.
      pipeline: its name.
      run_id: of the run.

    Example:
      ```
      artifacts = RunArtifacts('minio://mlpipeline/v2/artifacts', 'digits', '0f5c...')
      model = artifacts.fetch('Trainer', 'model', pathlib.Path('fetched'))
      ```
    """

    root: str
    pipeline: str
    run_id: str

    def uri(self, step: str, key: str) -> str:
        """URI of a step's artifact.

        Args:
          step: its name.
          key: of the output.

        Raises:
          EdgeError: it is not there, or the store does not answer.
        """
        object_store_files.register()
        # Kubeflow's driver: ROOT/PIPELINE/RUN/STEP/UUID/KEY.
        folder = posixpath.join(self.root, self.pipeline, self.run_id, step)
        made = [name for name in fileio.listdir(folder) if fileio.exists(posixpath.join(folder, name, key))]
        if len(made) != 1:
            raise EdgeError(
                f'{folder} holds {len(made)} artifacts {key!r} of {step}, not 1; let AWS_ENDPOINT_URL name the store '
                'in which the cluster keeps its artifacts.'
            )
        return posixpath.join(folder, made[0].rstrip('/'), key)

    def fetch(self, step: str, key: str, folder: pathlib.Path) -> pathlib.Path:
        """Copies a step's artifact to this machine.

        Args:
          step: its name.
          key: of the output.
          folder: what the artifact's folder is made in, below the step's name.

        Returns:
          The artifact's folder.

        Raises:
          EdgeError: it is not there, or the store does not answer.
        """
        return pathlib.Path(object_store_files.download(self.uri(step, key), str(folder / step)))
