"""The connection to a server of Kubeflow Pipelines, by kfp's own client.

One adapter for kfp 2.5 and later: the generated client beneath it names its methods anew from version to version, and
waits for ever for an answer, so that runs and logs are asked for by its `call_api`, whose arguments have stayed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow import kfp_settings
from tfx_edge.pipelines.kubeflow.pipeline_file import PipelineFile

# Seconds until a connection stands, and until an answer comes.
_TIMEOUT = (5, 10)
# A proxy or a server that is starting again; 429 asks for patience.
_PASSING = (429, 502, 503, 504)
_NOT_AUTHORIZED = re.compile(r"User '[^']*' is not authorized")
_UNREADABLE = 'give one that can be read by --token-file FILE'


class LostConnectionError(Exception):
    """No answer came; the next attempt may get one. `args[0]` says what happened, in a few words."""


@dataclasses.dataclass(frozen=True)
class Access:
    """Where the server is, and how to be let in. It holds no secret: a token stays in its file.

    Attributes:
      host: URL of the pipelines' page or of the API server.
      namespace: of the runs, in a Kubeflow of several users; None for the one that kfp was told by its
        `set_user_namespace`, or in which this process runs.
      token_file: holds a token; it is read anew for each request. None for the one that kfp's own environment
        variable KF_PIPELINES_SA_TOKEN_PATH names, if any.
      client_id: of Google's Identity-Aware Proxy.
      other_client_id: of a desktop application for that proxy. Its secret is read from kfp's environment variable
        KF_PIPELINES_APP_OAUTH2_CLIENT_SECRET.
    """

    host: str
    namespace: str | None = None
    token_file: str | None = None
    client_id: str | None = None
    other_client_id: str | None = None


class Connection:
    """A server that has answered.

    Args:
      access: where it is.

    Attributes:
      access: the same, with the namespace that counts.
      has_profiles: whether it is a Kubeflow of several users, each with a namespace of its own.

    Raises:
      EdgeError: it does not answer, it refuses, or the token cannot be read.

    Example:
      ```
      run = Connection(Access('http://localhost:8080')).run('0f5c...')
      ```
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        _check_host(access.host)
        with _hushed() as errors:
            self._client = _client(access, errors)
        # The object of generated methods that kfp makes for its users; each group has the client that it calls.
        self._api = self._client.runs.api_client
        try:
            health = self._get('/apis/v2beta1/healthz')
        except LostConnectionError as error:
            raise _absent(access.host, str(error)) from error
        if not isinstance(health, dict):
            raise _no_server(access.host)
        self.has_profiles = bool(health.get('multi_user'))
        if self.has_profiles:
            namespace = access.namespace or self._client.get_user_namespace().strip() or None
            self.access = dataclasses.replace(access, namespace=namespace)

    @property
    def host(self) -> str:
        """URL of the server, without a slash at its end."""
        return self.access.host.rstrip('/')

    def page(self, run_id: str) -> str:
        """URL of the page of a run."""
        return f'{self.host}/#/runs/details/{run_id}'

    def check_namespace(self) -> None:
        """Refuses to go on where runs need a namespace, and there is none that this user may work in.

        Raises:
          EdgeError: it is a Kubeflow of several users, and nobody said whose the run is, or it is another user's.
        """
        if not self.has_profiles:
            return
        if not self.access.namespace:
            raise EdgeError(
                f'{self.host} is a Kubeflow of several users; give the namespace of your profile by --namespace NAME.'
            )
        query = {'namespace': self.access.namespace, 'page_size': '1'}
        try:
            self._get('/apis/v2beta1/experiments', query=query)
        except LostConnectionError as error:
            raise _absent(self.host, str(error)) from error

    def submit(
        self,
        file: PipelineFile,
        parameters: Mapping[str, Any],
        root: str | None,
        experiment: str | None,
        run_name: str | None,
        use_cache: bool,
    ) -> str:
        """Starts a run.

        Args:
          file: the pipeline.
          parameters: values by name.
          root: URI of the folder for the artifacts; None for the server's default.
          experiment: its name; it is made if there is none. None for kfp's default.
          run_name: None for a name with the time.
          use_cache: False to run every step.

        Returns:
          The id of the run.

        Raises:
          EdgeError: the server refuses it or was lost. It is not asked again, since it may have begun.
        """
        try:
            # kfp prints the addresses of pages.
            with _hushed(), contextlib.redirect_stdout(io.StringIO()), self._answers():
                started = self._client.create_run_from_pipeline_package(
                    file.path,
                    arguments=dict(parameters),
                    run_name=run_name or None,
                    experiment_name=experiment,
                    namespace=self.access.namespace,
                    pipeline_root=root,
                    enable_caching=None if use_cache else False,
                )
        except LostConnectionError as error:
            raise EdgeError(
                f'{self.host} was lost while the run was made ({error}); see on its page whether it is there before '
                'you submit it again.'
            ) from error
        return started.run_id

    def run(self, run_id: str) -> dict[str, Any]:
        """A run as the API gives it.

        Args:
          run_id: of the run.

        Returns:
          The JSON of a `v2beta1.Run`.

        Raises:
          LostConnectionError: no answer came.
          EdgeError: there is no such run, or the server refuses.
        """
        run = self._get('/apis/v2beta1/runs/{run_id}', {'run_id': run_id})
        if not isinstance(run, dict):
            raise _no_server(self.host)
        return run

    def terminate(self, run_id: str) -> None:
        """Ends a run.

        Args:
          run_id: of the run.

        Raises:
          LostConnectionError: no answer came.
          EdgeError: the server refuses.
        """
        with _hushed(), self._answers():
            self._client.terminate_run(run_id)

    def text(self, path: str, parts: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        """What lies at an address of the server, or None where there is no text.

        Args:
          path: with names in braces.
          parts: what stands for the names.
          query: of the address.

        Returns:
          The text. A page of HTML is none: servers answer so at addresses that they do not know.

        Raises:
          LostConnectionError: no answer came.
        """
        try:
            with contextlib.suppress(UnicodeDecodeError):
                self._get(path, parts, query, kind=None)
        except EdgeError:
            return None
        data = self._api.last_response.data
        text = data.decode(errors='replace') if isinstance(data, bytes) else data
        return None if text.lstrip()[:9].lower().startswith(('<!doctype', '<html')) else text

    def _get(
        self,
        path: str,
        parts: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        kind: str | None = 'object',
    ) -> Any:
        with _hushed(), self._answers():
            return self._api.call_api(
                path,
                'GET',
                dict(parts or {}),
                list((query or {}).items()),
                response_type=kind,
                auth_settings=['Bearer'],
                _return_http_data_only=True,
                _request_timeout=_TIMEOUT,
            )

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        """Says of an error whether to ask again, or what is wrong."""
        import kfp_server_api
        import urllib3

        try:
            yield
        except kfp_server_api.ApiException as error:
            if error.status in _PASSING:
                raise LostConnectionError(f'{error.status} {error.reason}') from error
            raise _refused(self.access, error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.filename:
                raise EdgeError(f'{error.filename}: {error.strerror}; {_UNREADABLE}.') from error
            raise LostConnectionError(_in_short(error)) from error


def _client(access: Access, errors: list[BaseException]) -> Any:
    import urllib3
    from kfp import client

    kfp_settings.check_settings()
    credentials = None
    path = access.token_file or os.environ.get(client.KF_PIPELINES_SA_TOKEN_ENV)
    if path:
        _check_token(path)
        credentials = client.ServiceAccountTokenVolumeCredentials(path)
    options: dict[str, Any] = {'namespace': access.namespace} if access.namespace else {}
    try:
        return kfp_settings.client_without_files()(
            host=access.host,
            client_id=access.client_id,
            other_client_id=access.other_client_id,
            credentials=credentials,
            **options,
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        # Without a namespace kfp asks for the server's health, five times. It logs why that failed, and raises only
        # that it did.
        reason: Any = errors[-1] if errors else error
        status = getattr(reason, 'status', None)
        if status and status not in _PASSING:
            raise _refused(access, reason) from error
        raise _absent(access.host, f'{status} {reason.reason}' if status else _in_short(reason)) from error


def _check_host(host: str) -> None:
    parts = urllib.parse.urlsplit(host)
    if parts.username or parts.password:
        raise EdgeError(
            '--host holds a user or a password; secrets do not belong into arguments: use --token-file FILE.'
        )
    if parts.scheme not in ('http', 'https') or not parts.netloc:
        raise EdgeError(f'--host is {host!r}; expected a URL such as http://localhost:8080.')


def _check_token(path: str) -> None:
    try:
        with open(path, encoding='utf-8') as file:
            empty = not file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeError(
            f'the token in {path} cannot be read ({getattr(error, "strerror", None) or "no text"}); {_UNREADABLE}.'
        ) from error
    if empty:
        raise EdgeError(f'{path} is empty; expected a token.')


def _absent(host: str, reason: str) -> EdgeError:
    return EdgeError(
        f'{host} does not answer ({reason}); start `kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80`, or '
        "name the pipelines' page by --host."
    )


def _no_server(host: str) -> EdgeError:
    return EdgeError(
        f'{host} does not answer as Kubeflow Pipelines does; if it shows a page to log in, give a token by '
        '--token-file FILE.'
    )


def _refused(access: Access, error: Any) -> EdgeError:
    host = access.host.rstrip('/')
    try:
        message = json.loads(error.body)['message'].splitlines()[0]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        message = error.reason
    # The server tells this at length, and through which of its functions it came.
    message = match[0] if (match := _NOT_AUTHORIZED.search(str(message))) else message
    if error.status == 403 and access.namespace:
        remedy = (
            'give the namespace of your own profile by --namespace, or a token by --token-file FILE of a user who may '
            'work in this one'
        )
        return EdgeError(
            f'{host} refuses the request in namespace {access.namespace!r} (403 {message}); {remedy}.'
        )
    if error.status in (401, 403):
        remedy = 'give a token by --token-file FILE, and your namespace by --namespace'
        return EdgeError(f'{host} refuses the request ({error.status} {message}); {remedy}.')
    if error.status == 404:
        return EdgeError(f'{host} has not found it ({message}); see that --host and the id are right.')
    return EdgeError(f'{host} refuses the request ({error.status} {message}).')


def _in_short(error: BaseException) -> str:
    """The innermost reason of an error of urllib3, without the addresses of objects."""
    while True:
        inner = getattr(error, 'reason', None) or (error.args[-1] if error.args else None)
        if not isinstance(inner, BaseException):
            return (str(error).rpartition(': ')[2] or type(error).__name__).strip()
        error = inner


@contextlib.contextmanager
def _hushed() -> Iterator[list[BaseException]]:
    """Keeps what kfp and urllib3 warn of from the console; yields the errors that they logged."""
    handler = _Errors()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield handler.errors
    finally:
        root.removeHandler(handler)


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.errors.append(record.exc_info[1])
