#!/usr/bin/env python3
"""A private CA and the certificates of the test API, made with the openssl command:  pki.py DIR

ca.pem       the CA (nothing else in the tests trusts it by itself)
good.pem     sidekey.test and *.sidekey.test, 127.0.0.1     expired.pem  for expired.sidekey.test, but of the last century's kind
wrong.pem    for another name                               selfsigned.pem  for selfsigned.sidekey.test, by nobody
Each NAME.pem (with its chain) has a NAME.key beside it.
"""
import datetime
import pathlib
import subprocess
import sys

def day(n):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=n)).strftime("%Y%m%d%H%M%SZ")


MADE, ENDS = day(-10), day(30)  # as those of real servers, they are some days old: a clock that is behind can still verify them

CONFIG = """
[ca]
default_ca = one
[one]
dir = {dir}
database = {dir}/index.txt
new_certs_dir = {dir}/issued
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
x509_extensions = leaf
[any]
commonName = optional
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[req]
distinguished_name = dn
prompt = no
[dn]
CN = sidekey tests
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""


def output(*args, cwd, at=None):
    """What openssl prints; at: the time that faketime shows it."""
    done = subprocess.run([*(["faketime", at] if at else []), "openssl", *args], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"openssl {' '.join(args)}:\n{done.stderr}")
    return done.stdout


def openssl(*args, cwd, at=None):
    output(*args, cwd=cwd, at=at)


def names(*hosts):
    return "subjectAltName=" + ",".join(("IP:" if h[0].isdigit() else "DNS:") + h for h in hosts)


def leaf(where, name, hosts, start=None, end=None):
    openssl("req", "-new", "-config", "pki.cnf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={hosts[0]}", "-addext", names(*hosts), cwd=where)
    dates = ["-startdate", start or MADE, "-enddate", end or ENDS]
    openssl("ca", "-batch", "-config", "pki.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", f"{name}.csr",
            "-out", f"{name}.leaf", "-notext", *dates, cwd=where)
    (where / f"{name}.pem").write_bytes((where / f"{name}.leaf").read_bytes() + (where / "ca.pem").read_bytes())


def make(where):
    where = pathlib.Path(where).resolve()
    (where / "issued").mkdir(parents=True, exist_ok=True)
    (where / "pki.cnf").write_text(CONFIG.format(dir=where))
    (where / "index.txt").write_text("")
    openssl("req", "-new", "-config", "pki.cnf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", "ca.key", "-out", "ca.csr", "-subj", "/CN=sidekey tests CA", cwd=where)
    openssl("ca", "-batch", "-selfsign", "-config", "pki.cnf", "-extensions", "root", "-keyfile", "ca.key", "-in", "ca.csr", "-out", "ca.pem", "-notext",
            "-startdate", MADE, "-enddate", ENDS, cwd=where)
    leaf(where, "good", ["sidekey.test", "*.sidekey.test", "localhost", "127.0.0.1"])
    leaf(where, "wrong", ["elsewhere.example.test"])
    leaf(where, "expired", ["expired.sidekey.test"], "20200101000000Z", "20200201000000Z")
    openssl("req", "-x509", "-config", "pki.cnf", "-extensions", "leaf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "30", "-keyout", "selfsigned.key", "-out", "selfsigned.pem", "-subj", "/CN=selfsigned.sidekey.test",
            "-addext", names("selfsigned.sidekey.test"), cwd=where)
    return where


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: pki.py DIR")
    make(sys.argv[1])
