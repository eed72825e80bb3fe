"""Whole pipelines: the shipped example, how to run one on this machine, and the `tfx-edge` command."""
