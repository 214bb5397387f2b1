"""A network of its own for end-to-end tests: real clients, real TLS, a stand-in for the providers.

The lab is one network namespace on a veth pair. Inside it dnsmasq answers for the names of AI
services, and nginx ends TLS (certificates of a lab CA, HTTP/1.1 and HTTP/2) in front of aimock, a
third party's imitation of the providers; its journal is the witness of what upstream received.
Clients run in the root network namespace, in a cgroup made for the run, and resolve names
through the lab. Nothing here knows how milecastle works; ``agent.py`` starts it as an operator
would.

    python -m tests.lab           bring it up and wait
    python -m tests.lab --demo    real clients through the agent, then the session list
"""

from tests.lab.agent import Agent
from tests.lab.lab import Lab
from tests.lab.requirements import missing

__all__ = ["Agent", "Lab", "missing"]
