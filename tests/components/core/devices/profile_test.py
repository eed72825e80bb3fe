"""A device's name leads to its profile."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import pathlib
import sys
from collections.abc import Mapping

import pytest

from tfx_edge.components.core.devices import chromium
from tfx_edge.components.core.devices.profile import DEVICES, check_device, profile
from tfx_edge.components.core.errors import EdgeError


def test_unknown_device_is_reported_with_those_that_are_known(files: Mapping[str, bytes]) -> None:
    with pytest.raises(
        EdgeError, match=r"^device 'ethos-u56' .*one of: ethos-u55-32, .*tflite-micro, web\.$"
    ):
        profile(files['int8'], 'ethos-u56')
    with pytest.raises(EdgeError, match="device ''"):
        check_device('')


def test_each_device_answers_where_no_tool_is_installed(
    files: Mapping[str, bytes], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_found(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'version', not_found)
    monkeypatch.setitem(sys.modules, 'ethosu', None)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv(chromium.VARIABLE, raising=False)
    for device in DEVICES:
        costs = profile(files['int8'], device)
        assert costs.device == device
        assert costs.absent.startswith(('install tfx-edge[', 'Chromium: it is not installed; run `apt-get '))
        assert '\n' not in costs.absent


@pytest.mark.usefixtures('vela', 'micro')
@pytest.mark.parametrize('device', ['ethos-u85-128', 'tflite-micro'])
def test_answer_can_be_written_to_a_report(files: Mapping[str, bytes], device: str) -> None:
    costs = profile(files['int8'], device)
    assert (costs.device, costs.absent, costs.obstacle) == (device, '', '')
    assert costs.cycles or costs.arena_bytes
    record = dataclasses.asdict(costs)
    assert json.loads(json.dumps(record, allow_nan=False)).keys() == record.keys()
