"""Who listens: asked of the kernel, and found among the processes."""

import os
import socket

import pytest

from milecastle.host import holders, namespaces, sockdiag


@pytest.fixture(params=[("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)], ids=["4", "6"])
def listener(request):
    address, family = request.param
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind((address, 0))
        sock.listen()
        yield sock, address


def test_a_socket_that_listens_is_found_with_its_owner(listener):
    sock, address = listener
    port = sock.getsockname()[1]
    (found,) = [one for one in sockdiag.listening() if one.port == port]
    assert (found.address, found.inode) == (address, os.fstat(sock.fileno()).st_ino)
    assert holders([found.inode]).holders == {found.inode: (os.getpid(),)}


def test_a_socket_that_only_connects_is_not_found(listener):
    sock, address = listener
    with socket.create_connection((address, sock.getsockname()[1])) as client:
        mine = client.getsockname()[1]
        assert mine not in {one.port for one in sockdiag.listening()}


def test_loopback_is_no_address_that_others_reach():
    assert not {"127.0.0.1", "::1"} & namespaces.addresses()
