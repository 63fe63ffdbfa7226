"""gRPC's certificates, which new connections take as they are at that moment."""

import grpc


class ServerTls:
    def __init__(self, cert: bytes, key: bytes, ca: bytes, *, asks_clients: bool) -> None:
        """In PEM. asks_clients: whether a connection needs a client certificate of one of the authorities in ca."""
        self._asks_clients = asks_clients
        self._next: grpc.ServerCertificateConfiguration | None = None
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._configuration(cert, key, ca),
            self._take,  # type: ignore[arg-type]  # types-grpcio does not know that it may return None
            require_client_authentication=asks_clients,
        )

    def renew(self, cert: bytes, key: bytes, ca: bytes) -> None:
        """Connections that are there stay."""
        self._next = self._configuration(cert, key, ca)

    def _configuration(self, cert: bytes, key: bytes, ca: bytes) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(key, cert)], ca if self._asks_clients else None)

    def _take(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked by gRPC's threads at each handshake. None: what it was given before."""
        taken, self._next = self._next, None
        return taken
