#!/usr/bin/env python3
"""skips: which tests may be left out, where, and why.  A skip that stands in no row, or whose row does not hold here, is a failure.

As a program: reads "NAME<tab>REASON" lines, prints "REASON: NAME" for those that are allowed and exits with 1 when one is not.
"""
import functools
import os
import platform
import re
import shutil
import socket
import subprocess
import sys


def no_ipv6():
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return True
    return False


def no_user_namespaces():
    return subprocess.run(["unshare", "-U", "true"], capture_output=True, check=False).returncode != 0


def no_mounts():
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0


def no_host_named():
    try:
        with open("/etc/hosts", encoding="utf-8") as hosts:
            rows = [line.split() for line in hosts if line.strip() and not line.startswith("#")]
    except OSError:
        return True
    return all("local" in row[1] or "ip6" in row[1] for row in rows if len(row) > 1)


def no_own_name():
    try:
        socket.getaddrinfo(socket.gethostname(), 443)
    except OSError:
        return True
    return False


def not_offered(package):
    """No release here has it, and so tests/tools/deps could not install it."""
    return lambda: not shutil.which("apt-cache") or subprocess.run(["apt-cache", "show", package], capture_output=True, check=False).returncode != 0


def no_memory_cgroup():
    return not os.access("/sys/fs/cgroup/memory/cgroup.procs", os.W_OK)


def no_history():
    return subprocess.run(["git", "cat-file", "-e", "46df1c4^{commit}"], cwd=os.path.dirname(__file__), capture_output=True, check=False).returncode != 0


# (name of the test, when it may be skipped, what the closing lines say)
ROWS = [
    (r"test_listen_unix.*a_group_that_may_not_be_given_leaves_nothing_behind", lambda: os.geteuid() == 0, "root may give any group"),
    (r"test_state.*", lambda: "asan" in os.environ.get("BUILD", ""), "a sanitizer forbids to look at freed memory"),
    (r"ipv6|IPv6|loopback_needs_no_allow_http|ip_literal|::1|has_no_::1", no_ipv6, "this machine has no IPv6"),
    (r"the_hosts_file_comes_before", no_host_named, "this machine's /etc/hosts names no host"),
    (r"does not know its own name", no_own_name, "this machine does not know its own name"),
    *((rf"there is no package {package}$", not_offered(package), f"this release has no package {package}")
      for package in ("python3-authlib", "python3-django-oauth-toolkit", "nutcracker", "glewlwyd")),
    (r"there is no kustomize", not_offered("kustomize"), "this release has no kustomize"),
    (r"there is no Node \d+$", lambda: platform.machine() != "x86_64", "npm has no newer Node for this processor"),
    (r"namespace", no_user_namespaces, "this machine has no user namespaces"),
    (r"mount", no_mounts, "this machine allows no mounts"),
    (r"memory cgroup", no_memory_cgroup, "no memory cgroup of version 1 can be made here"),
    (r"test_versions", no_history, "the history of this copy does not reach back to the first release"),
    (r"root|becomes other users", lambda: os.geteuid() != 0, "needs root"),
]


@functools.lru_cache(None)
def holds(row):
    return ROWS[row][1]()


def allowed(name, reason):
    """What the closing lines say of this skip, or None: it must not be."""
    text = f"{name}: {reason}"
    return next((why for n, (pattern, _, why) in enumerate(ROWS) if re.search(pattern, text) and holds(n)), None)


def main():
    bad = 0
    for line in sys.stdin:
        name, _, reason = line.rstrip("\n").partition("\t")
        why = allowed(name, reason)
        bad += why is None
        print(f"{why or 'UNEXPECTED'}: {name}")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
