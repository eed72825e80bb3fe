"""The compiled digits pipeline with its Beam steps on an engine."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from tests.digits_runs import LIMITS, built
from tests.pipelines.kubeflow.cluster import Cluster
from tests.pipelines.kubeflow.object_store import new_bucket, object_store
from tfx_edge.pipelines.digits import data
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.pods import PodOptions

_KEYS = {'AWS_ACCESS_KEY_ID': 'key', 'AWS_SECRET_ACCESS_KEY': 'secret'}


def pushed_file(beam_args: Sequence[str], shared: pathlib.Path, folder: pathlib.Path) -> bytes:
    """Runs the pipeline in the emulated cluster.

    Args:
      beam_args: of the engine.
      shared: the folder that is the shared volume.
      folder: for all else.

    Returns:
      The file that Pusher pushed.
    """
    data.write_examples(folder / 'data')
    with object_store() as store:
        bucket = new_bucket()
        store.upload(folder / 'data', f's3://{bucket}/data')
        serving = f's3://{bucket}/serving'
        pipeline = built(f'minio://{bucket}/v2/artifacts', f's3://{bucket}/data', serving, beam_args)
        pods = PodOptions(
            shared_volume='shared',
            variables=(f'AWS_ENDPOINT_URL={store.endpoint}', 'AWS_DEFAULT_REGION=us-east-1'),
            secret_variables=tuple(f'{variable}=store:{variable}' for variable in _KEYS),
        )
        text = as_text(compile_pipeline(pipeline, 'image', 'kfp', pods), 'kfp')
        cluster = Cluster(
            store,
            folder / 'cluster',
            claims={'shared': shared},
            secrets={'store': dict.fromkeys(_KEYS, 'any')},
        )
        run = cluster.run(text, LIMITS)
        assert run.artifacts['EdgeEvaluator', 'blessing']['metadata']['blessed'] == 1
        (pushed,) = store.keys(serving)
        return store.read(f'{serving}/{pushed}')
