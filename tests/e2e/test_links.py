"""The link between a worker and the keeper breaks, or somebody else speaks through it, while both processes live."""
import ctypes
import os
import re
import socket
import subprocess

import pytest
from harness import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a descriptor out of another process")
PIDFD_OPEN, PIDFD_GETFD = 434, 438
LIBC = ctypes.CDLL(None, use_errno=True)


def links_of(pid):
    """The process's own ends of its links."""
    pidfd = LIBC.syscall(PIDFD_OPEN, pid, 0)
    found = []
    for number in sorted(map(int, os.listdir(f"/proc/{pid}/fd"))):
        fd = LIBC.syscall(PIDFD_GETFD, pidfd, number, 0)
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            continue
        if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_SEQPACKET:
            found.append(sock)
        else:
            sock.close()
    os.close(pidfd)
    return found


def keeper_link(sidekey):
    """The worker's end of its link to the keeper: the one whose other end the keeper has, as ss lists the pairs."""
    pairs = dict(re.findall(r"^u_seq.*?\s(\d+)\s+\S+\s+(\d+)\s*$", subprocess.run(["ss", "-xanH"], capture_output=True, text=True, check=True).stdout, re.M))
    held = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{sidekey.child('keeper')}/fd")}
    found = None
    for sock in links_of(sidekey.child("worker")):
        if f"socket:[{pairs.get(str(os.fstat(sock.fileno()).st_ino))}]" in held:
            found = sock
        else:
            sock.close()
    return found


def said(sidekey):
    return b"".join(sidekey.logs().values()).decode()


def test_a_link_that_breaks_while_both_live_is_made_again(sidekey):
    before = sidekey.children()
    assert sidekey.request()[0] == 200
    for turn in range(1, 4):
        link = keeper_link(sidekey)
        link.shutdown(socket.SHUT_RDWR)
        link.close()
        until("the loss is reported", lambda: said(sidekey).count("a worker lost its link to the keeper") == turn)
        until("the keeper answers again", lambda: sidekey.get_admin("/readyz")[0] == 200)
        assert sidekey.get_admin("/livez") == (200, "ok\n")
    assert sidekey.request()[0] == 200
    assert sidekey.children() == before


def test_a_worker_that_sends_garbage_loses_its_link_and_fills_no_log(sidekey):
    before = sidekey.children()
    lines = said(sidekey).count("\n")
    for _ in range(3):
        link = keeper_link(sidekey)
        try:
            for _ in range(2000):
                link.send(b"\xffgarbage")
        except OSError:
            pass
        link.close()
        until("the keeper answers again", lambda: sidekey.get_admin("/readyz")[0] == 200)
    assert "the keeper closes its link" in said(sidekey)
    assert said(sidekey).count("\n") - lines < 40
    assert sidekey.children() == before and sidekey.request()[0] == 200
