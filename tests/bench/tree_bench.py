"""What a deployment tree costs beside its routes run alone: `make bench-tree`.

The digits pipeline with the tree of `tfx-edge demo --tree`, then one pipeline for each route, from nothing in a folder
and a process of its own. Of each: seconds, and seconds of processor time with its child processes. Each route alone
has to make the same file and the same figures as in the tree.
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
import time
from collections.abc import Mapping, Sequence
from typing import Any

# Of report.json: what differs between two folders, or between two measurements of time.
_OTHERWISE = ('models', 'latency')


def run_routes(folder: pathlib.Path, only: Sequence[str]) -> None:
    """Runs the pipeline with some of the routes, all if none is named."""
    from tfx_edge import proto
    from tfx_edge.pipelines.console import quiet
    from tfx_edge.pipelines.demo import all_beam_args
    from tfx_edge.pipelines.digits import data, tree_pipeline
    from tfx_edge.pipelines.local import run_locally

    tree = proto.DeploymentTree(only=only)
    tree.MergeFrom(tree_pipeline.TREE)
    with quiet(folder / 'log.txt') as progress:
        data.write_examples(folder / 'data')
        pipeline = tree_pipeline.create_pipeline(
            str(folder / 'root'),
            str(folder / 'data'),
            str(folder / 'serving'),
            str(folder / 'metadata.sqlite'),
            tree=tree,
            beam_pipeline_args=all_beam_args(),
        )
        run_locally(pipeline, progress)


def main() -> None:
    """Runs the tree and each route, and prints a line for each."""
    arguments = _arguments()
    if arguments.folder:
        run_routes(arguments.folder, arguments.routes)
        return
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        print(f'{"pipeline":34}{"seconds":>9}{"processor":>11}  as in the tree', flush=True)
        tree = _timed(folder / 'tree', arguments.routes)
        found = _selection(folder / 'tree')
        routes = [row['route'] for row in found['candidates']]
        print(f'{"the tree, " + str(len(routes)) + " routes":34}{tree[0]:9.0f}{tree[1]:11.0f}', flush=True)
        alone = [0.0, 0.0]
        for route in routes:
            seconds = _timed(folder / route, [route])
            alone = [total + more for total, more in zip(alone, seconds, strict=True)]
            same = _leaf(folder / 'tree', route) == _leaf(folder / route, route)
            print(f'{route:34}{seconds[0]:9.0f}{seconds[1]:11.0f}  {"yes" if same else "NO"}', flush=True)
        print(f'{"all alone":34}{alone[0]:9.0f}{alone[1]:11.0f}')
        print(f'{"the tree to all alone":34}{tree[0] / alone[0]:9.2f}{tree[1] / alone[1]:11.2f}')


def _timed(folder: pathlib.Path, routes: Sequence[str]) -> tuple[float, float]:
    folder.mkdir()
    command = [sys.executable, '-W', 'ignore', __file__, '--folder', str(folder), '--routes', *routes]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'}
    )
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _selection(folder: pathlib.Path) -> Mapping[str, Any]:
    (path,) = folder.glob('root/EdgeSelector/selection/*/selection.json')
    return dict(json.loads(path.read_text()))


def _leaf(folder: pathlib.Path, route: str) -> tuple[bytes, Mapping[str, Any]]:
    """A route's file, and what was measured of it."""
    (file,) = folder.glob(f'root/TFLiteQuantizer-{route}/model/*/Format-Serving/tflite')
    (path,) = folder.glob(f'root/EdgeEvaluator-{route}/edge_evaluation/*/report.json')
    report = json.loads(path.read_text())
    return file.read_bytes(), {key: value for key, value in report.items() if key not in _OTHERWISE}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--routes', nargs='*', default=[], help='of the tree (all)')
    parser.add_argument('--folder', type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == '__main__':
    main()
