"""Both shares on a third host that A and B mount: nobody gets events, so both agents poll.

The playbook has no such host: a deployed pair (NFSv4) is changed by hand here. The agents keep
their hardening.
"""

from __future__ import annotations

from tests.lab.machine import Machine
from tests.lab.pair import ROOT, Pair

_SHARES = ("Unenriched", "Enriched")
_OPTIONS = "nfsvers=4.2,hard,proto=tcp,timeo=100,retrans=2,actimeo=1,lookupcache=positive,nosuid"
_EXPORT = "/srv/nas"
_CONFIG = "/etc/roundtrip/roundtrip.yaml"
_USER = 6410


def serve(nas: Machine) -> None:
    """Turn a bare guest into a server of both shares."""
    install = "apt-get install -qq -y --no-install-recommends nfs-kernel-server"
    nas.do(f"export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && {install}")
    folders = " ".join(f"{_EXPORT}/{share}" for share in _SHARES)
    nas.do(f"mkdir -p {folders} && chown {_USER}:{_USER} {folders} && chmod 2770 {folders}")
    # Without squashing, so that the identities can be moved there as they are.
    export = " ".join(f"{each}(rw,sync,no_subtree_check,no_root_squash)" for each in ("a", "b"))
    nas.do(f"echo '{_EXPORT} {export}' > /etc/exports")
    nas.do("systemctl restart nfs-server && exportfs -ra")


def move(pair: Pair, nas: Machine) -> None:
    """Let both hosts of a deployed pair use the shares of a third one."""
    for machine, home in ((pair.a, "Enriched"), (pair.b, "Unenriched")):
        machine.do("systemctl stop roundtrip.service")
        for share in _SHARES:
            what, point = f"{nas.address}:{_EXPORT}/{share}", f"{ROOT}/nas/{share}"
            machine.do(f"mkdir -p {point} && mount -t nfs4 -o {_OPTIONS} {what} {point}")
            machine.do(f"sed -i 's#^\\(  {share.lower()}:\\).*#\\1 {point}#' {_CONFIG}")
        # The same share at another place: its identity is what the other host has pinned.
        machine.do(f"cp -a {ROOT}/share/{home}/. {ROOT}/nas/{home}/")
    for machine in (pair.b, pair.a):
        machine.do("systemctl start roundtrip.service")
