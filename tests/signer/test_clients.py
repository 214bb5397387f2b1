"""Clients with TLS stacks of their own accept the whole catalogue's chain, and no foreign name."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from milecastle.catalogue import shipped
from milecastle.signer.authority import Places, create, pem, private_key
from milecastle.signer.leaf import Issuer, issue

FOREIGN = "bank.example"
NAMES = ("api.openai.com", "bedrock-runtime.us-east-1.amazonaws.com", FOREIGN)


class Site:
    """A TLS server on loopback that has a leaf for each name, foreign ones too."""

    def __init__(self, folder: Path, key: ec.EllipticCurvePrivateKey) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        made = create(shipped().domains(), folder, host="testhost", now=now, owner=None)
        issuer = Issuer(made.intermediate, private_key(Places(folder).key))
        self.root = Places(folder).root
        self.folder = folder
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (folder / "leaf.key").write_bytes(secret)
        self.contexts = {}
        for number, name in enumerate(NAMES):
            leaf = issue(name, key.public_key(), issuer, now=now, serial=number + 1)
            chain = folder / f"{name}.pem"
            chain.write_bytes(pem(leaf) + pem(made.intermediate))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain, folder / "leaf.key")
            self.contexts[name] = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.default = self.contexts[NAMES[0]]
        self.default.sni_callback = self.choose
        threading.Thread(target=self.serve, daemon=True).start()

    def choose(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        tls.context = self.contexts[name or NAMES[0]]

    def serve(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = self.listener.accept()
                connection.settimeout(10)
                with suppress(OSError), self.default.wrap_socket(connection, True) as tls:
                    tls.recv(4096)
                    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngate")
                    tls.unwrap()  # closing with its last words unread would reset the connection


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, worker_key: ec.EllipticCurvePrivateKey
) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), worker_key)
    yield site
    site.listener.close()


def curl(site: Site, name: str) -> list[str]:
    resolve = f"{name}:{site.port}:127.0.0.1"
    tail = ["--cacert", str(site.root), "--resolve", resolve, f"https://{name}:{site.port}/"]
    return ["curl", "--disable", "--noproxy", "*", "--silent", "--show-error", *tail]


NODE = """
const [name, port, ca] = process.argv.slice(1);
const options = {host: "127.0.0.1", port, servername: name, ca: require("fs").readFileSync(ca)};
const tls = require("tls").connect(options, () => tls.end("GET / HTTP/1.0\\r\\n\\r\\n"));
tls.on("data", data => process.stdout.write(data));
tls.on("error", error => { console.error(error.message); process.exit(1); });
"""


def node(site: Site, name: str) -> list[str]:
    return ["node", "-e", NODE, name, str(site.port), str(site.root)]


JAVA = """
import java.io.*; import java.net.*; import java.nio.file.*; import java.security.*;
import java.security.cert.*; import javax.net.ssl.*;
public class Visit {
  public static void main(String[] a) throws Exception {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (InputStream in = Files.newInputStream(Path.of(a[2]))) {
      CertificateFactory factory = CertificateFactory.getInstance("X.509");
      store.setCertificateEntry("root", factory.generateCertificate(in));
    }
    TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
    trust.init(store);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    Socket plain = new Socket("127.0.0.1", Integer.parseInt(a[1]));
    SSLSocket tls = (SSLSocket) context.getSocketFactory().createSocket(plain, a[0], 443, true);
    SSLParameters parameters = tls.getSSLParameters();
    parameters.setEndpointIdentificationAlgorithm("HTTPS");
    tls.setSSLParameters(parameters);
    tls.getOutputStream().write("GET / HTTP/1.0\\r\\n\\r\\n".getBytes());
    System.out.write(tls.getInputStream().readAllBytes());
    System.out.flush();
  }
}
"""


def java(site: Site, name: str) -> list[str]:
    source = site.folder / "Visit.java"
    source.write_text(JAVA)
    return ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", str(source), name, str(site.port),
            str(site.root)]  # fmt: skip


CLIENTS = [curl, node, java]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_a_client_takes_catalogue_names_and_refuses_a_foreign_one(
    site: Site, client: Callable[[Site, str], list[str]], name: str
) -> None:
    if shutil.which(client.__name__) is None:
        pytest.skip(f"{client.__name__} is not installed")
    done = subprocess.run(
        client(site, name), capture_output=True, text=True, timeout=60, check=False
    )
    if name == FOREIGN:
        assert done.returncode != 0
        assert "gate" not in done.stdout
    else:
        assert done.stdout.endswith("gate"), done.stderr
