"""`report.schema.json` is what the classes give that the report is built of."""

from __future__ import annotations

from tests.components.core.evaluation.report_schema import PATH, report_schema


def test_the_schema_is_that_of_the_classes() -> None:
    assert PATH.read_text() == report_schema(), 'make report-schema writes it anew'
