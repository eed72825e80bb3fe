"""An S3 server on loopback, and the transfers that Kubeflow's launcher makes (backend/src/v2/objectstore of KFP 2)."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import urllib.parse
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.config
import pytest
import s3fs
from moto.server import ThreadedMotoServer

SCHEMES = ('minio://', 's3://', 'gs://')


class ObjectStore:
    """Buckets that are made when something is first put there; minio:// and gs:// name the same ones as s3://.

    Args:
      endpoint: URL of the server.
      access_key: of the launcher, which has its credentials from the cluster and not from a step.
      secret_key: likewise.
    """

    def __init__(self, endpoint: str, access_key: str = 'launcher', secret_key: str = 'secret') -> None:
        self.endpoint = endpoint
        self._s3: Any = boto3.client(
            's3',
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name='us-east-1',
            config=botocore.config.Config(proxies={}),
        )

    def reach(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gives this process the variables by which a step, or a user's machine, reaches the store."""
        monkeypatch.setenv('AWS_ENDPOINT_URL', self.endpoint)
        monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'user')
        monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'secret')
        monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
        s3fs.S3FileSystem.clear_instance_cache()

    def upload(self, local: pathlib.Path, uri: str) -> None:
        """A file, or the files below a folder: there are no empty folders. What does not exist is passed over."""
        bucket, key = _split(uri)
        self._s3.create_bucket(Bucket=bucket)
        if local.is_file():
            self._s3.upload_file(str(local), bucket, key)
        for path in sorted(local.rglob('*')):
            if path.is_file():
                self._s3.upload_file(str(path), bucket, f'{key}/{path.relative_to(local).as_posix()}')

    def put(self, uri: str, content: bytes) -> None:
        """An object whose key is that of the URI to the letter: one that ends with a slash marks a folder."""
        bucket, _, key = uri.partition('://')[2].partition('/')
        self._s3.create_bucket(Bucket=bucket)
        self._s3.put_object(Bucket=bucket, Key=key, Body=content)

    def download(self, uri: str, local: pathlib.Path) -> None:
        bucket, key = _split(uri)
        for name in self.keys(uri):
            path = local / name if name else local
            path.parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(bucket, f'{key}/{name}' if name else key, str(path))

    def keys(self, uri: str) -> list[str]:
        """The names of the objects below a URI, relative to it; '' for the object at the URI itself."""
        bucket, key = _split(uri)
        pages = self._s3.get_paginator('list_objects_v2').paginate(Bucket=bucket, Prefix=key)
        found = [entry['Key'] for page in pages for entry in page.get('Contents', [])]
        return [name[len(key) + 1 :] for name in found if name == key or name.startswith(f'{key}/')]

    def remove(self, uri: str) -> None:
        """Removes the objects below a URI."""
        bucket, key = _split(uri)
        for name in self.keys(uri):
            self._s3.delete_object(Bucket=bucket, Key=f'{key}/{name}')

    def read(self, uri: str) -> bytes:
        bucket, key = _split(uri)
        return self._s3.get_object(Bucket=bucket, Key=key)['Body'].read()

    def everything(self, bucket: str) -> Iterator[tuple[str, bytes]]:
        """Every object of a bucket, by its key."""
        for page in self._s3.get_paginator('list_objects_v2').paginate(Bucket=bucket):
            for entry in page.get('Contents', []):
                yield entry['Key'], self.read(f's3://{bucket}/{entry["Key"]}')


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server of its own, on a port of its own."""
    # A line for every request otherwise.
    logging.getLogger('werkzeug').setLevel(logging.WARNING)
    server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield ObjectStore(f'http://{host}:{port}')
    finally:
        server.stop()


def new_bucket() -> str:
    """A name that no other test uses: all servers of a process share what they hold."""
    return f'bucket-{uuid.uuid4()}'


def _split(uri: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(uri)
    assert f'{parts.scheme}://' in SCHEMES, f'{uri} is at no object store'
    return parts.netloc, parts.path.strip('/')
