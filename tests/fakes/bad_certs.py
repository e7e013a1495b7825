#!/usr/bin/env python3
"""Upstream certificates that must not be believed, each wrong in one way, made with the openssl command:  bad_certs.py DIR CA_DIR

CA_DIR holds the trusted root (ca.pem, ca.key of pki.py).  Of each case NAME.pem (chain) and NAME.key are made; it is meant for NAME.bad.test unless HOSTS
says otherwise.  CASES tells what a client must say about it.
"""
import base64
import pathlib
import sys

import pki

HOSTS = {"ip-mismatch": "127.0.0.1", "ip-as-name": "127.0.0.1"}
CASES = {
    "expired": "expired",
    "not-yet-valid": "not yet valid",
    "wrong-name": "mismatch",
    "self-signed": "self.signed",
    "unknown-root": "self.signed certificate in certificate chain|unable to get local issuer",
    "missing-intermediate": "unable to get local issuer",
    "wrong-eku": "purpose",
    "wrong-key-usage": "purpose",
    "sha1": "weak",
    "rsa-1024": "too small|weak",
    "name-constraint": "subtree violation",
    "excluded-name": "subtree violation",
    "excluded-under-wildcard": "excluded subtree violation",
    "excluded-below-under-wildcard": "excluded subtree violation",
    "excluded-by-the-upper": "excluded subtree violation",
    "cn-only": "mismatch",
    "partial-wildcard": "mismatch",
    "deep-wildcard": "mismatch",
    "bare-wildcard": "mismatch",
    "expired-intermediate": "expired",
    "leaf-as-ca": "invalid CA",
    "path-too-long": "path length",
    "critical-unknown": "critical",
    "broken-signature": "signature",
    "ip-mismatch": "IP address mismatch",
    "ip-as-name": "IP address mismatch",
}
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
PAST, FUTURE = ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z"), ("-startdate", "20490101000000Z", "-enddate", "20491231000000Z")
CA = "basicConstraints=critical,CA:TRUE{more}\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
MUST_STAPLE = "tlsfeature=status_request\n"
STAPLES = {  # what a server staples: the signer, or bytes, and what a client must say about it when the certificate (a) does not, (b) does promise a staple
    "good": (None, None),
    "by-responder": (None, None),
    "revoked": ("was revoked on 20.* reason keyCompromise", "was revoked on 20.* reason keyCompromise"),
    "revoked-by-responder": ("was revoked on 20.* reason keyCompromise", "was revoked on 20.* reason keyCompromise"),
    "revoked-long-ago": ("was revoked on 20.* reason keyCompromise", "was revoked on 20.* reason keyCompromise"),
    "unknown": (None, "does not know the certificate"),
    "outdated": (None, "it has expired"),
    "wrong-signer": (None, "it is not signed by the issuer"),
    "no-responder": (None, "it is not signed by the issuer"),
    "other-serial": (None, "it is about another certificate"),
    "garbage": (None, "it is not an OCSP response"),
    "none": (None, "the server sent none"),
}
LEAF = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"


class Maker:
    def __init__(self, where, root):
        self.where = pathlib.Path(where).resolve()
        (self.where / "issued").mkdir(parents=True, exist_ok=True)
        (self.where / "pki.cnf").write_text(pki.CONFIG.format(dir=self.where))
        (self.where / "index.txt").write_text("")
        for end in ("pem", "key"):
            (self.where / f"root.{end}").write_bytes((pathlib.Path(root) / f"ca.{end}").read_bytes())

    def root(self, name):
        pki.openssl("req", "-x509", "-config", "pki.cnf", "-extensions", "root", *EC, "-nodes", "-days", "30", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                    "-subj", f"/CN={name}", cwd=self.where)

    def issue(self, name, issuer, extensions, dates=("-days", "20"), key=EC, md="sha256", subject=None):
        """NAME.crt alone."""
        (self.where / f"{name}.ext").write_text(extensions)
        pki.openssl("req", "-new", "-config", "pki.cnf", *key, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject or name}", cwd=self.where)
        pki.openssl("ca", "-batch", "-config", "pki.cnf", "-cert", f"{issuer}.pem" if issuer in ("root", "stranger") else f"{issuer}.crt", "-keyfile", f"{issuer}.key",
                    "-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", f"{name}.ext", "-notext", "-md", md, *dates, cwd=self.where)

    def intermediate(self, name, more="", issuer="root", extra="", **kw):
        self.issue(name, issuer, CA.format(more=more) + extra, **kw)

    def leaf(self, name, issuer="root", san=None, chain=(), extensions=LEAF, **kw):
        san = san if san is not None else f"DNS:{name}.bad.test"
        self.issue(name, issuer, extensions + (f"subjectAltName={san}\n" if san else ""), **kw)
        parts = [f"{name}.crt", *chain]
        (self.where / f"{name}.pem").write_bytes(b"".join((self.where / part).read_bytes() for part in parts))


def make(where, root):
    m = Maker(where, root)
    m.leaf("expired", dates=PAST)
    m.leaf("not-yet-valid", dates=FUTURE)
    m.leaf("wrong-name", san="DNS:another.bad.test,DNS:bad.test")
    m.root("self-signed")
    m.root("stranger")
    m.leaf("unknown-root", "stranger", chain=("stranger.pem",))
    m.intermediate("middle")
    m.leaf("missing-intermediate", "middle")
    m.leaf("wrong-eku", extensions=LEAF.replace("serverAuth", "clientAuth"))
    m.leaf("wrong-key-usage", extensions=LEAF.replace("digitalSignature", "cRLSign"))
    m.leaf("sha1", md="sha1")
    m.leaf("rsa-1024", key=("-newkey", "rsa:1024"))
    m.intermediate("narrow", extra="nameConstraints=critical,permitted;DNS:elsewhere.test\n")
    m.leaf("name-constraint", "narrow", chain=("narrow.crt",))
    m.intermediate("without", extra="nameConstraints=critical,excluded;DNS:bad.test\n")
    m.leaf("excluded-name", "without", chain=("without.crt",))
    m.intermediate("without-one", extra="nameConstraints=critical,excluded;DNS:excluded-under-wildcard.bad.test\n")
    m.leaf("excluded-under-wildcard", "without-one", san="DNS:*.bad.test", chain=("without-one.crt",))
    m.intermediate("without-below", extra="nameConstraints=critical,excluded;DNS:Excluded-Below-Under-Wildcard.Bad.Test,excluded;DNS:x.test\n")
    m.leaf("excluded-below-under-wildcard", "without-below", san="DNS:*.bad.test", chain=("without-below.crt",))
    m.intermediate("upper", extra="nameConstraints=critical,excluded;DNS:excluded-by-the-upper.bad.test,permitted;DNS:bad.test\n")
    m.intermediate("lower", issuer="upper")
    m.leaf("excluded-by-the-upper", "lower", san="DNS:*.bad.test", chain=("lower.crt", "upper.crt"))
    m.leaf("permitted-under-wildcard", "lower", san="DNS:*.bad.test", chain=("lower.crt", "upper.crt"))
    m.leaf("with_underscore", san="DNS:*.bad.test")
    m.leaf("cn-only", san="", subject="cn-only.bad.test")
    m.leaf("partial-wildcard", san="DNS:partial-*.bad.test,DNS:*-wildcard.bad.test")
    m.leaf("deep-wildcard", san="DNS:*.test,DNS:*.*.test")
    m.leaf("bare-wildcard", san="DNS:*")
    m.intermediate("old", dates=PAST)
    m.leaf("expired-intermediate", "old", chain=("old.crt",))
    m.issue("no-ca", "root", LEAF)
    m.leaf("leaf-as-ca", "no-ca", chain=("no-ca.crt",))
    m.intermediate("short", more=",pathlen:0")
    m.intermediate("below", issuer="short")
    m.leaf("path-too-long", "below", chain=("below.crt", "short.crt"))
    m.leaf("critical-unknown", extensions=LEAF + "1.3.6.1.4.1.99999.1=critical,ASN1:NULL\n")
    m.leaf("broken-signature")
    spoil(m.where / "broken-signature.pem")
    m.leaf("ip-mismatch", san="IP:127.0.0.2,DNS:localhost")
    m.leaf("ip-as-name", san="DNS:127.0.0.1")
    m.leaf("client", extensions=LEAF.replace("serverAuth", "clientAuth"), san="DNS:client.bad.test")
    m.leaf("through", "middle", chain=("middle.crt",))
    m.leaf("private", "stranger")
    return m.where


class Stapler:
    """OCSP responses of the trusted root, made with the openssl command: for each case PREFIX-NAME.ocsp (none of "none")."""

    def __init__(self, maker):
        self.m = maker
        for name, eku in (("responder", "OCSPSigning"), ("no-responder", "serverAuth")):
            maker.issue(name, "root", LEAF.replace("serverAuth", eku))

    def respond(self, name, cert, status="V", signer="root", at=None):
        """One response about cert, signed now, or at a day of faketime's, valid for a day."""
        m = self.m
        serial = pki.output("x509", "-in", f"{cert}.crt", "-noout", "-serial", cwd=m.where).strip().split("=")[1]
        revoked = "260101000000Z,keyCompromise" if status == "R" else ""
        (m.where / f"{name}.index").write_text("" if status == "U" else f"{status}\t490101000000Z\t{revoked}\t{serial}\tunknown\t/CN={cert}\n")
        ca, signer = "root.pem", f"{signer}.pem" if signer == "root" else f"{signer}.crt"
        pki.openssl("ocsp", "-issuer", ca, "-cert", f"{cert}.crt", "-reqout", f"{name}.req", "-no_nonce", cwd=m.where)
        pki.openssl("ocsp", "-index", f"{name}.index", "-CA", ca, "-rsigner", signer, "-rkey", signer.rsplit(".", 1)[0] + ".key", "-reqin", f"{name}.req",
                    "-respout", f"{name}.ocsp", "-ndays", "1", cwd=m.where, at=at)

    def make(self, prefix):
        """All responses about PREFIX.crt."""
        other = "good-for-another"
        if not (self.m.where / f"{other}.crt").exists():
            self.m.leaf(other)
        at = "2025-01-01 00:00:00"
        for name, how in {"good": {}, "by-responder": {"signer": "responder"}, "revoked": {"status": "R"}, "revoked-by-responder": {"status": "R", "signer": "responder"},
                          "revoked-long-ago": {"status": "R", "at": at}, "unknown": {"status": "U"}, "outdated": {"at": at}, "no-responder": {"signer": "no-responder"},
                          "wrong-signer": {"signer": "stranger"}}.items():
            self.respond(f"{prefix}-{name}", prefix, **how)
        self.respond(f"{prefix}-other-serial", other)
        garbage = b"no BasicOCSPResponse at all" + bytes(range(40))
        for tag in (b"\x04", b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01", b"\x30", b"\xa0", b"\x0a\x01\x00", b"\x30"):  # RFC 6960 §4.2.1, or the server sends nothing
            garbage = tag + garbage if len(tag) > 1 else tag + bytes([len(garbage)]) + garbage
        (self.m.where / f"{prefix}-garbage.ocsp").write_bytes(garbage)


def make_staples(where, root):
    """plain and promising (must-staple), both for *.staple.test, and what may be stapled to them."""
    m = Maker(where, root)
    m.root("stranger")
    (m.where / "stranger.crt").write_bytes((m.where / "stranger.pem").read_bytes())
    m.leaf("plain", san="DNS:*.staple.test")
    m.leaf("promising", san="DNS:*.staple.test", extensions=LEAF + MUST_STAPLE)
    stapler = Stapler(m)
    for prefix in ("plain", "promising"):
        stapler.make(prefix)
    return m.where


def spoil(path):
    """Another signature of the same length: the last bytes of the DER."""
    lines = path.read_text().splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[-1] ^= 1
    path.write_text("\n".join([lines[0], *[base64.b64encode(der[i:i + 48]).decode() for i in range(0, len(der), 48)], lines[-1], ""]))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: bad_certs.py DIR CA_DIR")
    make(sys.argv[1], sys.argv[2])
