"""SavedModels of one graph are loaded once: a step's output differs from its input in the values of variables alone."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

from tfx_edge.components.core.compression.graph import checkpoint
from tfx_edge.components.core.content_digest import content_digest
from tfx_edge.components.core.saved_variables import load_saved_model, unreadable_variables_named

# Folders of a SavedModel that stay the same when the values of its variables change.
_GRAPH = ('assets',)


class _Passing:
    """A user that is freed as soon as `load` returns."""


class LoadedModels:
    """Keeps the last SavedModel that was loaded, and gives it the values of another one with the same graph.

    The model is kept until one with another graph is loaded. While its last user is alive, its variables are not
    overwritten: the next caller gets a model that is loaded anew.

    Example:
      >>> LOADED.load('/models/pruned', graph) is LOADED.load('/models/clustered', another_graph)
      False
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digest = ''
        self._kept: Any = None
        self._user: weakref.ref[Any] | None = None

    def load(self, saved_model_dir: str, user: object) -> Any:
        """Loads a SavedModel.

        Args:
          saved_model_dir: the folder of the SavedModel.
          user: the object that uses the model; while it is alive, the model counts as in use.

        Returns:
          What `tf.saved_model.load` returns.
        """
        digest = content_digest(saved_model_dir, folders=_GRAPH)
        with self._lock:
            if self._kept is None or digest != self._digest or not self._is_free():
                self._kept = load_saved_model(saved_model_dir)
                self._digest = digest
            elif not self._restored(saved_model_dir):
                self._kept = load_saved_model(saved_model_dir)
            self._user = weakref.ref(user)
            return self._kept

    def load_briefly(self, saved_model_dir: str) -> Any:
        """Loads a SavedModel for a caller that is done with it before the next load."""
        return self.load(saved_model_dir, _Passing())

    def _restored(self, saved_model_dir: str) -> bool:
        # Where it fails, some variables may have their new values: no later caller may get these.
        kept, self._kept = self._kept, None
        with unreadable_variables_named(saved_model_dir):
            restored = checkpoint.restore(saved_model_dir, kept)
        self._kept = kept
        return restored

    def _is_free(self) -> bool:
        assert self._user is not None
        if self._user() is not None:
            gc.collect()  # only a reference cycle may keep it alive
        return self._user() is None


LOADED = LoadedModels()
