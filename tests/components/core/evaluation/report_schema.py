"""Makes `report.schema.json` of the classes that the report is built of: `make report-schema`."""

from __future__ import annotations

import importlib.resources
import inspect
import json
import pathlib
from typing import Any

import pydantic
import pydantic.json_schema

from tfx_edge.components.core.evaluation.report import evaluation_report

PATH = pathlib.Path(str(importlib.resources.files(evaluation_report.__package__) / 'report.schema.json'))


class _Schema(pydantic.json_schema.GenerateJsonSchema):
    """Draft 7, which every validator knows; what stands in a report is counted, so whole numbers are not negative."""

    schema_dialect = 'http://json-schema.org/draft-07/schema#'

    def int_schema(self, schema: Any) -> dict[str, Any]:
        return {'type': 'integer', 'minimum': 0}

    def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().typed_dict_schema(schema), 'additionalProperties': False}

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        # A dataclass is written with all its fields, those that have defaults too.
        made = super().dataclass_schema(schema)
        return {**made, 'required': sorted(made['properties']), 'additionalProperties': False}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def report_schema() -> str:
    """The text of the file: objects have the fields of their classes and no others."""
    adapter = pydantic.TypeAdapter(evaluation_report.Report)
    schema = adapter.json_schema(schema_generator=_Schema, mode='serialization')
    return json.dumps({'$schema': _Schema.schema_dialect, **_tidy(schema)}, indent=1, sort_keys=True) + '\n'


def _tidy(value: Any) -> Any:
    """Of docstrings the first paragraph; no defaults, as nothing is left out; draft 7's word for tuples."""
    if isinstance(value, list):
        return [_tidy(part) for part in value]
    if not isinstance(value, dict):
        return value
    tidy = {key: _tidy(part) for key, part in value.items() if key != 'default'}
    if 'prefixItems' in tidy:
        tidy['items'] = tidy.pop('prefixItems')
    if isinstance(tidy.get('description'), str):
        tidy['description'] = inspect.cleandoc(tidy['description']).split('\n\n')[0].replace('\n', ' ')
    return tidy


if __name__ == '__main__':
    PATH.write_text(report_schema())
    print(PATH)
