"""bundler's side of an upstream that can fail, impatient enough for tests."""

from __future__ import annotations

from bundler.model.config import Config, Retries

CONFIG = Config(retries=Retries(attempts=3, backoff=0.01, ceiling=2, timeout=2))
