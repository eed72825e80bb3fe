"""What the demo gives Beam."""

from __future__ import annotations

import pytest

from tfx_edge.pipelines.demo import all_beam_args

IMAGE = '--sdk_container_image=none'


@pytest.mark.parametrize('given', [[], ['--direct_running_mode=multi_processing', '--direct_num_workers=2']])
def test_nothing_is_packed_for_workers_of_this_machine(given: list[str]) -> None:
    assert all_beam_args(given) == ['--runner=FnApiRunner', '--direct_running_mode=in_memory', IMAGE, *given]


def test_workers_elsewhere_get_what_tfx_packs() -> None:
    assert IMAGE not in all_beam_args(['--runner=PortableRunner', '--job_endpoint=localhost:8099'])
