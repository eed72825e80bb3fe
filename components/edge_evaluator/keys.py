"""Names of EdgeEvaluator's own inputs, outputs and parameters; those of TFX's Evaluator where it has them."""

from __future__ import annotations

BASELINE_MODEL = 'baseline_model'
EVAL_CONFIG = 'eval_config'
EXAMPLE_SPLITS = 'example_splits'
EDGE = 'edge'

EVALUATION = 'evaluation'
BLESSING = 'blessing'
EDGE_EVALUATION = 'edge_evaluation'

REPORT_FILE = 'report.json'
PAGE_FILE = 'report.html'
