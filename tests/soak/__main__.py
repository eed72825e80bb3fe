"""Kills steps, fills their disks, runs them twice at a time: `make soak` (root, for full disks).

Prints a table: how many steps ended how, and how often something came of it that may not: an output that is half
written, a step that hangs, a process that outlives its step by ten seconds, other bytes than those of an undisturbed
step, a failure without a line. Its status is 0 where that never happened.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable

from tests.digits import load, write_examples
from tests.golden import files
from tests.soak.campaign import Campaign, Row
from tests.soak.runs import Task, running_server
from tfx_edge.components.core.isolation.server_handle import THREADLESS

_TRAINED = ('Pruner', 'Clusterer', 'QATTrainer')
_ON_BEAM = ('TFLiteQuantizer', 'EdgeEvaluator')
_COLUMNS = ('half_written', 'hung', 'orphans', 'differing', 'without_line')


def main() -> int:
    """Runs the campaigns."""
    arguments = _arguments()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    folder = pathlib.Path(tempfile.mkdtemp(prefix='tfx-edge-soak-', dir=arguments.folder))
    print(f'seed {seed}; logs and outputs in {folder}', flush=True)
    began = time.monotonic()
    # With one thread the server forks safely.
    environment = {**os.environ, **THREADLESS, 'CUDA_VISIBLE_DEVICES': '-1'}
    with running_server(folder, environment) as server:
        campaign = Campaign(server, _tasks(folder / 'inputs'), folder, seed)
        campaign.kills(arguments.kills)
        if arguments.disks:
            campaign.full_disks(('Pruner', 'QATTrainer'), temporary=True)
            campaign.full_disks(('Clusterer', *_ON_BEAM), temporary=False)
        campaign.pairs(_TRAINED, arguments.pairs)
        campaign.lost_workers(_ON_BEAM, arguments.workers)
    _print_table(campaign.rows.values())
    print('\nwhat was printed, and how often:')
    for line, count in sorted(campaign.lines.items(), key=lambda item: -item[1]):
        print(f'{count:4}  {line}')
    bad = sum(row.bad for row in campaign.rows.values())
    print(f'\nseed {seed}, {(time.monotonic() - began) / 60:.0f} min: {bad or "nothing"} not right')
    if not bad and not arguments.keep:
        shutil.rmtree(folder)
    return 1 if bad else 0


def _tasks(inputs: pathlib.Path) -> list[Task]:
    """Each component with the digits net and examples."""
    trained, shipped, examples = inputs / 'trained', inputs / 'shipped', inputs / 'examples'
    shutil.copytree(files.saved_model('digits'), trained / 'Format-Serving')
    (shipped / 'Format-Serving').mkdir(parents=True)
    (shipped / 'Format-Serving' / 'tflite').write_bytes(files.digits_int8())
    write_examples(load(), examples)
    model = {'model': str(trained)}
    both = {'model': str(shipped), 'baseline_model': str(trained)}
    return [
        *(Task(component, model, str(examples)) for component in (*_TRAINED, 'TFLiteQuantizer')),
        Task('EdgeEvaluator', both, str(examples)),
    ]


def _print_table(rows: Iterable[Row]) -> None:
    names = ['half written', 'hung', 'orphans', 'bytes differ', 'no line']
    print(
        f'\n{"fault":28}{"component":18}{"steps":>6}{"ended well":>12}{"failed":>8}'
        + ''.join(f'{n:>14}' for n in names)
    )
    for row in rows:
        counts = ''.join(f'{getattr(row, column):14}' for column in _COLUMNS)
        print(f'{row.fault:28}{row.component:18}{row.runs:6}{row.went_on:12}{row.failed:8}{counts}')


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='make soak', description=__doc__)
    parser.add_argument(
        '--seed', type=int, help='of the moments and of what is killed; default: another each time'
    )
    parser.add_argument('--kills', type=int, default=50, help='of steps, and of what they start')
    parser.add_argument('--pairs', type=int, default=10, help='of the same step twice at a time')
    parser.add_argument('--workers', type=int, default=10, help='of Beam that are killed')
    parser.add_argument(
        '--disks', type=int, choices=(0, 1), default=1, help='0: without full disks, which need root'
    )
    parser.add_argument('--folder', help='for logs and outputs; default: the one for temporary files')
    parser.add_argument(
        '--keep', action='store_true', help='keep that folder; it is kept where something is not right'
    )
    return parser.parse_args()


if __name__ == '__main__':
    sys.exit(main())
