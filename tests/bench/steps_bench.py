"""What a point of accuracy costs in steps of training: `make bench-steps`.

The data, nets and measurements of `compression_bench.py` and `qat_bench.py`: the same net pruned, clustered and trained
for int8 with 200, 600 and 2000 steps, by tfx-edge and by TensorFlow Model Optimization, measured as int8 files on
examples that nothing was trained or calibrated on. The toolkit prunes 90 % of each layer, where tfx-edge takes 90 % of
all weights together (scope GLOBAL): it has no other scope. Writes `steps.json` and `steps.svg`; what an earlier
`steps.json` has of other data sets, with the same seeds, stays in both.

Each finished run is kept in the folder `--cache`, from which an interrupted bench goes on; give another folder, or
empty it, after a change of the code.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from compression_bench import (
    Data,
    by_tfx_edge,
    by_toolkit,
    common_arguments,
    export,
    load_data,
    stage_results,
    train_base,
)
from compression_bench import measure as measure_folder
from qat_bench import TOOLKIT, float_file, quantization_aware
from qat_bench import by_toolkit as quantization_aware_by_toolkit
from qat_bench import measure as measure_file
from run_cache import Cache, add_cache_argument
from steps_plot import steps_svg

_QAT = 'qat'
# By name in the plot, the point of `compression_bench.py`.
TECHNIQUES = {
    '75 % zeros': 'sparse 75',
    '90 % zeros, GLOBAL': 'global 90',
    '8 clusters': 'clusters 8',
    'QAT': _QAT,
}
SIDES = ('toolkit', 'tfx-edge')


def run_name(side: str, point: str, steps: int) -> str:
    """The name of a run in the cache."""
    return f'{side} {point} {steps}'


def toolkit_stage(arguments: argparse.Namespace) -> None:
    """Trains the base and runs the toolkit from it, in a process of Keras 2."""
    import tf_keras

    data, cache = _data(arguments), Cache(arguments.work)

    def train(folder: pathlib.Path) -> None:
        base = train_base(data, arguments.seed)
        export(base, folder / 'base')
        base.save(folder / 'base.h5')

    start = cache.made('start', train)
    for point, steps in _runs(arguments):
        name = run_name('toolkit', point, steps)
        if cache.found(name) is not None:
            continue
        tf_keras.backend.clear_session()
        tf_keras.utils.set_random_seed(arguments.seed)
        base = tf_keras.models.load_model(start / 'base.h5')

        def compress(folder: pathlib.Path, base: Any = base, point: str = point, steps: int = steps) -> None:
            settings = argparse.Namespace(**{**vars(arguments), 'steps': steps, 'work': folder})
            if point == _QAT:
                quantization_aware_by_toolkit(settings, data, base)
            else:
                net, _ = by_toolkit(settings, data, base, point, frequency=_frequency(steps))
                export(net, folder / 'saved_model')

        cache.made(name, compress)


def _frequency(steps: int) -> int:
    """The steps between two masks of the toolkit: its 100, or the next fewer with which the last falls on its end.

    With any other number the toolkit ends below the share of zeros that was asked for.
    """
    end = max(1, steps * 3 // 4)
    return max(number for number in range(1, 101) if end % number == 0)


def tfx_edge_stage(arguments: argparse.Namespace) -> None:
    """Runs tfx-edge from the same base, and measures all results."""
    data, cache = _data(arguments), Cache(arguments.work)
    base = arguments.work / 'start' / 'base'
    if cache.found('float') is None:
        cache.keep('float', measure_file(float_file(base), data))
    for point, steps in _runs(arguments):
        name = run_name('toolkit', point, steps)
        if cache.found(name) is None:
            cache.keep(name, _measured_of_toolkit(arguments.work / name, data))
            shutil.rmtree(arguments.work / name)
        name = run_name('tfx-edge', point, steps)
        if cache.found(name) is None:
            with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
                shutil.copytree(base, pathlib.Path(folder) / 'base')
                settings = {**vars(arguments), 'steps': steps, 'work': pathlib.Path(folder)}
                cache.keep(name, _measured_of_tfx_edge(argparse.Namespace(**settings), data, point))


def _measured_of_toolkit(folder: pathlib.Path, data: Data) -> dict[str, float]:
    if (folder / TOOLKIT).exists():
        return measure_file((folder / TOOLKIT).read_bytes(), data)
    return measure_folder(folder / 'saved_model', data)


def _measured_of_tfx_edge(arguments: argparse.Namespace, data: Data, point: str) -> dict[str, float]:
    if point == _QAT:
        return quantization_aware(arguments, arguments.work / 'base', data)
    target = arguments.work / 'compressed'
    by_tfx_edge(arguments, data, point, target)
    return measure_folder(target, data)


def _data(arguments: argparse.Namespace) -> Data:
    return load_data(arguments.data, arguments.dataset, validation=arguments.validation)


def _runs(arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Point and steps of each run."""
    for technique in arguments.techniques:
        for steps in arguments.steps:
            yield TECHNIQUES[technique], steps


def main() -> None:
    """Makes the runs that the cache lacks, and writes the figures and the plot."""
    arguments = _arguments()
    if arguments.stage:
        {'toolkit': toolkit_stage, 'tfx-edge': tfx_edge_stage}[arguments.stage](arguments)
        return
    with tempfile.TemporaryDirectory() as temporary:
        cache = arguments.cache or pathlib.Path(temporary)
        jobs = [(dataset, seed) for dataset in arguments.datasets for seed in arguments.seeds]
        with concurrent.futures.ThreadPoolExecutor(arguments.processes) as pool:
            list(pool.map(lambda job: _run(arguments, cache, *job), jobs))
        figures = _figures(arguments, cache)
    arguments.output.mkdir(parents=True, exist_ok=True)
    figures = _with_other_datasets(figures, arguments.output / 'steps.json')
    (arguments.output / 'steps.json').write_text(json.dumps(figures, indent=1) + '\n')
    (arguments.output / 'steps.svg').write_text(steps_svg(figures))
    _print(figures)


def _folder(arguments: argparse.Namespace, cache: pathlib.Path, dataset: str, seed: int) -> pathlib.Path:
    return cache / f'{dataset} {seed}{" validation" if arguments.validation else ""}'


def _run(arguments: argparse.Namespace, cache: pathlib.Path, dataset: str, seed: int) -> None:
    for stage in SIDES:
        command = [sys.executable, '-W', 'ignore', __file__, '--stage', stage, '--dataset', dataset]
        command += ['--seed', str(seed), '--work', str(_folder(arguments, cache, dataset, seed))]
        command += ['--data', str(arguments.data), '--steps', *map(str, arguments.steps)]
        command += ['--techniques', *arguments.techniques]
        command += ['--validation'] if arguments.validation else []
        for _ in stage_results(command, keras_2=stage == 'toolkit'):
            pass  # a stage leaves its results in the cache
        print(f'{dataset}, seed {seed}: {stage} is done', file=sys.stderr, flush=True)


def _figures(arguments: argparse.Namespace, cache: pathlib.Path) -> dict[str, Any]:
    def of_seeds(dataset: str, name: str) -> dict[str, list[float]]:
        found = [
            Cache(_folder(arguments, cache, dataset, seed)).found(name) or {} for seed in arguments.seeds
        ]
        return {key: [figures[key] for figures in found] for key in ('accuracy', 'zip', 'zeros')}

    def mean(values: list[float]) -> float:
        return round(float(np.mean(values)), 6)

    runs = []
    for dataset in arguments.datasets:
        for technique in arguments.techniques:
            for side in SIDES:
                for steps in sorted(arguments.steps):
                    run = {'dataset': dataset, 'technique': technique, 'side': side, 'steps': steps}
                    found = of_seeds(dataset, run_name(side, TECHNIQUES[technique], steps))
                    accuracies = [round(accuracy, 6) for accuracy in found['accuracy']]
                    means = {
                        'mean': mean(accuracies),
                        'zip': mean(found['zip']),
                        'zeros': mean(found['zeros']),
                    }
                    runs.append({**run, **means, 'accuracies': accuracies})
    floats = {dataset: mean(of_seeds(dataset, 'float')['accuracy']) for dataset in arguments.datasets}
    return {'seeds': arguments.seeds, 'float': floats, 'runs': runs}


def _with_other_datasets(figures: dict[str, Any], earlier: pathlib.Path) -> dict[str, Any]:
    """The figures, and those of an earlier file for data sets that were not run now."""
    before = json.loads(earlier.read_text()) if earlier.exists() else {'seeds': figures['seeds'], 'float': {}}
    others = set(before['float']) - set(figures['float'])
    if not others or before['seeds'] != figures['seeds']:
        return figures
    floats = {
        name: (before['float'] | figures['float'])[name] for name in sorted(others | set(figures['float']))
    }
    kept = [run for run in before['runs'] if run['dataset'] in others]
    runs = sorted([*kept, *figures['runs']], key=lambda run: run['dataset'])  # stable within a data set
    return {'seeds': figures['seeds'], 'float': floats, 'runs': runs}


def _print(figures: dict[str, Any]) -> None:
    print('int8 file: mean accuracy (each seed), zip bytes, zeros')
    for run in figures['runs']:
        each = ' '.join(f'{100 * accuracy:.2f}' for accuracy in run['accuracies'])
        print(
            f'{run["dataset"]:8} {run["technique"]:20} {run["side"]:9} {run["steps"]:6}'
            f' {100 * run["mean"]:7.2f} ({each}) {run["zip"]:8,.0f} {run["zeros"]:6.1%}'
        )


def _arguments() -> argparse.Namespace:
    parser = common_arguments(__doc__)
    parser.add_argument('--techniques', nargs='+', choices=list(TECHNIQUES), default=list(TECHNIQUES))
    parser.add_argument('--steps', nargs='+', type=int, default=[200, 600, 2000], help='of each training')
    add_cache_argument(parser)
    parser.add_argument(
        '--output',
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent,
        help='folder of the JSON and the SVG',
    )
    return parser.parse_args()


if __name__ == '__main__':
    main()
