"""Keys of what the components have in common; `artifacts` and `user_module` have what is done with them, on TFX."""

from __future__ import annotations

# Of inputs and outputs, the same in every component. A spec's inputs and outputs share one name space, so an input
# whose output has the same name gets another key.
MODEL = 'model'
INPUT_MODEL = 'input_model'
INPUT_CALIBRATION = 'input_calibration'
EXAMPLES = 'examples'
SCHEMA = 'schema'
TRANSFORM_GRAPH = 'transform_graph'
CALIBRATION = 'calibration'

# Of parameters.
MODULE_FILE = 'module_file'
MODULE_PATH = 'module_path'
FINE_TUNING = 'fine_tuning'
SIGNATURE_NAME = 'signature_name'
