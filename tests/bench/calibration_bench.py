"""What calibration costs beside the stock converter's: `make bench-calibration`.

MobileNet v2 0.35 at 96x96 with random weights, on random images. Three tables:

- one worker: processor time to calibrate on the same images. Stock is the `Calibrator` that `TFLiteConverter` runs
  with a representative dataset, alone: no conversion, no quantization. Ours is what one worker does for each record
  after parsing it, with minimum and maximum only, and with histograms. Both run the same float file on one thread.
- workers: the whole Beam pipeline, files read twice and parsed, with one and two worker processes, from the
  difference between few and many examples, so that starting up does not count. Beside the wall clock, which other
  programs on the machine disturb, stands the processor time of the busiest worker, which they hardly do.
- memory: the peak of one process that calibrates on few and on many examples. The same files are listed again and
  again, which only the reading of them could distinguish from more files.

Each measurement is a process of its own; of the rounds the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np

_SIZE = 96
_RECORDS_IN_A_FILE = 125
_FILES = 4


def export(folder: pathlib.Path) -> None:
    """Writes the float file, and files of records that hold an image each."""
    import keras
    import tensorflow as tf

    from tfx_edge.components.core.litert.conversion.convert import convert_saved_model

    keras.utils.set_random_seed(0)
    net = keras.applications.MobileNetV2((_SIZE, _SIZE, 3), alpha=0.35, weights=None)
    net.export(folder / 'net', verbose=False)
    (folder / 'float.tflite').write_bytes(convert_saved_model(str(folder / 'net'), 'serving_default'))
    random = np.random.default_rng(0)
    for number in range(_FILES):
        with tf.io.TFRecordWriter(str(folder / f'records-{number}')) as writer:
            for _ in range(_RECORDS_IN_A_FILE):
                values = random.normal(size=_SIZE * _SIZE * 3).astype(np.float32)
                feature = {_input_name(folder): tf.train.Feature(float_list=tf.train.FloatList(value=values))}
                writer.write(
                    tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
                )


def _input_name(folder: pathlib.Path) -> str:
    from tfx_edge.components.core.dense_function.choice import choose_signature

    (name,) = choose_signature(str(folder / 'net'), '').inputs
    return name


def one_worker(side: str, examples: int, folder: pathlib.Path) -> dict[str, float]:
    """Calibrates on images in memory; milliseconds of processor time for each."""
    model = (folder / 'float.tflite').read_bytes()
    images = np.random.default_rng(0).normal(size=(examples, 1, _SIZE, _SIZE, 3)).astype(np.float32)
    if side == 'stock':
        from tensorflow.lite.python.optimize.calibrator import Calibrator

        stock = Calibrator(model)

        def calibrate() -> None:
            stock.calibrate(lambda: ([image] for image in images))
    else:
        from tfx_edge.components.core.calibration.measurements import Tally
        from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
        from tfx_edge.components.core.litert.file.moved_values import moved_values

        read, tally, name = (
            ActivationReader(model),
            Tally(histograms=side == 'histograms', moved=moved_values(model)),
            _input_name(folder),
        )

        def calibrate() -> None:
            for image in images:
                tally.add(read.views({name: image}))
            tally.measurements()

    start = time.process_time()
    calibrate()
    return {'milliseconds': 1000 * (time.process_time() - start) / examples}


def pipeline(arguments: list[str], histograms: bool, examples: int, folder: pathlib.Path) -> dict[str, float]:
    """Calibrates by the whole pipeline; seconds and the peak of memory."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from tfx_edge.components.core.calibration.pipeline import calibrate
    from tfx_edge.components.core.dense_function.choice import choose_signature
    from tfx_edge.components.core.examples.example_parser import ExampleParser

    files = sorted(map(str, folder.glob('records-*')))
    files = (files * -(-examples // (_FILES * _RECORDS_IN_A_FILE)))[: -(-examples // _RECORDS_IN_A_FILE)]
    with tempfile.TemporaryDirectory() as work, _Busiest() as busiest:
        start = time.monotonic()
        found = calibrate(
            lambda: beam.Pipeline(options=PipelineOptions(arguments)),
            files=files,
            parser=ExampleParser(choose_signature(str(folder / 'net'), '').inputs),
            float_model_path=str(folder / 'float.tflite'),
            result_path=os.path.join(work, 'result'),
            max_examples=examples,
            histograms=histograms,
        )
        seconds = time.monotonic() - start
    assert found.examples == examples
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {'seconds': seconds, 'busiest': busiest.seconds, 'peak': peak}


class _Busiest:
    """Watches the processor time of the processes below this one; afterwards `seconds` is that of the busiest."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Busiest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        return max(self._seen.values(), default=0.0)

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            below = {os.getpid()}
            # Parents have smaller numbers than their children, unless numbers ran over.
            for process in sorted(int(name) for name in os.listdir('/proc') if name.isdigit()):
                try:
                    fields = pathlib.Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()
                except OSError:
                    continue  # it has ended
                if int(fields[1]) in below:
                    below.add(process)
                    ticks = int(fields[11]) + int(fields[12])
                    self._seen[process] = ticks / os.sysconf('SC_CLK_TCK')


def main() -> None:
    """Runs all measurements, and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--examples', type=int, default=500, help='of one worker in memory')
    parser.add_argument('--pipeline-examples', type=int, nargs=2, default=[500, 8000], help='few and many')
    parser.add_argument('--memory-examples', type=int, nargs=2, default=[500, 20_000], help='few and many')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--tables', nargs='+', choices=_TABLES, default=list(_TABLES))
    parser.add_argument('--child', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        task = json.loads(arguments.child)
        print(json.dumps(globals()[task.pop('what')](folder=pathlib.Path(task.pop('folder')), **task)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _run('export', folder)
        for table in arguments.tables:
            _TABLES[table](arguments, folder)


def _one_worker_table(arguments: argparse.Namespace, folder: str) -> None:
    sides = ('stock', 'minimum and maximum', 'histograms')
    times = [
        [_run('one_worker', folder, side=side, examples=arguments.examples)['milliseconds'] for side in sides]
        for _ in range(arguments.rounds)
    ]
    print(f'one worker, {arguments.examples} examples   CPU ms/example  times stock')
    for side, found in zip(sides, zip(*times, strict=True), strict=True):
        ratio = np.median([one[0] / this for one, this in zip(times, found, strict=True)])
        print(f'{side:27} {np.median(found):14.2f} {ratio:12.2f}', flush=True)


def _workers_table(arguments: argparse.Namespace, folder: str) -> None:
    few, many = arguments.pipeline_examples
    print(
        f'whole pipeline, {few} and {many} examples  examples/s  times one  busiest CPU ms/example  times one'
    )
    for histograms in (False, True):
        rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for _ in range(arguments.rounds):
            for processes, found in rates.items():
                options = ['--direct_running_mode=multi_processing', f'--direct_num_workers={processes}']
                runs = [
                    _run('pipeline', folder, arguments=options, histograms=histograms, examples=examples)
                    for examples in (few, many)
                ]
                found.append(
                    tuple((runs[1][key] - runs[0][key]) / (many - few) for key in ('seconds', 'busiest'))
                )
        for processes, found in rates.items():
            wall, busiest = np.median(found, axis=0)
            gains = np.median(np.array(rates[1]) / np.array(found), axis=0)
            what = f'{"histograms" if histograms else "minimum and maximum"}, processes: {processes}'
            print(
                f'{what:38} {1 / wall:11.0f} {gains[0]:10.2f} {1000 * busiest:23.2f} {gains[1]:10.2f}',
                flush=True,
            )


def _memory_table(arguments: argparse.Namespace, folder: str) -> None:
    print('memory, one process          examples  peak MB')
    for histograms in (False, True):
        for examples in arguments.memory_examples:
            options = ['--runner=FnApiRunner']
            found = _run('pipeline', folder, arguments=options, histograms=histograms, examples=examples)
            what = 'histograms' if histograms else 'minimum and maximum'
            print(f'{what:27} {examples:9} {found["peak"]:8.0f}', flush=True)


_TABLES = {'one-worker': _one_worker_table, 'workers': _workers_table, 'memory': _memory_table}


def _run(what: str, folder: str, **task: Any) -> dict[str, Any]:
    """Runs a function of this file in a process of its own."""
    command = [
        sys.executable,
        '-W',
        'ignore',
        __file__,
        '--child',
        json.dumps({'what': what, 'folder': folder, **task}),
    ]
    environment = {
        **os.environ,
        'TF_CPP_MIN_LOG_LEVEL': '3',
        'TF_NUM_INTRAOP_THREADS': '1',
        'TF_NUM_INTEROP_THREADS': '1',
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == '__main__':
    main()
