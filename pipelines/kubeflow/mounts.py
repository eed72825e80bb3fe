"""Where Kubeflow's launcher puts artifacts: what is at minio://bucket/key lies at /minio/bucket/key during a step."""

from __future__ import annotations

import os

# KFP's own table (`LocalPathForURI` in backend/src/v2/component/launcher_v2.go).
_FOLDERS = {'gs://': 'gcs', 'minio://': 'minio', 's3://': 's3'}
ROOT_VARIABLE = 'TFX_EDGE_MOUNT_ROOT'


class Mounts:
    """Paths for the URIs of a step's artifacts, and the way back.

    The launcher downloads inputs before a step and uploads outputs after it. It finds an output's files by the URI
    that the step reports, so that every path must become the URI again that it came from.

    Args:
      root: folder with `minio`, `s3` and `gcs`; the launcher's is '/'.

    Example:
      >>> mounts = Mounts()
      >>> mounts.path('minio://mlpipeline/run/model')
      '/minio/mlpipeline/run/model'
      >>> mounts.uri('/minio/mlpipeline/run/model/Format-Serving')
      'minio://mlpipeline/run/model/Format-Serving'
    """

    def __init__(self, root: str = '/') -> None:
        self._root = root
        self._uris: dict[str, str] = {}

    def path(self, uri: str) -> str:
        """The path of an artifact, or the URI itself if the launcher knows no folder for it."""
        for scheme, folder in _FOLDERS.items():
            if uri.startswith(scheme):
                path = os.path.join(self._root, folder, uri[len(scheme) :])
                self._uris[path] = uri
                return path
        return uri

    def uri(self, text: str) -> str:
        """The URI of a path in one of the artifacts that were asked for; any other text as it is."""
        for path, uri in self._uris.items():
            if text == path or text.startswith(f'{path.rstrip("/")}/'):
                return uri + text[len(path) :]
        return text
