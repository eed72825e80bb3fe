"""Names and values that TFX's components write into artifacts and read from them, under TFX's names for them.

They are not imported from where TFX has them: any module below `tfx.components` imports all of them, for seconds.
"""

from __future__ import annotations

# Custom properties of Examples (`tfx.components.example_gen.utils`, `tfx.components.util.examples_utils`).
PAYLOAD_FORMAT_PROPERTY_NAME = 'payload_format'
FILE_FORMAT_PROPERTY_NAME = 'file_format'
CUSTOM_SPLIT_PATTERN_PROPERTY_NAME = 'custom_split_pattern'

# Of a ModelBlessing (`tfx.components.evaluator.constants`).
ARTIFACT_PROPERTY_BLESSED_KEY = 'blessed'
ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY = 'current_model'
ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY = 'current_model_id'
ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY = 'baseline_model'
ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY = 'baseline_model_id'
ARTIFACT_PROPERTY_BLESSING_MESSAGE_KEY = 'blessing_message'
BLESSED_VALUE = 1
NOT_BLESSED_VALUE = 0
BLESSED_FILE_NAME = 'BLESSED'
NOT_BLESSED_FILE_NAME = 'NOT_BLESSED'
