"""Object stores as TFX's file system: marks of folders, stores on Azure, and what is missing."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import adlfs
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tfx.dsl.io import fileio

from tests.pipelines.kubeflow.object_store import ObjectStore, new_bucket, object_store
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow import object_store_files

pytestmark = pytest.mark.slow

# Files, and marks as consoles, Hadoop and copying tools leave them: with a slash at the end of their name, or without.
OBJECTS = {
    'data/': b'',
    'data/a': b'12',
    'data/b/': b'',
    'data/b/c': b'3',
    'data/d': b'',
    'data/d/e': b'',
    'data/f/': b'',
}
FILES = {'a': b'12', 'b/c': b'3', 'd/e': b''}


class AzureInMemory(MemoryFileSystem):
    """fsspec's store in memory, where its driver for Azure would be."""

    protocol = ('abfs', 'az')
    store: dict[str, Any] = {}
    pseudo_dirs = ['']

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return '/' + path.rpartition('://')[2].strip('/')


@pytest.fixture(scope='module')
def server() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


@pytest.fixture(params=['s3', 'minio'])
def marked(request: pytest.FixtureRequest, server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a folder with marks."""
    server.reach(monkeypatch)
    object_store_files.register()
    bucket = new_bucket()
    for key, content in OBJECTS.items():
        server.put(f's3://{bucket}/{key}', content)
    return f'{request.param}://{bucket}/data'


@pytest.fixture
def azure() -> Iterator[str]:
    """The URI of a container."""
    object_store_files.register()
    fsspec.register_implementation('abfs', AzureInMemory, clobber=True)
    yield 'az://container'
    fsspec.register_implementation('abfs', adlfs.AzureBlobFileSystem, clobber=True)


def test_marks_are_folders_and_no_files(marked: str) -> None:
    assert fileio.listdir(marked) == ['a', 'b', 'd', 'f']
    assert list(fileio.walk(marked)) == [
        (marked, ['b', 'd', 'f'], ['a']),
        (f'{marked}/b', [], ['c']),
        (f'{marked}/d', [], ['e']),
        (f'{marked}/f', [], []),
    ]
    assert all(fileio.isdir(f'{marked}/{name}') for name in ('b', 'd', 'f'))
    assert not fileio.isdir(f'{marked}/d/e')
    assert fileio.glob(f'{marked}/*') == [f'{marked}/{name}' for name in ('a', 'b', 'd', 'f')]
    assert fileio.glob(f'{marked}/*/*') == [f'{marked}/b/c', f'{marked}/d/e']


def test_folder_with_marks_is_copied_without_them(marked: str, tmp_path: pathlib.Path) -> None:
    folder = pathlib.Path(object_store_files.download(marked, str(tmp_path)))
    copied = {path.relative_to(folder).as_posix(): path for path in folder.rglob('*') if path.is_file()}
    assert {name: path.read_bytes() for name, path in copied.items()} == FILES


def test_removed_folder_leaves_no_mark(marked: str, server: ObjectStore) -> None:
    fileio.rmtree(marked)
    assert not fileio.exists(marked)
    assert server.keys(marked) == []


def test_file_is_no_folder_to_list(marked: str) -> None:
    assert list(fileio.walk(f'{marked}/a')) == []
    with pytest.raises(fileio.NotFoundError, match=r'/data/a is no folder'):
        fileio.listdir(f'{marked}/a')


@pytest.mark.parametrize('scheme', ['az', 'abfs'])
def test_files_on_azure_are_what_was_written(scheme: str, azure: str, tmp_path: pathlib.Path) -> None:
    root = f'{scheme}://container/{scheme}'
    for name, content in FILES.items():
        with fileio.open(f'{root}/{name}', 'wb') as file:
            file.write(content)
    assert fileio.listdir(root) == ['a', 'b', 'd']
    assert fileio.glob(f'{root}/*/c') == [f'{root}/b/c']
    assert fileio.stat(f'{root}/a').length == 2
    fileio.rename(f'{root}/a', f'{root}/g')
    fetched = pathlib.Path(object_store_files.download(root, str(tmp_path)))
    assert (fetched / 'g').read_bytes() == b'12'
    assert (fetched / 'd' / 'e').read_bytes() == b''
    fileio.rmtree(root)
    assert not fileio.exists(f'{root}/b/c')


@pytest.mark.parametrize(
    ('uri', 'driver', 'extra'),
    [
        ('s3://bucket/train.py', 's3fs', 's3'),
        ('minio://bucket/train.py', 's3fs', 's3'),
        ('az://container/train.py', 'adlfs', 'azure'),
        ('abfs://container/train.py', 'adlfs', 'azure'),
    ],
)
def test_missing_driver_is_named_with_the_extra_that_brings_it(
    uri: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store_files.register()
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(EdgeError, match=rf"{uri} .* without {driver}; pip install 'tfx-edge\[{extra}\]'"):
        fileio.exists(uri)


def test_error_of_azure_names_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    object_store_files.register()
    for name in ('AZURE_STORAGE_CONNECTION_STRING', 'AZURE_STORAGE_ACCOUNT_NAME'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        EdgeError, match=r'az://container/train\.py cannot be reached .* AZURE_STORAGE_ACCOUNT_NAME'
    ):
        fileio.exists('az://container/train.py')
