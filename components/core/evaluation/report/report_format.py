"""Which format `report.json` has, for those who read it."""

from __future__ import annotations

from typing import Literal

FORMAT_VERSION: Literal[1] = 1
