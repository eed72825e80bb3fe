"""What the image leaves out of installed packages, and the times and byte code of what stays.

python -W ignore slim.py /opt/tfx-edge

Runs while the image is built, on an environment that is complete. The same packages give the same files: times are
fixed, and byte code is made afterwards, for a user of the image cannot write any.
"""

from __future__ import annotations

import compileall
import concurrent.futures
import importlib.metadata
import importlib.util
import os
import pathlib
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator

# 2000-01-01: TFX packs files into zip files, which have no time before 1980.
TIME = 946684800
# Nothing in the image compiles C++, reads stubs, runs the tests of its packages, or serves notebooks.
FOLDERS = ('examples', 'include', 'test', 'testdata', 'tests')
SUFFIXES = ('.a', '.c', '.cc', '.cpp', '.exe', '.h', '.hpp', '.map', '.pxd', '.pxi', '.pyi', '.pyx')
# TensorFlow's API has modules of these names; our own package holds what it needs.
KEPT = ('tensorflow/_api/', 'tfx_edge/')
# In these packages a file whose name ends so is a test; scipy.stats has modules that are none.
TEST_SUFFIX = '_test.py'
WITH_TESTS = (
    'apache_beam/',
    'keras/',
    'kfp/',
    'litert_quantizer/',
    'tensorflow_data_validation/',
    'tensorflow_model_analysis/',
    'tensorflow_transform/',
    'tf_keras/',
    'tfx/',
    'tfx_bsl/',
)
# The compilers of C++ and for single vendors' chips, and what runs a .tflite file on a GPU by WebGPU.
FILES = (
    'clang/native/libclang.so',
    'ai_edge_litert/tools/apply_plugin_main',
    'ai_edge_litert/libLiteRtWebGpuAccelerator.so',
)
COMPILER_PLUGIN = 'libLiteRtCompilerPlugin_'
NOTEBOOKS = 'share/jupyter'
# Packages whose libraries stay whole without their symbol tables. (NumPy's, which auditwheel has changed, do not.)
STRIPPED = (
    'PIL',
    'ai_edge_litert',
    'aiohttp',
    'apache_beam',
    'cryptography',
    'fastavro',
    'frozenlist',
    'h5py',
    'ml_metadata',
    'multidict',
    'propcache',
    'pyarrow',
    'regex',
    'scipy',
    'sklearn',
    'tensorflow',
    'tensorflow_data_validation',
    'tfx_bsl',
    'yaml',
    'zstandard',
)
STRIPPED_BYTES = 300_000
# Requirements that uv.lock overrides (pyproject.toml says why), as what is installed must have them for pip.
OVERRIDDEN = {'tensorflow_data_validation': ('pyfarmhash', 'pyfarmhash>=0.2.2')}
# Clients generated from an API's description: the half of their byte code is its text.
GENERATED = (
    'agentplatform',
    'google/cloud',
    'google/genai',
    'google/pubsub_v1',
    'kfp_server_api',
    'kubernetes/client',
    'vertexai',
)


def slim(environment: pathlib.Path) -> None:
    """Removes, strips, and compiles to byte code, in a virtual environment.

    Args:
      environment: its folder.

    Raises:
      SystemExit: a library cannot be stripped, or a module cannot be compiled.
    """
    (packages,) = environment.glob('lib/python3*/site-packages')
    _remove(packages)
    shutil.rmtree(environment / NOTEBOOKS, ignore_errors=True)
    _strip(packages)
    _name_tensorflow(packages)
    _override(packages)
    _set_times(environment)
    _compile(packages)
    _set_times(environment)


def _remove(packages: pathlib.Path) -> None:
    for path in sorted(packages.rglob('*')):
        place = path.relative_to(packages).as_posix()
        if place.startswith(KEPT) or not path.exists():
            continue
        if path.is_dir() and path.name in FOLDERS:
            shutil.rmtree(path)
        elif path.is_file() and _is_left_out(path.name, place):
            path.unlink()


def _is_left_out(name: str, place: str) -> bool:
    is_test = place.startswith(WITH_TESTS) and name.endswith(TEST_SUFFIX)
    return is_test or place in FILES or name.startswith(COMPILER_PLUGIN) or name.endswith(SUFFIXES)


def _strip(packages: pathlib.Path) -> None:
    for name in STRIPPED:
        for path in sorted((packages / name).rglob('*.so*')):
            if path.is_file() and not path.is_symlink() and path.stat().st_size >= STRIPPED_BYTES:
                done = subprocess.run(['strip', '--strip-unneeded', path], capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f'slim.py: {path} cannot be stripped: {done.stderr.strip()}')


def _name_tensorflow(packages: pathlib.Path) -> None:
    """tensorflow-cpu under the name that others require, so that pip does not install `tensorflow` over it."""
    distributions = importlib.metadata.distributions(path=[str(packages)])
    versions = {distribution.name: distribution.version for distribution in distributions}
    if 'tensorflow_cpu' not in versions or 'tensorflow' in versions:
        return
    version = versions['tensorflow_cpu']
    folder = packages / f'tensorflow-{version}.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: tensorflow\nVersion: {version}\n'
        f'Summary: tensorflow-cpu, under the name that other packages require\n'
        f'Requires-Dist: tensorflow-cpu=={version}\n'
    )
    (folder / 'INSTALLER').write_text('tfx-edge\n')
    names = ('METADATA', 'INSTALLER', 'RECORD')
    (folder / 'RECORD').write_text(''.join(f'{folder.name}/{name},,\n' for name in names))


def _override(packages: pathlib.Path) -> None:
    for name, (required, override) in OVERRIDDEN.items():
        for path in packages.glob(f'{name}-*.dist-info/METADATA'):
            lines = path.read_text(encoding='utf-8').split('\n')
            changed = [_overridden(line, required, override) for line in lines]
            if changed == lines:
                raise SystemExit(f'slim.py: {path} does not require {required}; remove it from OVERRIDDEN.')
            path.write_text('\n'.join(changed), encoding='utf-8')


def _overridden(line: str, required: str, override: str) -> str:
    is_meant = line.partition(';')[0].removeprefix('Requires-Dist: ').startswith(required)
    return f'Requires-Dist: {override}' if line.startswith('Requires-Dist: ') and is_meant else line


def _compile(packages: pathlib.Path) -> None:
    """Byte code with the time of its source in it: an edited source is compiled anew, as ever."""
    with concurrent.futures.ProcessPoolExecutor() as pool:
        list(pool.map(_compile_without_text, _generated(packages), chunksize=50))
    mode = py_compile.PycInvalidationMode.TIMESTAMP
    if not compileall.compile_dir(packages, quiet=1, workers=0, maxlevels=50, invalidation_mode=mode):
        raise SystemExit('slim.py: the modules named above cannot be compiled.')


def _generated(packages: pathlib.Path) -> Iterator[pathlib.Path]:
    for name in GENERATED:
        yield from sorted((packages / name).rglob('*.py'))


def _compile_without_text(source: pathlib.Path) -> None:
    py_compile.compile(
        str(source),
        importlib.util.cache_from_source(source, optimization=''),
        doraise=True,
        optimize=2,
        invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP,
    )


def _set_times(environment: pathlib.Path) -> None:
    for path in (environment, *environment.rglob('*')):
        os.utime(path, (TIME, TIME), follow_symlinks=False)


if __name__ == '__main__':
    slim(pathlib.Path(sys.argv[1]))
