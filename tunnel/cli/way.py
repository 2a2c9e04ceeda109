"""Which panel is meant, and with which token: from the options, else from the environment."""

import os
import ssl
import stat
from argparse import Namespace
from pathlib import Path
from typing import Final

from tunnel.cli import address
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.output import Output
from tunnel.cli.remote import Remote
from tunnel.cli.rest import Rest

URL: Final = "YUMNA_URL"
TOKEN: Final = "YUMNA_TOKEN"  # noqa: S105 - where it stands, not what it is
TOKEN_FILE: Final = "YUMNA_TOKEN_FILE"  # noqa: S105 - likewise
CA_FILE: Final = "YUMNA_CA_FILE"

LARGEST_TOKEN: Final = 1024  # characters; ours have some fifty


def remote(options: Namespace, out: Output, program: str, url: str) -> Remote:
    """Return the panel at `url`.

    Raises:
        Failure: address, token or certificates cannot be used; nothing was sent.
    """
    return Remote(Rest(address.parse(url), token(options), tls(options), out.note), program)


def refuse_without_url(options: Namespace) -> None:
    """See that no option is given that would be silently of no use.

    Raises:
        Failure: one is.
    """
    if options.token_file:
        raise Failure("--token-file goes with --url: this asks the panel of this host", Exit.USAGE)
    if options.ca_file and options.command != "doctor":
        raise Failure("--ca-file goes with --url, or with doctor", Exit.USAGE)


def token(options: Namespace) -> str:
    """Return the token.

    Raises:
        Failure: there is none, two are given, or others can read its file.
    """
    file, text = os.environ.get(TOKEN_FILE), os.environ.get(TOKEN)
    if options.token_file:
        return _checked(_read(options.token_file), options.token_file)
    if file and text:
        raise Failure(f"{TOKEN} and {TOKEN_FILE} are both set, remove one of them", Exit.USAGE)
    if file:
        return _checked(_read(file), file)
    if text:
        return _checked(text, TOKEN)
    sentence = "no token: make one in the panel's admin and give it with --token-file FILE"
    raise Failure(f"{sentence}, {TOKEN_FILE} or {TOKEN}", Exit.USAGE)


def tls(options: Namespace) -> ssl.SSLContext:
    """Return a context that verifies the panel.

    Raises:
        Failure: the file of certificates cannot be used.
    """
    file = options.ca_file or os.environ.get(CA_FILE) or None
    try:
        context = ssl.create_default_context(cafile=file)
    except ssl.SSLError as exc:
        raise Failure(f"{file} holds no certificate in PEM form", Exit.USAGE) from exc
    except OSError as exc:
        raise Failure(f"{file} cannot be read: {exc.strerror}", Exit.USAGE) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.keylog_filename = None  # type: ignore[assignment]  # not even when SSLKEYLOGFILE asks for it
    return context


def _read(path: str) -> str:
    """Read a token's file; a pipe, as shells make it of `<(pass show yumna)`, belongs to nobody else."""
    try:
        with Path(path).open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(LARGEST_TOKEN + 2)
    except OSError as exc:
        raise Failure(f"the token file {path} cannot be read: {exc.strerror}", Exit.USAGE) from exc
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Failure(f"the token file {path} is open to other users, run: chmod 600 {path}", Exit.USAGE)
    return content.decode("ascii", "replace")


def _checked(text: str, source: str) -> str:
    word = text.strip()
    if not word or len(word) > LARGEST_TOKEN or not word.isascii() or not word.isprintable() or " " in word:
        raise Failure(f"{source} holds no token: it is one word of letters and digits", Exit.USAGE)
    return word
