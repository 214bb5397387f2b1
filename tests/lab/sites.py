"""Which name lives at which address, and the configuration of dnsmasq and nginx that follows.

Text from tables; nothing here starts or writes anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.lab.network import RESOLVER, address4, address6

STAND_IN_PORT = 4010
"""aimock, or whatever `Lab.up` was given in its place; plain HTTP in the namespace's loopback."""
CONTROL_PORT = 8080
"""Plain HTTP on the resolver's address: aimock's journal, for the tests."""


@dataclass(frozen=True, slots=True)
class Site:
    """A TLS server of the lab; ``number`` is the last part of its two addresses."""

    host: str
    number: int
    ai: bool = True
    """Whether the shipped catalogue has the name."""
    plain: bool = False
    """Answer with PLAIN_TEXT; all others lead to the stand-in for the providers."""
    families: tuple[int, ...] = (4, 6)
    alias: str | None = None
    """Answer with a CNAME to this name, which has the addresses."""


SITES = (
    Site("api.openai.com", 3),
    Site("api.anthropic.com", 4),
    Site("generativelanguage.googleapis.com", 5, alias="edge.lab.test"),
    Site("api.mistral.ai", 6, families=(4,)),
    Site("api.cohere.com", 7, families=(6,)),
    Site("bedrock-runtime.us-east-1.amazonaws.com", 10),
    Site("lab.openai.azure.com", 11),
    Site("openrouter.ai", 12),
    Site("ollama.com", 13),
    Site("us-central1-aiplatform.googleapis.com", 14),
    # the neighbour: another customer of the same front end, so the same address
    Site("www.example.test", 3, ai=False, plain=True),
    # the stranger: an address that no AI service has
    Site("static.example.test", 8, ai=False, plain=True),
    # the stand-in under a name that nobody watches: what a call costs without an agent
    Site("direct.example.test", 9, ai=False),
)

PLAIN_TEXT = "an ordinary site\n"


def dnsmasq_conf(folder: Path) -> str:
    """Return a resolver that knows the lab's sites, says NXDOMAIN to all else, and logs."""
    lines = [
        "no-resolv",
        "no-hosts",
        "no-daemon",
        "bind-interfaces",
        "local=/#/",
        "local-ttl=60",
        f"listen-address={address4(RESOLVER)}",
        f"listen-address={address6(RESOLVER)}",
        "log-queries",
        f"log-facility={folder / 'dnsmasq.log'}",
        f"pid-file={folder / 'dnsmasq.pid'}",
    ]
    for site in SITES:
        texts = {4: address4(site.number), 6: address6(site.number)}
        addresses = ",".join(texts[family] for family in site.families)
        lines.append(f"host-record={site.alias or site.host},{addresses}")
        if site.alias:
            lines.append(f"cname={site.host},{site.alias}")
    return "\n".join(lines) + "\n"


def nginx_conf(folder: Path) -> str:
    """Return a TLS front end for every site; all but the plain ones lead to the stand-in."""
    servers = "\n".join(server(site, folder) for site in SITES)
    return f"""
user root;
worker_processes 1;
error_log {folder}/nginx-error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    client_max_body_size 128m;
    client_body_buffer_size 1m;
    log_format request escape=json '{{"host":"$host","sni":"$ssl_server_name",'
        '"protocol":"$server_protocol","address":"$server_addr","client":"$remote_addr",'
        '"method":"$request_method","uri":"$request_uri","status":$status,'
        '"body":"$request_body"}}';
    map $http_upgrade $connection_header {{ default upgrade; "" ""; }}
    upstream stand_in {{ server 127.0.0.1:{STAND_IN_PORT}; keepalive 64; keepalive_timeout 3s; }}
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_read_timeout 120s;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_header;
    server {{
        listen {address4(RESOLVER)}:{CONTROL_PORT};
        location / {{ proxy_pass http://stand_in; }}
    }}
{servers}
}}
"""


def server(site: Site, folder: Path) -> str:
    text = f"default_type text/plain; return 200 '{PLAIN_TEXT.strip()}\\n';"
    body = text if site.plain else "proxy_pass http://stand_in;"
    v4, v6 = address4(site.number), f"[{address6(site.number)}]"
    return f"""    server {{
        listen {v4}:80; listen {v4}:443 ssl http2; listen {v6}:80; listen {v6}:443 ssl http2;
        server_name {site.host};
        ssl_certificate {folder}/{site.host}.pem;
        ssl_certificate_key {folder}/{site.host}.key;
        access_log {folder}/requests.log request;
        location / {{ {body} }}
    }}"""
