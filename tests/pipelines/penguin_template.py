"""TFX's penguin template, changed as README.md says."""

from __future__ import annotations

import pathlib
import re
import subprocess

from tests.pipelines.readme_snippets import README

_PACKAGE = 'tfx.experimental.templates.penguin'


def copy_pipeline(folder: pathlib.Path) -> pathlib.Path:
    """Copies the template's pipeline, and changes it by the commands and the diff of README.md.

    Args:
      folder: gets `pipeline/pipeline.py`.

    Returns:
      The file, which imports the template's other modules from the wheel.
    """
    import tfx

    template = pathlib.Path(tfx.__file__).parent.joinpath(*_PACKAGE.split('.')[1:], 'pipeline', 'pipeline.py')
    file = folder / 'pipeline' / 'pipeline.py'
    file.parent.mkdir(exist_ok=True)
    (command,) = re.findall(r'^    (sed -i .*)$', README.read_text(), re.MULTILINE)
    # As `tfx template copy` changes its copy.
    file.write_text(template.read_text().replace(f'{_PACKAGE}.', ''))
    subprocess.run(['bash', '-c', command], cwd=folder, check=True)
    changed = _patched(file.read_text(), _diff())
    file.write_text(changed.replace('from models ', f'from {_PACKAGE}.models '))
    return file


def _diff() -> str:
    (diff,) = re.findall(r'```diff\n(.*?)```', README.read_text(), re.DOTALL)
    return diff


def _patched(text: str, diff: str) -> str:
    """As `patch` does it, but to lines that stand in one place alone."""
    for hunk in re.split(r'^@@.*\n', diff, flags=re.MULTILINE)[1:]:
        before, after = (
            ''.join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] in kept)
            for kept in (' -', ' +')
        )
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text
