"""Computes the fingerprint of an ExampleGen's data for Kubeflow's cache, in a container of a compiled pipeline.

Kubeflow's cache compares a step's parameters and inputs, and an address stays the same when the files at it change.
So this runs before the ExampleGen, in every run, and the fingerprint is one of the ExampleGen's parameters.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow import exit_status
from tfx_edge.pipelines.kubeflow.fingerprint_tasks import OUTPUT
from tfx_edge.pipelines.kubeflow.image_version import VERSION_FLAG, version_line
from tfx_edge.pipelines.kubeflow.log_line import log

if TYPE_CHECKING:
    from google.protobuf import struct_pb2
    from tfx.proto import example_gen_pb2

# In ExampleGen's patterns (TFX's `example_gen.utils`): their values depend on which files exist.
_CHANGING_PATTERN = re.compile(r'\{(SPAN|VERSION|YYYY|MM|DD)\b')


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the fingerprint of the data to the file that Kubeflow's launcher reads.

    Args:
      argv: the arguments; None for those of the process.

    Returns:
      The exit status: 0 only on success. The last line on stderr then reports what failed, after the trace.

    Example:
      >>> main(['--json_serialized_invocation_args', '{"inputs": ...}'])
    """
    arguments = _parser().parse_args(argv)
    return exit_status.exit_status('the look at the data', lambda: _run(arguments))


def data_fingerprint(parameters: Mapping[str, struct_pb2.Value]) -> str:
    """The fingerprint of a file-based ExampleGen's data as they are now.

    Args:
      parameters: the ExampleGen's: 'input_base', 'input_config' and, if it has one, 'range_config'.

    Returns:
      For each split its number of files, their bytes, and a digest of their names, sizes and marks. A file's mark is
      the ETag that an object store gives to its content; elsewhere it is the time at which the file was written. If the
      pattern has a span or a version, the files are those that the ExampleGen would take now.

    Raises:
      EdgeError: no file matches, or the store does not answer.

    Example:
      >>> data_fingerprint(executor_input.inputs.parameter_values)
      'split train: 2 files, 411342 bytes, sha256 1f0c...'
    """
    from tfx.proto import example_gen_pb2

    from tfx_edge.pipelines.kubeflow import launcher_messages, object_store_files

    object_store_files.register()
    base = parameters['input_base'].string_value
    config = example_gen_pb2.Input()
    launcher_messages.parse(parameters['input_config'].string_value, config, 'input_config')
    patterns = {split.name: split.pattern for split in config.splits}
    lines = []
    if any(_CHANGING_PATTERN.search(pattern) for pattern in patterns.values()):
        range_config = parameters['range_config'].string_value if 'range_config' in parameters else ''
        line, patterns = _newest(base, config, range_config)
        lines.append(line)
    lines += [f'split {name}: {_files_line(base, pattern)}' for name, pattern in patterns.items()]
    return '\n'.join(lines)


def _newest(base: str, config: example_gen_pb2.Input, range_text: str) -> tuple[str, dict[str, str]]:
    """The span and version that the ExampleGen would take, and the patterns of their files."""
    # They take seconds to import, and most data have no spans.
    from tfx.components.example_gen import input_processor
    from tfx.proto import range_config_pb2

    from tfx_edge.pipelines.kubeflow import launcher_messages

    range_config = None
    if range_text:
        range_config = range_config_pb2.RangeConfig()
        launcher_messages.parse(range_text, range_config, 'range_config')
    processor = input_processor.FileBasedInputProcessor(base, config.splits, range_config)
    span, version = processor.resolve_span_and_version()
    patterns = {
        split.name: processor.get_pattern_for_span_version(split.pattern, span, version)
        for split in config.splits
    }
    return f'span {span}, version {version}', patterns


def _files_line(base: str, pattern: str) -> str:
    from tfx.dsl.io import fileio

    files = sorted(fileio.glob(os.path.join(base, pattern)))
    if not files:
        raise EdgeError(
            f"no file matches {pattern!r} in {base}; correct the ExampleGen's input_base or the pattern of its split."
        )
    digest = hashlib.sha256()
    total = 0
    for file in files:
        found = fileio.stat(file)
        total += found.length
        name = file.removeprefix(base).lstrip('/')
        digest.update(repr((name, found.length, _mark(file, found))).encode())
    return f'{len(files)} files, {total} bytes, sha256 {digest.hexdigest()}'


def _mark(file: str, found: Any) -> str:
    if etag := getattr(found, 'etag', ''):
        return etag
    # TensorFlow's file system knows a file's time in seconds only.
    return str(found.mtime_nsec if '://' in file else os.stat(file).st_mtime_ns)


def _run(arguments: argparse.Namespace) -> None:
    from kfp.pipeline_spec import pipeline_spec_pb2

    from tfx_edge.pipelines.kubeflow import launcher_messages

    log(version_line(arguments.image_version))
    executor_input = pipeline_spec_pb2.ExecutorInput()
    launcher_messages.parse(
        arguments.json_serialized_invocation_args, executor_input, '--json_serialized_invocation_args'
    )
    fingerprint = data_fingerprint(executor_input.inputs.parameter_values)
    log(fingerprint)
    log(
        'the ExampleGen and the steps after it are taken from the cache where this, their parameters and the name of '
        'the image are those of an earlier run'
    )
    path = executor_input.outputs.parameters[OUTPUT].output_file
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(fingerprint)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tfx_edge.pipelines.kubeflow.data_fingerprint', allow_abbrev=False)
    parser.add_argument(
        '--json_serialized_invocation_args', required=True, help="the launcher's ExecutorInput"
    )
    parser.add_argument(VERSION_FLAG, default='', help='tag or digest of the image')
    return parser


if __name__ == '__main__':
    exit_status.end_process(main())
