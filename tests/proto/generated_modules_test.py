"""The generated modules belong to the .proto files beside them."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys

import pytest

PROTO = pathlib.Path(__file__).parents[2] / 'proto' / 'messages'


@pytest.mark.skipif(
    importlib.util.find_spec('grpc_tools') is None,
    reason='the protoc whose output every protobuf line loads is not there for this Python',
)
def test_generated_modules_are_what_protoc_makes_of_the_proto_files(tmp_path: pathlib.Path) -> None:
    names = [f'tfx_edge/proto/{path.name}' for path in sorted(PROTO.glob('*.proto'))]
    command = [sys.executable, '-W', 'ignore', '-m', 'grpc_tools.protoc']
    subprocess.run([*command, f'-Itfx_edge/proto={PROTO}', f'--python_out={tmp_path}', *names], check=True)

    made = {path.name: path.read_text() for path in (tmp_path / 'tfx_edge' / 'proto').iterdir()}
    kept = {path.name: path.read_text() for path in PROTO.glob('*_pb2.py')}
    assert made == kept, 'run `make proto`'
