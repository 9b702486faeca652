"""pymemcache: plain, pooled and hashing clients."""

import threading

import pytest
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError, MemcacheUnexpectedCloseError
from pymemcache.serde import CompressedSerde, pickle_serde

from conftest import until


@pytest.fixture(params=[Client, PooledClient])
def client(request, server):
    opened = request.param(("127.0.0.1", server.port), connect_timeout=10, timeout=10)
    yield opened
    opened.close()


def test_storing_on_conditions(client):
    assert client.set("key", b"one", noreply=False)
    assert client.get("key") == b"one"
    assert client.add("key", b"x", noreply=False) is False
    assert client.add("new", b"two", noreply=False) is True
    assert client.replace("key", b"three", noreply=False) is True
    assert client.replace("missing", b"x", noreply=False) is False
    assert client.append("key", b"-end", noreply=False) is True
    assert client.prepend("key", b"begin-", noreply=False) is True
    assert client.get("key") == b"begin-three-end"
    assert client.get("missing", default=b"?") == b"?"


def test_without_replies_the_order_is_kept(client):
    for number in range(500):
        client.set("key", str(number), noreply=True)
    assert client.get("key") == b"499"
    client.delete("key", noreply=True)
    client.incr("key", 1, noreply=True)
    client.touch("key", 1, noreply=True)
    client.append("key", b"x", noreply=True)
    assert client.get("key") is None
    # It asks for silence of itself when not told otherwise.
    client.set("quiet", b"x")
    assert client.get("quiet") == b"x"


def test_compare_and_store(client):
    client.set("key", b"first", noreply=False)
    value, cas = client.gets("key")
    assert value == b"first"
    assert client.cas("key", b"second", cas, noreply=False) is True
    assert client.cas("key", b"third", cas, noreply=False) is False
    assert client.cas("missing", b"x", cas, noreply=False) is None
    many = client.gets_many(["key", "missing"])
    assert list(many) == ["key"] and many["key"][0] == b"second"


def test_counting_touching_deleting(client):
    client.set("number", b"10", noreply=False)
    assert client.incr("number", 5, noreply=False) == 15
    assert client.decr("number", 100, noreply=False) == 0
    assert client.incr("missing", 1, noreply=False) is None
    client.set("word", b"abc", noreply=False)
    with pytest.raises(MemcacheClientError):
        client.incr("word", 1, noreply=False)
    client.set("word", b"abc", noreply=False)
    assert client.touch("word", 100, noreply=False) is True
    assert client.touch("missing", 100, noreply=False) is False
    assert client.delete("word", noreply=False) is True
    assert client.delete("word", noreply=False) is False


def test_many_keys_at_once(client):
    wanted = {f"key-{number}": b"value %d" % number for number in range(2000)}
    assert client.set_many(wanted, noreply=False) == []
    assert client.get_many(list(wanted) + ["missing"]) == wanted
    assert client.delete_many(list(wanted), noreply=False)
    assert client.get_many(list(wanted)) == {}


def test_unicode_and_binary(server):
    client = Client(("127.0.0.1", server.port), allow_unicode_keys=True, encoding="utf-8")
    assert client.set("schlüssel-鍵", "größe", noreply=False)
    assert client.get("schlüssel-鍵") == "größe".encode()
    binary = bytes(range(256)) * 100
    assert client.set("binary", binary, noreply=False)
    assert client.get("binary") == binary


def test_objects_and_compression(server):
    client = Client(("127.0.0.1", server.port), serde=CompressedSerde(serde=pickle_serde, min_compress_len=100))
    value = {"list": list(range(5000)), "text": "long " * 10_000, "none": None}
    assert client.set("object", value, noreply=False)
    assert client.get("object") == value


def test_what_is_too_large_is_refused_and_the_server_goes_on(client):
    with pytest.raises(MemcacheServerError):
        client.set("key", b"x" * 1_100_000, noreply=False)
    assert client.set("key", b"x" * 1_000_000, noreply=False)
    assert client.get("key") == b"x" * 1_000_000


def test_expiry(client):
    client.set("gone", b"x", expire=-1, noreply=False)
    assert client.get("gone") is None
    client.set("short", b"x", expire=1, noreply=False)
    until(lambda: client.get("short") is None)


def test_looking_after_the_server(client):
    assert client.version().startswith(b"1.6.")
    client.set("key", b"x", noreply=False)
    assert client.stats()[b"curr_items"] == 1
    assert client.stats("settings")[b"maxbytes"] == 67108864
    assert client.flush_all(noreply=False)
    assert client.get("key") is None


def test_commands_of_ones_own(server):
    client = Client(("127.0.0.1", server.port))
    assert client.raw_command("verbosity 0") == b"OK"
    assert client.raw_command("mg missing v") == b"EN"
    assert client.raw_command("mn") == b"MN"


def test_threads_share_a_pool(server):
    client = PooledClient(("127.0.0.1", server.port), max_pool_size=8)
    client.set("total", b"0", noreply=False)
    failures = []

    def work(name):
        for number in range(200):
            key = f"{name}-{number}"
            if not client.set(key, key, noreply=False) or client.get(key) != key.encode():
                failures.append(key)
            client.incr("total", 1, noreply=False)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert client.get("total") == b"1600"


def test_keys_are_spread_over_servers(two_servers):
    client = HashClient([("127.0.0.1", server.port) for server in two_servers])
    wanted = {f"key-{number}": b"%d" % number for number in range(200)}
    assert client.set_many(wanted, noreply=False) == []
    assert client.get_many(list(wanted)) == wanted
    counts = [Client(("127.0.0.1", server.port)).stats()[b"curr_items"] for server in two_servers]
    assert sum(counts) == 200 and min(counts) > 0


def test_the_server_restarts(server):
    plain = Client(("127.0.0.1", server.port), timeout=10)
    plain.set("key", b"before", noreply=False)
    server.stop()
    with pytest.raises((MemcacheUnexpectedCloseError, OSError)):
        plain.get("key")
    server.start()
    retrying = RetryingClient(plain, attempts=3, retry_for=[OSError, MemcacheUnexpectedCloseError])
    assert retrying.get("key") is None
    assert retrying.set("key", b"after", noreply=False)
    assert retrying.get("key") == b"after"
