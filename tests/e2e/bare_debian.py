"""Bare Debian roots by debootstrap, for tests marked "world".  Each is made once, kept in build/roots, and copied for each test."""
import fcntl
import os
import shutil
import subprocess

import pytest
from harness import BUILD

MIRROR = "http://deb.debian.org/debian"


def made(suite):
    root = BUILD.resolve() / "roots" / suite
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.parent / f"{suite}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "made").exists():
            shutil.rmtree(root, ignore_errors=True)
            done = subprocess.run(["debootstrap", "--variant=minbase", suite, root, MIRROR], capture_output=True, timeout=900, check=False)
            assert done.returncode == 0, done.stdout[-2000:]
            (root / "made").touch()
    return root


def copied(suite, into):
    done = subprocess.run(["cp", "-a", "--reflink=auto", made(suite), into], capture_output=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    return into


@pytest.fixture
def debian(place):
    """debian("bookworm"): a copy of that bare root, which goes with the test."""
    return lambda suite: copied(suite, place / "root")


def inside(root, *argv, env=None, seconds=600):
    """A command in that root, with the machine's network (packages come from a mirror), as root, in mount and process namespaces of its own."""
    script = f'mount --bind /dev "{root}/dev" && mount -t proc proc "{root}/proc" && mount -t tmpfs tmpfs "{root}/run" && exec chroot "{root}" "$@"'
    return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", *map(str, argv)], capture_output=True, timeout=seconds, check=False,
                          env={"PATH": os.defpath + ":/usr/sbin:/sbin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", **(env or {})})


__all__ = ["copied", "debian", "inside", "made"]
