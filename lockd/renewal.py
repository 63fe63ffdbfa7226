"""What a running node takes from files again when they change: certificates, and the tokens of cluster.yml."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from lockd.config import Auth, Config, ConfigError, reread_tokens
from lockd.pki.checks import CertificateError
from lockd.pki.files import Material, Watched, read

log = structlog.get_logger("lockd")


class Renewal:
    """Files that do not fit are not taken, and looked at again when they change again."""

    def __init__(self, config: Config, new_certificates: Callable[[Material], None], declare: Callable[[Auth], None]):
        """Raises CertificateError. declare: is given what cluster.yml grants, with the tokens' present hashes."""
        self._new_certificates, self._declare = new_certificates, declare
        self._started = config
        self._take(config)
        self.material = _material(config)

    def _take(self, config: Config) -> None:
        self._config = config
        self._certificates = _Files(_certificate_files(config))
        self._tokens = _Files([token.file for token in config.auth.tokens if token.file] if config.auth else [])

    def look(self) -> None:
        """Costs a stat of each file."""
        if self._certificates.have_changed():
            self._renew_certificates()
        if self._tokens.have_changed():
            self._renew_tokens()

    def reload(self, config: Config) -> None:
        """cluster.yml was read again. What only a new start can change is named in the log."""
        now = self._started
        stays = [name for name in _NEED_A_START if getattr(config, name) != getattr(now, name)]
        if config.tls and now.tls and config.tls.client_certificates != now.tls.client_certificates:
            stays.append("tls.client_certificates")
        if stays:
            log.warning("changes of cluster.yml that need a new start", fields=stays)
        if (config.tls is None, config.auth is None) != (now.tls is None, now.auth is None):
            log.warning("to begin or to end with tls or auth takes a new start")
            return
        self._take(config)
        self._renew_certificates()
        if config.auth is not None:
            self._declare(config.auth)
            log.info("tokens read again", tokens=len(config.auth.tokens), certificates=len(config.auth.certificates))

    def _renew_certificates(self) -> None:
        try:
            material = _material(self._config)
        except CertificateError as error:
            self._certificates.complain("certificates stay as they are", error)
            return
        self._certificates.fit()
        if material is None or material == self.material:
            return
        self.material = material
        for warning in material.warnings:
            log.warning(warning)
        log.info("certificates renewed", sha256=material.fingerprint, expires=f"{material.expires:%Y-%m-%d %H:%M UTC}")
        self._new_certificates(material)

    def _renew_tokens(self) -> None:
        assert self._config.auth is not None
        try:
            auth = reread_tokens(self._config.auth)
        except ConfigError as error:
            self._tokens.complain("declared tokens stay as they are", error)
            return
        self._tokens.fit()
        if auth != self._config.auth:
            self._config = replace(self._config, auth=auth)
            self._declare(auth)
            log.info("tokens read again", tokens=len(auth.tokens), certificates=len(auth.certificates))


class _Files:
    """A group that is replaced file by file: it is looked at again as long as it does not fit."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._watched = Watched(paths)
        self._watched.changed()
        self._misfits = 0

    def have_changed(self) -> bool:
        return self._watched.changed() or self._misfits > 0

    def fit(self) -> None:
        self._misfits = 0

    def complain(self, event: str, error: Exception) -> None:
        """Between two files of a group nothing fits for a moment: only what lasts is said, once."""
        self._misfits += 1
        if self._misfits == 2:
            log.error(event, reason=str(error))


_NEED_A_START = ("nodes", "listen_host", "listen_port", "data_dir", "timing", "compaction", "limits", "peer_secret")


def _certificate_files(config: Config) -> list[Path]:
    return [config.tls.ca, config.tls.cert, config.tls.key] if config.tls else []


def _material(config: Config) -> Material | None:
    """Raises CertificateError."""
    tls = config.tls
    return read(tls.ca, tls.cert, tls.key, config.me.id, config.me.host) if tls else None
