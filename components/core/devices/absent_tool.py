"""The error that means: a tool is not installed."""

from __future__ import annotations


class AbsentTool(Exception):
    """What is not installed, with the command that brings it, in one line."""
