"""What CONTRIBUTING.md says of adding a technique: each patch here adds a real one, to a copy of the checkout.

A patch is a commit on a branch that was not merged (`git diff -U1`): the files that the guide names, and tests.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
# The folders of the checkout as the packages that they are installed as.
PACKAGES = {'components': 'components', 'pipelines': 'pipelines', 'proto/messages': 'proto'}


@dataclasses.dataclass(frozen=True)
class Extension:
    """A technique of CONTRIBUTING.md.

    Attributes:
      patch: the file here, without its ending.
      heading: of the section that says how it is added.
      new: at most so many files of the product are made for it.
      touched: and so many that are there are changed.
    """

    patch: str
    heading: str
    new: int
    touched: int

    @property
    def path(self) -> pathlib.Path:
        """Of the patch."""
        return pathlib.Path(__file__).with_name(f'{self.patch}.patch')

    def files(self, *, new: bool) -> list[str]:
        """The files of the product that it makes, or that it changes."""
        entries = re.split(r'^diff --git ', self.path.read_text(), flags=re.MULTILINE)[1:]
        found = {re.match(r'a/(\S+)', entry)[1]: '\nnew file mode' in entry for entry in entries}  # type: ignore[index]
        return [name for name, is_new in found.items() if is_new is new and not name.startswith('tests/')]

    @property
    def tests(self) -> list[str]:
        """The test modules that it adds."""
        return re.findall(r'^\+\+\+ b/(tests/\S+_test\.py)$', self.path.read_text(), re.MULTILINE)


EXTENSIONS = [
    Extension('pruning-criterion', 'How to add a pruning criterion', new=0, touched=3),
    Extension('quantization-mode', 'How to add a quantization mode', new=0, touched=3),
    Extension('gate', 'How to add a gate', new=1, touched=4),
    Extension('training-component', 'How to add a training component', new=5, touched=2),
]
pytestmark_each = pytest.mark.parametrize('extension', EXTENSIONS, ids=[e.patch for e in EXTENSIONS])


@pytestmark_each
def test_it_touches_few_files(extension: Extension) -> None:
    assert len(extension.files(new=True)) <= extension.new
    assert len(extension.files(new=False)) <= extension.touched


@pytestmark_each
def test_the_guide_names_every_file(extension: Extension) -> None:
    text = (ROOT / 'CONTRIBUTING.md').read_text()
    section = text.partition(f'## {extension.heading}\n')[2].partition('\n## ')[0]
    for name in (*extension.files(new=True), *extension.files(new=False)):
        assert f'`{name}`' in section


@pytestmark_each
def test_its_tests_pass(extension: Extension, tmp_path: pathlib.Path) -> None:
    copy = tmp_path / 'checkout'
    for name in ('components', 'pipelines', 'proto', 'tests'):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT / 'pyproject.toml', copy)
    subprocess.run(['git', 'apply', str(extension.path)], cwd=copy, check=True)
    assert extension.tests
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-n', '0', *extension.tests],
        cwd=copy,
        env={**os.environ, 'PYTHONPATH': str(_installed(copy)), 'PYTEST_ADDOPTS': ''},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def _installed(copy: pathlib.Path) -> pathlib.Path:
    """A folder from which the copy's packages are imported before those of the environment."""
    package = copy / 'installed' / 'tfx_edge'
    package.mkdir(parents=True)
    shutil.copy(ROOT / 'components' / 'package' / '__init__.py', package)
    for folder, name in PACKAGES.items():
        (package / name).symlink_to(copy / folder)
    return package.parent
