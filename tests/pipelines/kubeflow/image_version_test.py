"""What an image's name shows of the code in it."""

from __future__ import annotations

import pytest

from tfx_edge.pipelines.kubeflow.image_version import cache_line, image_version

DIGEST = 'sha256:' + 'a' * 64


@pytest.mark.parametrize(
    ('image', 'version'),
    [
        ('tfx-edge', 'latest'),
        ('tfx-edge:0.1.0', '0.1.0'),
        ('registry.example:5000/tfx-edge', 'latest'),
        ('registry.example:5000/team/tfx-edge:0.1.0', '0.1.0'),
        (f'registry.example/tfx-edge@{DIGEST}', DIGEST),
        (f'registry.example:5000/tfx-edge:0.1.0@{DIGEST}', DIGEST),
    ],
)
def test_version_is_the_digest_or_the_tag(image: str, version: str) -> None:
    assert image_version(image) == version


def test_image_that_may_change_under_its_name_is_reported() -> None:
    assert 'give every build a tag of its own' in cache_line('registry.example/tfx-edge')
    assert 'give every build a tag of its own' in cache_line('registry.example/tfx-edge:latest')
    assert cache_line('tfx-edge:7').startswith('image version 7;')
