"""Models that differ have other digests, wherever they lie."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.golden import files
from tfx_edge.components.core.content_digest import content_digest

PARTS = ('saved_model.pb', 'variables/variables.data-00000-of-00001', 'assets/words', 'assets/deeper/words')


def model(folder: pathlib.Path) -> pathlib.Path:
    shutil.copytree(files.saved_model('exact'), folder)
    for name in PARTS[2:]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('a word')
    return folder


@pytest.mark.parametrize('place', ['plain', 'run [1]', 'all*', 'what?'])
@pytest.mark.parametrize('part', PARTS)
def test_any_byte_counts_wherever_the_model_lies(place: str, part: str, tmp_path: pathlib.Path) -> None:
    """A path is no pattern: taken for one, it would find no variables, and all models were the same."""
    folder = model(tmp_path / place / 'model')
    before = content_digest(str(folder))
    assert content_digest(str(model(tmp_path / 'elsewhere'))) == before
    content = bytearray((folder / part).read_bytes())
    content[-1] ^= 1
    (folder / part).chmod(0o644)
    (folder / part).write_bytes(content)
    assert content_digest(str(folder)) != before


def test_only_the_graph_counts_where_variables_do_not(tmp_path: pathlib.Path) -> None:
    folder = model(tmp_path / 'model')
    before = content_digest(str(folder), folders=('assets',))
    (folder / 'variables' / 'more').write_text('other values')
    assert content_digest(str(folder), folders=('assets',)) == before
