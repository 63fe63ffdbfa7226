"""certs: the files that the sections tls and auth of cluster.yml name, and more certificates of the same authority."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from lockd.cli import exits
from lockd.cli.groups import InOrder
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd.pki.issuing import Place, Written

_AUTHORITY = "ca.crt"
_DAYS_MAX = 3650
_ID_MAX = 2**31  # validate.ID_MAX: importing it would load YAML for the client verbs too

_ca_option = click.option(
    "--ca", type=click.Path(path_type=Path), metavar="DIR", help="The folder of the authority's ca.crt and ca.key."
)
_cluster_option = click.option(
    "--cluster", type=click.Path(path_type=Path), metavar="FILE", help="cluster.yml, whose section tls names the files."
)


def _out_option(default: str) -> Callable[[Any], Any]:
    return click.option(
        "--out", type=click.Path(path_type=Path), metavar="DIR", help=f"Where to write. Default: {default}."
    )


_renew_option = click.option("--renew", is_flag=True, help="Replace the certificate and key that are there.")


def _days_option(default: int) -> Callable[[Any], Any]:
    return click.option(
        "--days",
        type=click.IntRange(1, _DAYS_MAX),
        default=default,
        show_default=True,
        metavar="N",
        help="How long it is valid; no longer than the authority.",
    )


@click.group("certs", cls=InOrder, short_help="Make certificates and secrets.")
def certs_command() -> None:
    """Make the certificates and secrets of a cluster, with an authority of one's own.

    \b
    lockd certs init --cluster cluster.yml    all that cluster.yml names
    lockd certs node --cluster cluster.yml --id 2 --renew
    lockd certs client ci --cluster cluster.yml --out .

    Nothing that exists is overwritten, but by --renew. Keys and secrets are
    files that this user alone can read, and are never printed.
    """


@certs_command.command("init", short_help="Make what is missing of a cluster's files.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="[DIR]", required=False)
@_cluster_option
def init_command(folder: Path | None, cluster: Path | None) -> None:
    """Make what cluster.yml names and what does not exist yet.

    That is: the authority, whose key stands beside tls.ca as .key; a
    certificate and key for every node; the file of the peers' secret; the
    secrets of tokens that have a file. With DIR instead of a cluster: an
    authority there, and nothing else.

    \b
    Examples:
      lockd certs init --cluster cluster.yml
      lockd certs init /etc/lockd/pki
    """
    if (folder is None) == (cluster is None):
        raise click.UsageError("Give either --cluster FILE or a folder.")
    wrong: list[str] = []
    with _failures():
        if cluster is not None:
            from lockd.config.missing import ClusterCertificates

            of_cluster = ClusterCertificates(cluster)
            _say(of_cluster.make_missing())
            wrong = of_cluster.wrong()
        elif folder is not None:
            from lockd.pki.issuing import Place, make_authority

            _say(make_authority(Place.of_authority(folder / _AUTHORITY)))
    if wrong:
        exits.fail("\n".join(map(escaped, wrong)), exits.CONFIG)


@certs_command.command("node", short_help="Make or renew the certificate of one node.")
@_cluster_option
@_ca_option
@click.option("--id", type=click.IntRange(1, _ID_MAX), metavar="N", required=True, help="The node's id in cluster.yml.")
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="A name or address of the node; may be repeated.")
@_out_option("where cluster.yml says, or beside the authority")
@_days_option(825)
@_renew_option
def node_command(
    cluster: Path | None, ca: Path | None, id: int, hosts: tuple[str, ...], out: Path | None, days: int, renew: bool
) -> None:
    """Make a certificate and key for a node.

    With --cluster they are written where cluster.yml says, and the node's host
    is among the names; --host adds more. With --ca they are node-N.crt and
    node-N.key. A running node takes a renewed certificate by itself.

    \b
    Examples:
      lockd certs node --cluster cluster.yml --id 2 --renew
      lockd certs node --ca pki --id 4 --host db4 --host 10.0.0.4
    """
    from lockd.config.missing import ClusterCertificates
    from lockd.config.validate import check_host
    from lockd.pki.issuing import Place, issue_node

    with _failures():
        authority = _authority(cluster, ca)
        if cluster is not None:
            of_cluster = ClusterCertificates(cluster)
            place, own = of_cluster.node(id)
            hosts = (*own, *hosts)
        else:
            place = Place.named(authority.cert.parent, f"node-{id}")
        if not hosts:
            raise click.UsageError("Give the names and addresses under which the node is reached: --host HOST.")
        for host in hosts:
            check_host("--host", host, "")
        if out is not None:
            place = Place(out / place.cert.name, out / place.key.name)
        _say(issue_node(authority, place, id, tuple(dict.fromkeys(hosts)), days=days, renew=renew))


@certs_command.command("client", short_help="Make or renew the certificate of a caller.")
@click.argument("name")
@_cluster_option
@_ca_option
@_out_option("beside the authority")
@_days_option(365)
@_renew_option
def client_command(name: str, cluster: Path | None, ca: Path | None, out: Path | None, days: int, renew: bool) -> None:
    """Make a certificate and key for callers of this NAME: client-NAME.crt and client-NAME.key.

    What NAME may do is said in cluster.yml, by an entry of auth.certificates.

    \b
    Examples:
      lockd certs client backup --cluster cluster.yml --out .
      lockd certs client ci --ca pki --days 30
    """
    from lockd.config.security import NAME, NAME_IS
    from lockd.pki.issuing import Place, issue_client

    if not NAME.fullmatch(name):
        exits.fail(f"NAME: {name!r} is not {NAME_IS}", exits.DATA)
    with _failures():
        authority = _authority(cluster, ca)
        place = Place.named(authority.cert.parent if out is None else out, f"client-{name}")
        _say(issue_client(authority, place, name, days=days, renew=renew))


def _authority(cluster: Path | None, ca: Path | None) -> "Place":
    from lockd.config.missing import ClusterCertificates
    from lockd.pki.issuing import Place

    if (cluster is None) == (ca is None):
        raise click.UsageError("Give either --cluster FILE or --ca DIR.")
    return (
        Place.of_authority(ca / _AUTHORITY) if ca is not None else ClusterCertificates(cast(Path, cluster)).authority()
    )


def _say(written: "Iterable[Written]") -> None:
    for each in written:
        note = f" ({each.note})" if each.note else ""
        click.echo(f"{each.done:<10}  {escaped(str(each.path))}{note}")


@contextmanager
def _failures() -> Iterator[None]:
    from lockd.config import ConfigError
    from lockd.pki.making import CannotIssue

    try:
        yield
    except (ConfigError, CannotIssue) as error:
        exits.fail(escaped(str(error)), exits.CONFIG)
