"""Where an orchestrator wants the state of a training, if not beside its outputs."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator


def _nothing() -> None:
    """For a folder that outlives the process by itself."""


@dataclasses.dataclass(frozen=True)
class StatePlace:
    """A folder for the state of one run of one step.

    Attributes:
      folder: on this machine; a step that is started anew with the same inputs and parameters finds in it what was
        written before.
      saved: called whenever a state was written there whole.
      patience_seconds: how long the owner of a state that was lost may seem to be there.
    """

    folder: str
    saved: Callable[[], None] = _nothing
    patience_seconds: float = 0.0


_PLACE: contextvars.ContextVar[StatePlace | None] = contextvars.ContextVar('state_place', default=None)


def state_place() -> StatePlace | None:
    """The place that was set; None where the state lies beside the outputs."""
    return _PLACE.get()


@contextlib.contextmanager
def state_kept_in(place: StatePlace) -> Iterator[None]:
    """Sets where trainings keep their state meanwhile.

    Args:
      place: the folder.

    Example:
      >>> with state_kept_in(StatePlace('/shared/run-1/Pruner')):
      ...   state_place().folder
      '/shared/run-1/Pruner'
    """
    before = _PLACE.set(place)
    try:
        yield
    finally:
        _PLACE.reset(before)
