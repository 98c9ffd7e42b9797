"""The image that all guests begin with: a bare Debian 12 with systemd and sshd, made once.

Beside it lie the packages that a deployment installs (guests have no internet), an ssh key, and
what user-mode-linux needs on this machine. A change of the recipe below makes a new image.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.names import ADDRESSES, CACHE, GATEWAY, PACKAGES_PORT
from tests.lab.shell import LabError, run

MIRROR = os.environ.get("LAB_MIRROR", "http://deb.debian.org/debian")
SECURITY = os.environ.get("LAB_SECURITY_MIRROR", "http://deb.debian.org/debian-security")
_SIZE = 3 * 1024**3

BARE = (
    "ca-certificates", "dbus", "iproute2", "kmod", "openssh-server", "procps", "python3",
    "systemd", "systemd-sysv", "udev",
)  # fmt: skip
"""Packages of a bare server, besides those that every Debian has."""

OFFERED = (
    "acl", "attr", "cifs-utils", "fuse3", "iputils-ping", "keyutils", "logrotate", "nfs-common",
    "nfs-kernel-server", "nftables", "openssh-client", "python3-apt", "python3-venv",
    "rabbitmq-server", "redis-server", "rsync", "rsyslog", "samba", "smbclient", "sshfs", "strace",
    "sudo", "util-linux-extra",
)  # fmt: skip
"""What the lab's package server has, with all that these need."""

_TOOLS = {"debootstrap": "debootstrap", "mkfs.ext4": "e2fsprogs", "linux.uml": "user-mode-linux",
          "nsenter": "util-linux", "ip": "iproute2", "bridge": "iproute2"}  # fmt: skip
_MODULES = Path("/usr/lib/uml/modules")


@dataclass(frozen=True)
class Image:
    """Where its parts are."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The root file system. Guests write to files of their own over it."""
        return self.folder / "disk"

    @property
    def packages(self) -> Path:
        """A folder that apt can install from."""
        return self.folder / "packages"

    @property
    def key(self) -> Path:
        """The key that root of every guest accepts."""
        return self.folder / "key"

    @property
    def host_key(self) -> str:
        """The guests' sshd's own public key."""
        return (self.folder / "host_key.pub").read_text().strip()

    @property
    def preload(self) -> Path | None:
        """A library that user-mode-linux needs on this processor."""
        library = self.folder / "fpregs.so"
        return library if library.exists() else None


def image() -> Image:
    """The image, made now if it isn't there."""
    recipe = Path(__file__).read_bytes() + Path(__file__).with_name("fpregs.c").read_bytes()
    kernel = ",".join(sorted(os.listdir(_MODULES))) if _MODULES.exists() else ""
    stamp = hashlib.sha256(recipe + kernel.encode() + _cpu().encode()).hexdigest()[:12]
    folder = CACHE / f"image-{stamp}"
    if not folder.exists():
        _install_tools()
        CACHE.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=CACHE))
        try:
            _make(part)
            part.rename(folder)
        finally:
            if part.exists():
                shutil.rmtree(part)
    return Image(folder)


def _cpu() -> str:
    return "amx" if " amx_tile" in Path("/proc/cpuinfo").read_text() else ""


def _install_tools() -> None:
    missing = {package for tool, package in _TOOLS.items() if shutil.which(tool) is None}
    if _cpu() and shutil.which("cc") is None:
        missing |= {"gcc", "libc6-dev"}
    if not missing:
        return
    if os.geteuid():
        raise LabError(f"the lab needs root and: {' '.join(sorted(missing))}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run("apt-get", "update", "-qq", variables=quiet)
    run(
        "apt-get",
        "install",
        "-qq",
        "-y",
        "--no-install-recommends",
        *sorted(missing),
        variables=quiet,
    )


def _make(part: Path) -> None:
    root = part / "root"
    run("nice", "debootstrap", "--variant=minbase", f"--include={','.join(BARE)}", "bookworm",
        root, MIRROR)  # fmt: skip
    _fetch_packages(root, part / "packages")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", part / "key")
    _settle(root, part)
    if _cpu():
        source = Path(__file__).with_name("fpregs.c")
        run("cc", "-O2", "-shared", "-fPIC", "-o", part / "fpregs.so", source)
    with (part / "disk").open("wb") as disk:
        disk.truncate(_SIZE)
    run("nice", "mkfs.ext4", "-q", "-d", root, part / "disk")
    shutil.rmtree(root)


def _fetch_packages(root: Path, packages: Path) -> None:
    """Let the image's own apt settle what is needed, and fetch it."""
    resolver = root / "etc/resolv.conf"
    shutil.copyfile("/etc/resolv.conf", resolver)
    sources = [f"deb {MIRROR} bookworm main", f"deb {MIRROR} bookworm-updates main",
               f"deb {SECURITY} bookworm-security main"]  # fmt: skip
    (root / "etc/apt/sources.list").write_text("\n".join([*sources, ""]))
    run("chroot", root, "apt-get", "update", "-qq")
    run("chroot", root, "apt-get", "install", "-qq", "-y", "--no-install-recommends",
        "--download-only", *OFFERED)  # fmt: skip
    packages.mkdir()
    for path in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        shutil.move(path, packages / path.name)
    _index(packages)
    for path in (root / "var/lib/apt/lists").iterdir():
        if path.is_file():
            path.unlink()
    resolver.unlink()
    source = f"deb [trusted=yes] http://{GATEWAY}:{PACKAGES_PORT}/ ./\n"
    (root / "etc/apt/sources.list").write_text(source)


def _index(packages: Path) -> None:
    """The list that apt reads (deb-src-control(5), "Packages")."""
    with (packages / "Packages").open("w") as index:
        for path in sorted(packages.glob("*.deb")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            control = run("dpkg-deb", "-f", path).strip()
            size = path.stat().st_size
            index.write(f"{control}\nFilename: ./{path.name}\nSize: {size}\nSHA256: {digest}\n\n")


def _settle(root: Path, part: Path) -> None:
    """What an installer would have asked for: disk, network, names, who may log in."""
    ssh = root / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(part / "key.pub", ssh / "authorized_keys")
    shutil.copyfile(root / "etc/ssh/ssh_host_ed25519_key.pub", part / "host_key.pub")
    (root / "etc/fstab").write_text("/dev/ubda / ext4 noatime 0 1\n")
    # Each guest makes its own when it starts first; systemd would take D-Bus's, if there was one.
    (root / "etc/machine-id").write_text("")
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    names = "".join(f"{address} {name}\n" for name, address in ADDRESSES.items())
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{names}")
    for name, address in ADDRESSES.items():
        text = (
            f"[Match]\nName=vec0\nHost={name}\n\n[Network]\nAddress={address}/24\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        )
        (root / f"etc/systemd/network/{name}.network").write_text(text)
    run("chroot", root, "systemctl", "enable", "--quiet", "systemd-networkd")
    run("chroot", root, "systemctl", "mask", "--quiet", "apt-daily.timer",
        "apt-daily-upgrade.timer", "getty.target",
        "systemd-networkd-wait-online.service")  # fmt: skip
    shutil.copytree(_MODULES, root / "usr/lib/modules", symlinks=True, dirs_exist_ok=True)
