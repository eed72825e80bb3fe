"""What kfp keeps in the home folder: above all the namespace that its `set_user_namespace` was told."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx_edge.components.core.errors import EdgeError

_FILE = '~/.config/kfp/context.json'


def check_settings() -> None:
    """Refuses settings that kfp could not read: it would raise whatever comes of them.

    Raises:
      EdgeError: the file cannot be read, or holds something else.
    """
    path = os.path.expanduser(_FILE)
    if not os.path.exists(path):
        return
    try:
        with open(path, encoding='utf-8') as file:
            is_readable = isinstance(json.load(file)['namespace'], str)
    except (KeyError, TypeError, ValueError):
        is_readable = False
    except OSError as error:
        raise EdgeError(
            f'{path}: {error.strerror}; kfp keeps its settings there: make it readable.'
        ) from error
    if not is_readable:
        raise EdgeError(
            f'{path} holds no settings of kfp; remove it, or write {{"namespace": "NAME"}} into it.'
        )


def client_without_files() -> Any:
    """The class of kfp's client, but for the file that it would write.

    In a pod of a Kubeflow of several users kfp stores the pod's namespace in the home folder, where a user that the
    image does not know may write nothing, for every later client of this user, whatever it connects to.
    """
    from kfp import client  # takes seconds

    class ClientWithoutFiles(client.Client):
        _of_this_pod = ''

        def set_user_namespace(self, namespace: str) -> None:
            self._of_this_pod = namespace.strip()

        def get_user_namespace(self) -> str:
            return self._of_this_pod or super().get_user_namespace()

    return ClientWithoutFiles
