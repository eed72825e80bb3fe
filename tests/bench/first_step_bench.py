"""What a training component needs before its first step: `make bench-first-step`.

Dense nets of 5 and 25 million weights, and MobileNetV2 at 224x224, pruned, clustered and trained for int8 by their
components with 20 steps, each in a process of its own. Seconds are those from the executor's start to the end of the
first step; memory is the most that the process, and the largest of those that it started, took.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

_STEPS, _BATCH, _EXAMPLES = 20, 32, 256
_COMPONENTS = ('Pruner', 'Clusterer', 'QATTrainer')
_SHAPES = {'dense 5 M': (512,), 'dense 25 M': (1024,), 'MobileNetV2': (224, 224, 3)}
_WIDTHS = {'dense 5 M': (1536, 1536, 1024), 'dense 25 M': (3584, 3584, 2304)}
_FIRST_STEP = re.compile(r'step 1 after ([\d.]+) s')


def make_net(net: str) -> Any:
    """The net, in Keras 3, with weights as they are drawn."""
    import keras

    keras.utils.set_random_seed(0)
    if net == 'MobileNetV2':
        return keras.applications.MobileNetV2(weights=None, classes=10)
    hidden = [keras.layers.Dense(width, activation='relu') for width in _WIDTHS[net]]
    inputs = keras.Input(_SHAPES[net], name='x')
    return keras.Sequential([inputs, *hidden, keras.layers.Dense(10, activation='softmax')])


def export(net: str, folder: pathlib.Path) -> int:
    """Writes the net's SavedModel and examples; returns the number of its weights."""
    import tensorflow as tf

    model = make_net(net)
    (name,) = (tensor.name for tensor in model.inputs)
    model.export(str(folder / 'trained' / 'Format-Serving'), verbose=False)
    split = folder / 'examples' / 'Split-train'
    split.mkdir(parents=True)
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(split / 'data.gz'), options='GZIP') as writer:
        for _ in range(_EXAMPLES):
            row = random.random(int(np.prod(_SHAPES[net])), np.float32)
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=row))
            example = tf.train.Example(features=tf.train.Features(feature={name: feature}))
            writer.write(example.SerializeToString())
    return model.count_params()


def _peak() -> float:
    """The most memory that this process took so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _FirstStep(logging.Handler):
    """Notes when the training loop logs its first step, and how long that took."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.began = time.monotonic()
        self.seconds = 0.0
        self.of_step = 0.0
        self.lines: list[tuple[float, float, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Called for each line of tfx-edge's log."""
        passed, line = time.monotonic() - self.began, record.getMessage()
        self.lines.append((passed, _peak(), line))
        if (found := _FIRST_STEP.match(line)) and not self.seconds:
            self.seconds, self.of_step = passed, float(found[1])


def run_component(component: str, folder: pathlib.Path, verbose: bool) -> dict[str, float]:
    """Runs a component's executor, and measures it."""
    from tfx.dsl.components.base import base_executor
    from tfx.types import artifact_utils, channel_utils, standard_artifacts

    from tfx_edge import components, proto

    def artifact(type_: Any, path: pathlib.Path) -> Any:
        made = type_()
        made.uri = str(path)
        made.set_string_custom_property('tfx_version', '1.16.0')
        return made

    model = artifact(standard_artifacts.Model, folder / 'trained')
    examples = artifact(standard_artifacts.Examples, folder / 'examples')
    examples.split_names = artifact_utils.encode_split_names(['train'])
    made = getattr(components, component)(
        model=channel_utils.as_channel([model]),
        examples=channel_utils.as_channel([examples]),
        fine_tuning=proto.FineTuning(num_steps=_STEPS, batch_size=_BATCH),
    )
    outputs = {
        key: [artifact(channel.type, folder / component / key)] for key, channel in made.outputs.items()
    }
    for (output,) in outputs.values():
        pathlib.Path(output.uri).mkdir(parents=True)
    context = base_executor.BaseExecutor.Context(tmp_dir=str(folder), unique_id='1')
    executor = made.executor_spec.executor_class(context)
    before = _peak()
    handler = _FirstStep()
    logger = logging.getLogger('tfx_edge')
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    inputs = {'input_model': [model], 'examples': [examples]}
    executor.Do(inputs, outputs, dict(made.exec_properties))
    if verbose:
        for passed, peak, line in handler.lines:
            print(f'{passed:7.1f} s {peak:6.0f} MB  {line[:150]}', file=sys.stderr)
    return {
        'seconds': handler.seconds,
        'of_step': handler.of_step,
        'all': time.monotonic() - handler.began,
        'before': before,
        'peak': _peak(),
        'child': resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def main() -> None:
    """Runs each component on each net, and prints a line for it."""
    arguments = _arguments()
    if arguments.component:
        print(json.dumps(run_component(arguments.component, arguments.folder, arguments.verbose)))
        return
    print(
        f'{"net":14}{"weights":>12}{"component":>13}{"first step after s":>20}{"of it, that step":>18}{"all s":>8}'
        f'{"MB before":>11}{"peak MB":>9}{"of a child":>12}'
    )
    for net in arguments.nets:
        with tempfile.TemporaryDirectory() as folder:
            weights = export(net, pathlib.Path(folder))
            for component in arguments.components:
                command = [sys.executable, '-W', 'ignore', __file__, '--component', component]
                command += ['--folder', folder, *(['--verbose'] if arguments.verbose else [])]
                environment = {**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'}
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
                found = json.loads(done.stdout.splitlines()[-1])
                print(
                    f'{net:14}{weights:12,}{component:>13}{found["seconds"]:20.1f}{found["of_step"]:18.1f}'
                    f'{found["all"]:8.1f}{found["before"]:11.0f}{found["peak"]:9.0f}{found["child"]:12.0f}',
                    flush=True,
                )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--nets', nargs='+', choices=list(_SHAPES), default=list(_SHAPES))
    parser.add_argument('--components', nargs='+', choices=_COMPONENTS, default=list(_COMPONENTS))
    parser.add_argument(
        '--verbose', action='store_true', help='print what the step logs, with its time and peak memory'
    )
    parser.add_argument('--component', help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == '__main__':
    main()
