"""Requests to a service of the site: nothing of the environment has a say, no proxy and no .netrc."""

from __future__ import annotations

import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter


class _Trust(HTTPAdapter):
    """https that trusts the machine's own certificate store, where a company has its private CA, and the file `ca`."""

    def __init__(self, ca: str | None) -> None:
        self._ca = ca
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        context = ssl.create_default_context()
        if self._ca is not None:
            context.load_verify_locations(self._ca)
        super().init_poolmanager(*args, ssl_context=context, **kwargs)


def new_session(ca: str | None = None) -> requests.Session:
    """A session that trusts `ca`, a file in PEM, beside what the machine trusts. Raises OSError when it is none."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", _Trust(ca))
    return session
