"""TFX's file operations at object stores it has none for: modules, wheels, data, and where Pusher pushes.

The stores are fsspec's. gs:// is not among them: TensorFlow, which TFX asks, and Beam both read and write there.
Credentials and the server are those of every client of a store, in the environment or from the machine's role.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tfx.dsl.io import fileio, filesystem, filesystem_registry

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow.cluster_fault import ClusterFault

# Preferred to TFX's plugin for TensorFlow, which has 10: it accepts s3://, but TensorFlow cannot read there.
_PRIORITY = 5


@dataclasses.dataclass(frozen=True)
class Store:
    """A kind of object store.

    Attributes:
      protocol: fsspec's name for it.
      driver: the module that fsspec needs.
      extra: what of tfx-edge brings the driver.
      settings: the environment variables that its client reads, for an error.
    """

    protocol: str
    driver: str
    extra: str
    settings: str


_S3 = Store('s3', 's3fs', 's3', 'AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY')
_AZURE = Store(
    'abfs',
    'adlfs',
    'azure',
    'AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY',
)
# By the start of a URI; a store more is a row here, and an extra in pyproject.toml.
STORES: Mapping[str, Store] = {'s3://': _S3, 'minio://': _S3, 'az://': _AZURE, 'abfs://': _AZURE}


def is_at_store(path: object) -> bool:
    """Whether a text is a URI that this file system serves."""
    return isinstance(path, str) and path.startswith(tuple(STORES))


def register() -> None:
    """Registers the file system with TFX; may be called again."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(ObjectStoreFilesystem, priority=_PRIORITY)


def download(uri: str, folder: str) -> str:
    """Copies a file, or all that lies below a prefix, and returns its path below `folder`.

    Raises:
      EdgeError: there is nothing, or the store does not answer.
    """
    target = os.path.join(folder, os.path.basename(uri.rstrip('/')))
    if not fileio.isdir(uri):
        if not fileio.exists(uri):
            raise EdgeError(f'{uri} does not exist; correct the URI.')
        _copy_file(uri, target)
        return target
    os.makedirs(target, exist_ok=True)
    for top, _, names in fileio.walk(uri):
        for name in names:
            _copy_file(os.path.join(top, name), place_inside(target, os.path.relpath(top, uri), name))
    return target


def place_inside(folder: str, *parts: str) -> str:
    """A path below a folder.

    Args:
      folder: on this machine.
      parts: of the path, from the key of an object, which may be any text.

    Raises:
      EdgeError: the path would lie elsewhere.

    Example:
      ```
      place_inside('/tmp/fetched', '.', 'model.tflite')
      # '/tmp/fetched/model.tflite'
      ```
    """
    path = os.path.normpath(os.path.join(folder, *parts))
    if os.path.commonpath([os.path.abspath(folder), os.path.abspath(path)]) != os.path.abspath(folder):
        raise EdgeError(f'an object is named {os.path.join(*parts)!r}, outside its folder; remove it.')
    return path


def _copy_file(source: str, target: str) -> None:
    """Copies one file with its time, which is part of ExampleGen's fingerprint of its data."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with fileio.open(source, 'rb') as reader, open(target, 'wb') as writer:
        while block := reader.read(1 << 20):
            writer.write(block)
    times = fileio.stat(source)
    if isinstance(times, FileStatistics):
        os.utime(target, ns=(times.mtime_nsec, times.mtime_nsec))


@dataclasses.dataclass(frozen=True)
class FileStatistics:
    """What TFX reads of a file, as TensorFlow's file system names it.

    Attributes:
      length: bytes.
      mtime_nsec: when it was written, in nanoseconds since 1970.
      is_directory: whether it is a folder.
      etag: the store's mark of the content; '' where it gives none.
    """

    length: int
    mtime_nsec: int
    is_directory: bool
    etag: str


class ObjectStoreFilesystem(filesystem.Filesystem):
    """An object store, whose folders are the parts of keys between slashes: making one does nothing.

    Consoles and other clients mark a folder by an object of no bytes at its name. The mark makes a folder here too, and
    is no file: nothing lists, walks or copies it, and removing the folder removes it.
    """

    SUPPORTED_SCHEMES = list(STORES)

    @staticmethod
    def open(name: str, mode: str = 'r') -> Any:
        with _client(name) as (store, key):
            return store.open(key, mode)

    @staticmethod
    def copy(src: str, dst: str, overwrite: bool = False) -> None:
        if not overwrite and fileio.exists(dst):
            raise OSError(f'{dst} exists already; give overwrite=True, or another path.')
        with fileio.open(src, 'rb') as reader, fileio.open(dst, 'wb') as writer:
            while block := reader.read(1 << 20):
                writer.write(block)

    @staticmethod
    def exists(path: str) -> bool:
        with _client(path) as (store, key):
            return store.exists(key)

    @staticmethod
    def glob(pattern: str) -> list[str]:
        with _client(pattern) as (store, key):
            return sorted({_uri(pattern, found) for found in store.glob(key)})

    @staticmethod
    def isdir(path: str) -> bool:
        with _client(path) as (store, key):
            return store.isdir(key)

    @staticmethod
    def listdir(path: str) -> list[str]:
        for _, folders, names in ObjectStoreFilesystem.walk(path):
            return sorted({*folders, *names})
        raise filesystem.NotFoundError(f'{path} is no folder.')

    @staticmethod
    def makedirs(path: str) -> None:
        pass

    @staticmethod
    def mkdir(path: str) -> None:
        pass

    @staticmethod
    def remove(path: str) -> None:
        with _client(path) as (store, key):
            store.rm_file(key)

    @staticmethod
    def rename(src: str, dst: str, overwrite: bool = False) -> None:
        ObjectStoreFilesystem.copy(src, dst, overwrite)
        fileio.remove(src)

    @staticmethod
    def rmtree(path: str) -> None:
        with _client(path) as (store, key):
            store.rm(key, recursive=True)
            # adlfs leaves the marks, and does not show that their names have a slash at the end.
            for left in [key, *store.find(key)] if store.exists(key) else []:
                for name in (left, f'{left}/'):
                    with contextlib.suppress(FileNotFoundError):
                        store.rm_file(name)

    @staticmethod
    def stat(path: str) -> FileStatistics:
        with _client(path) as (store, key):
            found = store.info(key)
        written = found.get('LastModified') or found.get('last_modified')
        return FileStatistics(
            length=int(found.get('size') or 0),
            mtime_nsec=round(written.timestamp() * 1e9) if written else 0,
            is_directory=found.get('type') == 'directory',
            etag=str(found.get('ETag') or found.get('etag') or '').strip('"'),
        )

    @staticmethod
    def walk(
        top: str, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[str, list[str], list[str]]]:
        # fsspec's own walk takes a mark for all that a folder holds, and passes over what it may not read.
        with _client(top) as (store, key):
            found = [
                (_uri(top, folder), sorted(folders), sorted(names))
                for folder, (folders, names) in sorted(_tree(store, key).items())
            ]
        return found if topdown else found[::-1]


def _tree(store: Any, top: str) -> dict[str, tuple[set[str], set[str]]]:
    """The folders and files in each folder below a key, by the folder's key; empty if there is no such folder."""
    if not store.isdir(top):
        return {}
    tree: dict[str, tuple[set[str], set[str]]] = {top: (set(), set())}
    found = store.find(top, detail=True)
    parents_of_files = {key.rpartition('/')[0] for key in found}
    for key, entry in found.items():
        *parents, name = key.rstrip('/').removeprefix(top).lstrip('/').split('/')
        is_mark = key.endswith('/') or (not entry['size'] and (key in parents_of_files or store.isdir(key)))
        folder = top
        for inner in [*parents, name] if is_mark and name else parents:
            tree[folder][0].add(inner)
            folder = f'{folder}/{inner}'
            tree.setdefault(folder, (set(), set()))
        if not is_mark:
            tree[folder][1].add(name)
    return tree


@contextlib.contextmanager
def _client(path: str) -> Iterator[tuple[Any, str]]:
    """A client, and its name for what a URI means; what goes wrong with it names the URI."""
    scheme, rest = _split(path)
    kind = STORES[scheme]
    try:
        importlib.import_module(kind.driver)
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ClusterFault(
            f"{path} cannot be reached without {kind.driver}; pip install 'tfx-edge[{kind.extra}]'."
        ) from error
    try:
        # A listing that is kept would hide what another step wrote.
        store, key = url_to_fs(f'{kind.protocol}://{rest}', use_listings_cache=False)
        yield store, key
    except FileNotFoundError as error:
        raise filesystem.NotFoundError(f'{path} does not exist.') from error
    except Exception as error:  # a store lets through what its client raises, which is of many kinds
        raise ClusterFault(
            f'{path} cannot be reached ({type(error).__name__}); check {kind.settings}, and that they allow it.'
        ) from error


def _split(path: str) -> tuple[str, str]:
    scheme, separator, rest = path.partition('://')
    return scheme + separator, rest


def _uri(like: str, key: str) -> str:
    """The URI of a store's key, which begins with the bucket, in the form of another URI of that bucket."""
    scheme, rest = _split(like)
    bucket = rest.partition('/')[0]
    inside = key.strip('/').partition('/')[2]
    return f'{scheme}{bucket}/{inside}'.rstrip('/')
