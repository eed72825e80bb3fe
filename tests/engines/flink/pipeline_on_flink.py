"""The compiled digits pipeline on Flink, as Kubeflow runs it, to the file that LocalDagRunner makes."""

from __future__ import annotations

import pathlib

from tests.engines.compiled_pipeline import pushed_file
from tests.engines.flink.cluster import FlinkCluster
from tests.engines.flink.volume import left_on


def test_pipeline_on_all_slots_pushes_the_file_of_the_direct_runner(
    flink: FlinkCluster, shared: pathlib.Path, tmp_path: pathlib.Path, local_file: bytes
) -> None:
    assert pushed_file(flink.beam_args(flink.slots), shared, tmp_path) == local_file
    assert left_on(shared) == []
