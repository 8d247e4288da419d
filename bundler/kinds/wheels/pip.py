"""pip-tools as a child process, cut off from this machine's own pip configuration."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from bundler.errors import BundlerError, FetchError, ResolveError
from bundler.kinds.wheels.chosen import Choice, Heard, Pin, read_choices, read_heard, read_pins
from bundler.kinds.wheels.environment import Environment
from bundler.kinds.wheels.requirements import Inputs
from bundler.kinds.wheels.source import Index
from bundler.model.config import Config
from bundler.transfer.addresses import literally_inward
from bundler.transfer.retry import Stopped
from bundler.transfer.witness import Question, Witness

log = logging.getLogger(__name__)

_DRIVER = Path(__file__).with_name("foreign")
_LOG_LIMIT = 256 << 20  # bytes that pip may say; for a thousand packages it is a tenth of that
_SYSTEM_CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")

_LAST_WORDS = 1 << 20  # bytes
_LINE = 4096  # characters
_OF_LINKS = ("Found link", "Skipping link", "Link requires")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ")
_NOT_FETCHED = re.compile(r"Could not fetch URL (\S+): (.*) - skipping")
_NOT_FOUND = re.compile(r"\b404\b")
_NETWORK = re.compile(
    r"NetworkConnectionError|ConnectionError|ConnectionFailedError|ConnectionTimeoutError|ReadTimeout|Max retries|"
    r"IncompleteRead|ProtocolError|SSLError|SSLVerification|ProxyError|ProxyConnection|HTTP error (4[02]\d|5\d\d)|"
    r"\b(401|403|407|429|5\d\d) (Client|Server) Error"
)
_VERSIONS = re.compile(r"\(from versions: (.*?)\)")
_CONFLICT = re.compile(r"The conflict is caused by:\n((?:[ \t]+\S.*\n)+)")
_OTHER_PYTHON = re.compile(r"ERROR: Ignored the following versions that require a different python version: (.*)")
_ERROR = re.compile(r"^\s*(?:ERROR|error): (?!Ignored the following|No matching distribution)(.*)$", re.MULTILINE)
# As pip asks for a page of the index.
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
_SHOWN = 3
_LOOK_UP = 0.5  # seconds: how soon a run ends that is to be stopped


_NOTHING: Mapping[str, bytes] = MappingProxyType({})


class Pip:
    """Runs pip in `scratch` against one index; of this machine's pip configuration only the CA file counts.

    Credentials reach pip through a file that only this user can read: neither an argument nor a lock holds them.
    They are for the index's own scheme, host and port.
    """

    def __init__(
        self,
        index: Index,
        config: Config,
        scratch: Path,
        led: Callable[[str, str], None],
        stop: threading.Event | None = None,
        witness: Witness | None = None,
    ) -> None:
        """`led` is `Upstream.led`. `stop`, once set, ends what runs. The `witness` hears which pages of the index a
        lock was made of."""
        self.led = led
        self._index = index
        self._patience = config.retries.timeout
        self._witness = witness or Witness()
        self._stop = stop or threading.Event()
        self._scratch = Path(tempfile.mkdtemp(prefix="wheels-", dir=scratch))
        self._environ = _environ(index, config, self._scratch)
        self._login = _login(index, self._scratch)

    @property
    def index(self) -> str:
        """The index's URL."""
        return self._index.url

    def lock(
        self,
        environment: Environment,
        inputs: Inputs,
        *,
        sources: frozenset[str] | None,
        built: Mapping[str, bytes] = _NOTHING,
    ) -> tuple[list[Pin], list[Choice]]:
        """What pip-tools resolves `inputs` to for `environment`: its pins, and the file that pip chose for each.

        `sources` are the projects that may come as source (None: any); none of their code is run: `built` has the
        METADATA of wheels made of them, by URL, and of others the PKG-INFO counts. Raises ResolveError, FetchError.
        """
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        (folder / "requirements.in").write_text(_lines(inputs.requirements), encoding="utf-8")
        (folder / "constraints.txt").write_text(_lines(inputs.constraints), encoding="utf-8")
        (folder / "environment.json").write_text(
            json.dumps(
                {
                    "version": [int(part) for part in environment.full_version.split(".")],
                    "markers": environment.markers(),
                    "tags": [str(tag) for tag in environment.tags()],
                    "sources": None if sources is None else sorted(sources),
                    "built": {url: _kept(folder, number, data) for number, (url, data) in enumerate(built.items())},
                    "patience": self._patience,
                    "index": {"url": self.index, "inward": self._index.ours or _is_inward(self.index)},
                    "named": {
                        url: {"url": author, "inward": author == url or _is_inward(author)}
                        for url, author in inputs.named.items()
                    },
                    "login": self._login,
                }
            ),
            encoding="utf-8",
        )
        arguments = ["compile", "--quiet", "--no-config", "--no-header", "--no-annotate", "--generate-hashes"]
        arguments += ["--allow-unsafe", "--strip-extras", "--no-emit-index-url", "--no-emit-trusted-host"]
        arguments += ["--no-emit-options", "--cache-dir", str(self._scratch / "pip-tools")]
        arguments += ["--constraint", "constraints.txt", "--output-file", "lock.txt", "requirements.in"]
        # -P: neither the folder that bundler is called in nor this one has modules for pip.
        command = [sys.executable, "-P", str(_DRIVER), "environment.json", *arguments]
        self._run(command, folder, f"resolve for Python {environment}")
        self._hear(read_heard(folder / "heard.json", self.index), inputs)
        choices = read_choices(folder / "choices.json", self.index)
        return read_pins((folder / "lock.txt").read_text(encoding="utf-8"), self.index), choices

    def _hear(self, heard: Heard, inputs: Inputs) -> None:
        for page, sha256 in heard.pages.items():
            self._witness.heard(Question(page, _ACCEPT), sha256)
        # What a line has a URL for is not among the pages.
        if heard.doubt or any("://" in line for line in (*inputs.requirements, *inputs.constraints)):
            self._witness.doubts()

    def _run(self, command: list[str], folder: Path, task: str) -> None:
        # The log has what pip's output lacks: which pages of the index did not come, and why a resolution failed.
        log_file = folder / "pip.log"
        environ = self._environ | {"PIP_LOG": str(log_file)}
        log.debug("running %s", command)
        code, stderr = self._wait_for(command, folder, environ, log_file)
        if (refused := folder / "refused.json").exists():
            raise _refused(json.loads(refused.read_text(encoding="utf-8")))
        logged = _telling(log_file) if log_file.exists() else ""
        # pip takes a page that did not come for a project that has no files, and may settle for another version: that
        # would be a different lock, not an error, so success alone says nothing.
        if (missed := _missed_page(logged)) is not None:
            raise missed
        if code != 0:
            raise explain(task, logged, stderr)

    def _wait_for(
        self, command: list[str], folder: Path, environ: Mapping[str, str], log_file: Path
    ) -> tuple[int, str]:
        """Run `command`; gives its exit code, and the end of what it had to say. Raises Stopped, FetchError."""
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(
                command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
            ) as process,
        ):
            while process.poll() is None:
                if self._stop.is_set():
                    process.terminate()
                    raise Stopped
                logged = log_file.stat().st_size if log_file.exists() else 0
                if max(os.fstat(said.fileno()).st_size, logged) > _LOG_LIMIT:
                    process.kill()
                    raise FetchError(
                        f"wheels: {self._index.url}: pip has more than {_LOG_LIMIT} bytes to say about its answers",
                        hint="name another index in `wheels.index_url`",
                    )
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_UP)
            said.seek(max(0, os.fstat(said.fileno()).st_size - _LAST_WORDS))
            return process.returncode, said.read().decode("utf-8", "replace")


def _is_inward(url: str) -> bool:
    return literally_inward(urlsplit(url).hostname or "") is not None


def _kept(folder: Path, number: int, data: bytes) -> str:
    file = folder / f"{number}.METADATA"
    file.write_bytes(data)
    return str(file)


def _refused(said: Mapping[str, str]) -> BundlerError:
    """The driver's own words, see `foreign`."""
    error = FetchError if said["kind"] == "fetch" else ResolveError
    return error(f"wheels: {said['message']}", hint=said["hint"])


def _telling(log_file: Path) -> str:
    """The lines of pip's log that can tell why it failed: most are of links that it saw, and passed over."""
    with log_file.open(encoding="utf-8", errors="replace") as lines:
        plain = (_STAMP.sub("", line[:_LINE]) for line in lines)
        return "".join(line for line in plain if not line.lstrip().startswith(_OF_LINKS))


def explain(task: str, logged: str, stderr: str) -> BundlerError:
    """Why pip failed, shortened: a FetchError where the network was at fault, else a ResolveError."""
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "pip said nothing"
    if _NETWORK.search(last):
        return FetchError(f"wheels: cannot {task}: {_plain(last)}", hint="run it again once the index answers")
    reasons = []
    for error in _ERROR.findall(logged):
        reason = _VERSIONS.sub(_newest_only, error).strip()
        if reason not in reasons:
            reasons.append(reason)
    if (other := _OTHER_PYTHON.search(logged)) is not None:
        reasons.append(f"versions for another Python: {_few(other[1].split('; '))}")
    if (conflict := _CONFLICT.search(logged)) is not None:
        reasons += [line.strip() for line in conflict[1].splitlines()]
    return ResolveError(
        f"wheels: cannot {task}: " + ("; ".join(reasons[-6:]) or _plain(last)),
        hint="loosen or drop the requirement it names, or ask for another Python",
    )


def _missed_page(logged: str) -> FetchError | None:
    for url, reason in _NOT_FETCHED.findall(logged):
        if not _NOT_FOUND.search(reason):
            return FetchError(
                f"wheels: {url}: {reason}",
                hint="run it again once the index answers; it may need credentials or a CA file",
            )
    return None


def _newest_only(versions: re.Match[str]) -> str:
    return f"(it has {_few(list(reversed(versions[1].split(', '))))})"


def _few(things: list[str]) -> str:
    return ", ".join(things[:_SHOWN]) + (f" … {len(things)} in all" if len(things) > _SHOWN else "")


def _plain(line: str) -> str:
    """The last line of a traceback without the exception's name."""
    return re.sub(r"^[\w.]+(Error|Exception|NotFound|Candidate|Failed|Impossible): ", "", line)


def _lines(lines: Any) -> str:
    return "".join(f"{line}\n" for line in lines)


def _environ(index: Index, config: Config, scratch: Path) -> dict[str, str]:
    """The variables of a child process; where pip is concerned, nothing but what is set here."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV"))
    }
    (scratch / "temp").mkdir()
    environ |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_KEYRING_PROVIDER": "disabled",
        "NETRC": os.devnull,  # not the one of this user
        "PIP_RETRIES": str(config.retries.attempts - 1),
        "PIP_DEFAULT_TIMEOUT": str(config.retries.timeout),
        "TMPDIR": str(scratch / "temp"),
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
    }
    environ["PIP_INDEX_URL"] = index.url
    if index.url.startswith("http://"):
        environ["PIP_TRUSTED_HOST"] = index.netloc
    if (certificates := _certificates(config.ca_files, os.environ, scratch)) is not None:
        environ["PIP_CERT"] = environ["REQUESTS_CA_BUNDLE"] = environ["SSL_CERT_FILE"] = certificates
    for scheme, proxy in config.proxies.items():
        if "://" not in scheme:
            environ[f"{scheme}_proxy"] = environ[f"{scheme.upper()}_PROXY"] = proxy
    return environ


def _login(index: Index, scratch: Path) -> str | None:
    """A file with the index's user and password, as JSON."""
    if index.credentials is None:
        return None
    path = scratch / "login.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR), "w") as file:
        json.dump(index.credentials, file)
    return str(path)


def _certificates(extra: Sequence[str], environ: Mapping[str, str], scratch: Path) -> str | None:
    """A file of the CAs to trust: this machine's and the config's. None leaves it to pip."""
    machine = next((environ[name] for name in _SYSTEM_CERTIFICATES if environ.get(name)), None)
    if not extra:
        return machine
    if machine is None:
        import certifi

        machine = certifi.where()
    path = scratch / "ca.pem"
    path.write_bytes(b"\n".join(Path(file).read_bytes() for file in (machine, *extra)))
    return str(path)
