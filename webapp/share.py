"""`duplex serve --share`: an address that anybody can open, through Gradio's tunnel to our own port.

url = open_tunnel("127.0.0.1", 7860)         # https://0123456789abcdef.gradio.live, until this process ends

Gradio's `share=True` tunnels the port that Gradio itself serves. Its tunnel (gradio.networking.setup_tunnel, gradio
6.31) takes any port and passes WebSockets on, so it is led to our uvicorn.
"""

from __future__ import annotations

import atexit
import secrets
import shutil
import tempfile
from contextlib import chdir
from functools import cache

from duplex_runtime.errors import DuplexError

WARNING = (
    "Everybody who has this address can talk here, see what the page shows and use this machine while the server runs. "
    "What is said goes through Gradio's server."
)
INSTEAD = (
    "Without a tunnel: --host 0.0.0.0 serves the network that you are in, and docs/hosting.md says how to be on the web"
)


def open_tunnel(host: str, port: int) -> str:
    """Where the server on this address of the machine can be reached from everywhere; raises DuplexError."""
    from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError
    from gradio.networking import setup_tunnel
    from httpx import HTTPError

    try:
        with chdir(_folder()):
            return str(setup_tunnel(host, port, secrets.token_urlsafe(32), None, None)).rstrip("/")
    # the last two: no answer of Gradio's server; no answer of the tunnel's
    except (OSError, HTTPError, ChecksumMismatchError, ShareCertificateWriteError, RuntimeError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DuplexError(
            "no_tunnel", f"--share: the tunnel could not be opened: {said[:200]} Check the network. {INSTEAD}."
        ) from error


@cache
def _folder() -> str:
    """For the tunnel's certificate, which Gradio puts into the working folder: that may be somebody's repository."""
    folder = tempfile.mkdtemp(prefix="duplex-arena-share-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
