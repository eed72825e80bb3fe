"""One of Beam's Python workers, as Beam's pool starts it: the only place that knows how.

    python -m tfx_edge.pipelines.kubeflow.beam_worker --id=1-1 --control_endpoint=localhost:41001

is such a worker in an interpreter of its own; `worker_server` runs them in processes that it forks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

# For `worker_server`: with these modules a worker has what Beam, and the steps that run on it, import.
LOADED_BEFORE = (
    'apache_beam.runners.worker.sdk_worker',
    'tensorflow',
    'tensorflow_model_analysis',
    'tfx_edge.components.edge_evaluator.executor',
    'tfx_edge.components.tflite_quantizer.executor',
)


def main(argv: Sequence[str]) -> None:
    """Works for a runner until that has no more to do.

    Args:
      argv: what Beam's pool gives to a worker's program; the other addresses are for containers that fetch files.
    """
    from apache_beam.runners.worker import sdk_worker

    parser = argparse.ArgumentParser()
    parser.add_argument('--id', required=True)
    parser.add_argument('--control_endpoint', required=True)
    arguments, _ = parser.parse_known_args(argv)
    # What the pool gives to a worker that it starts itself.
    sdk_worker.SdkHarness(
        arguments.control_endpoint, worker_id=arguments.id, state_cache_size=0, data_buffer_time_limit_ms=-1
    ).run()


if __name__ == '__main__':
    main(sys.argv[1:])
