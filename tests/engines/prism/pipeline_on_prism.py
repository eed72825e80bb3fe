"""The compiled digits pipeline on Prism, as Kubeflow runs it, to the file that LocalDagRunner makes."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from tests.engines.compiled_pipeline import pushed_file


def test_pipeline_pushes_the_file_of_the_direct_runner(
    prism: Sequence[str], shared: pathlib.Path, tmp_path: pathlib.Path, local_file: bytes
) -> None:
    assert pushed_file(prism, shared, tmp_path) == local_file
    assert list(shared.iterdir()) == []
