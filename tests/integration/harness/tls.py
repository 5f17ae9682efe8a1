"""Certificates for tests, made by the openssl program once per session, and TLS clients that are easy to break."""
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

OPENSSL = shutil.which("openssl")


def openssl(*words, **more):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, timeout=120, **more)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Authority:
    """A root that signs servers and clients. `pair(name, ...)` -> paths of certificate and key."""

    def __init__(self, directory=None, name="Test Root"):
        self.directory = Path(directory or tempfile.mkdtemp(prefix="barkeep-ca-"))
        self.key, self.certificate = self.directory / "ca-key.pem", self.directory / "ca.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                "-out", self.certificate, "-days", 30, "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")

    def pair(self, label, names=("localhost", "127.0.0.1"), days=30, subject=None, rsa=False):
        certificate, key = self.directory / f"{label}.pem", self.directory / f"{label}-key.pem"
        request, extensions = self.directory / f"{label}.csr", self.directory / f"{label}.ext"
        how = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", "-newkey", *how, "-nodes", "-keyout", key, "-out", request, "-subj", subject or f"/CN={names[0]}")
        listed = ",".join(f"IP:{name}" if name[0].isdigit() else f"DNS:{name}" for name in names)
        extensions.write_text(f"subjectAltName={listed}\n")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-out", certificate,
                "-days", days, "-extfile", extensions, "-CAcreateserial")
        return certificate, key

    def client(self, pair=None, version=None, alpn=None):
        """A context that trusts this root."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # older Pythons take a cut for an end
        if pair:
            context.load_cert_chain(*pair)
        if version:
            context.minimum_version = context.maximum_version = version
        if alpn:
            context.set_alpn_protocols(alpn)
        return context


def trusting():
    """A context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
