"""python-memcached: the client of the article on caching thumbnails."""

import memcache
import pytest

from conftest import until

VALUES = ["text", "", "größer als – 値", b"bytes \x00\r\n\xff", 0, 17, -3, 2**70, 1.5, True, None, [1, "two"], {"k": (1, 2)}]


@pytest.fixture
def client(server):
    opened = memcache.Client([server.address], cache_cas=True, socket_timeout=10)
    yield opened
    opened.disconnect_all()


@pytest.mark.parametrize("value", VALUES)
def test_values_of_every_kind_come_back(client, value):
    assert client.set("key", value)
    back = client.get("key")
    assert back == value and type(back) is type(value)


def test_storing_on_conditions(client):
    assert client.add("key", "one")
    assert not client.add("key", "two")
    assert client.replace("key", "three")
    assert not client.replace("missing", "x")
    assert client.append("key", "-end")
    assert client.prepend("key", "begin-")
    assert not client.append("missing", "x")
    assert client.get("key") == "begin-three-end"
    assert client.get("missing") is None
    assert client.get("missing", "default") == "default"


def test_counting(client):
    assert client.set("number", 10)
    assert client.incr("number") == 11
    assert client.incr("number", 89) == 100
    # Padded to its old length, and still a number.
    assert client.decr("number", 91) == 9
    assert client.get("number") == 9
    assert client.decr("number", 1000) == 0
    assert client.incr("missing") is None


def test_compare_and_store(client, server):
    other = memcache.Client([server.address], cache_cas=True)
    assert client.set("key", "first")
    assert client.gets("key") == "first"
    assert other.set("key", "second")
    assert not client.cas("key", "third")
    assert client.get("key") == "second"
    assert client.gets("key") == "second"
    assert client.cas("key", "third")
    assert other.get("key") == "third"


def test_many_keys_at_once(client):
    wanted = {f"key-{number}": f"value {number}" for number in range(1000)}
    assert client.set_multi(wanted) == []
    assert client.get_multi(list(wanted) + ["missing"]) == wanted
    assert client.get_multi(["1", "2"], key_prefix="key-") == {"1": "value 1", "2": "value 2"}
    assert client.delete_multi(list(wanted)[:500])
    assert len(client.get_multi(list(wanted))) == 500


def test_expiry_and_touch(client):
    assert client.set("gone", "x", time=-1)
    assert client.get("gone") is None
    assert client.set("short", "x", time=1)
    assert client.set("kept", "x", time=1)
    assert client.touch("kept", 1000)
    until(lambda: client.get("short") is None)
    assert client.get("kept") == "x"
    assert not client.touch("missing", 1)


def test_deleting_and_flushing(client):
    assert client.set("key", "x")
    assert client.delete("key")
    assert client.get("key") is None
    assert not client.delete("key")
    assert client.set("key", "x", noreply=True)
    assert client.get("key") == "x"
    assert client.delete("key", noreply=True)
    assert client.get("key") is None
    assert client.set("key", "x")
    client.flush_all()
    assert client.get("key") is None


def test_large_values_and_compression(server):
    client = memcache.Client([server.address], server_max_value_length=1024 * 1024)
    compressible = "long " * 400_000
    assert client.set("compressed", compressible, min_compress_len=1000)
    assert client.get("compressed") == compressible
    just_below = bytes(range(256)) * 4000
    assert client.set("large", just_below)
    assert client.get("large") == just_below
    # The server refuses what is too large, and goes on.
    unlimited = memcache.Client([server.address], server_max_value_length=0)
    assert not unlimited.set("large", b"x" * 1_100_000)
    assert unlimited.get("large") is None
    assert unlimited.set("small", "x") and unlimited.get("small") == "x"


def test_statistics(client, server):
    client.set("key", "x")
    client.get("key")
    [(name, stats)] = client.get_stats()
    assert str(server.port) in name
    assert stats["curr_items"] == "1" and stats["get_hits"] == "1"
    [(_, settings)] = client.get_stats("settings")
    assert settings["maxbytes"] == "67108864"
    [(_, items)] = client.get_stats("items")
    assert [number for name, number in items.items() if name.endswith(":number")] == ["1"]


def test_keys_are_spread_over_servers(two_servers):
    client = memcache.Client([server.address for server in two_servers])
    wanted = {f"key-{number}": number for number in range(200)}
    assert client.set_multi(wanted) == []
    assert client.get_multi(wanted) == wanted
    counts = [int(stats["curr_items"]) for _, stats in client.get_stats()]
    assert sum(counts) == 200 and min(counts) > 0


def test_the_server_restarts(server):
    client = memcache.Client([server.address], dead_retry=0)
    assert client.set("key", "before")
    server.stop()
    assert client.get("key") is None
    server.start()
    until(lambda: client.set("key", "after"))
    assert client.get("key") == "after"
