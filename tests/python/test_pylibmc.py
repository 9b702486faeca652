"""pylibmc: libmemcached in C, with its own ways on the wire."""

import threading

import pylibmc
import pytest

from conftest import until

VALUES = ["text", "", "größe – 値", b"\x00\r\n\xff", 0, -17, 2**40, 2.5, True, None, [1, "two"], {"k": (1, 2)}]


@pytest.fixture(params=[{}, {"tcp_nodelay": True, "no_block": True}, {"cas": True}], ids=["plain", "no_block", "cas"])
def client(request, server):
    return pylibmc.Client([server.address], behaviors=request.param)


@pytest.mark.parametrize("value", VALUES)
def test_values_of_every_kind_come_back(client, value):
    assert client.set("key", value)
    assert client.get("key", "missing") == value


def test_storing_on_conditions(client):
    assert client.add("key", "one")
    assert not client.add("key", "two")
    assert client.replace("key", "three")
    assert not client.replace("missing", "x")
    assert client.append("key", "-end")
    assert client.prepend("key", "begin-")
    assert client.get("key") == "begin-three-end"
    assert client.get("missing") is None
    assert "key" in client and "missing" not in client
    client["item"] = "x"
    assert client["item"] == "x"
    del client["item"]
    with pytest.raises(KeyError):
        client["item"]


def test_counting(client):
    client.set("number", 10)
    assert client.incr("number") == 11
    assert client.incr("number", 89) == 100
    assert client.decr("number", 91) == 9
    assert client.get("number") == 9
    with pytest.raises(pylibmc.NotFound):
        client.incr("missing")
    client.set("word", "abc")
    with pytest.raises(pylibmc.Error):
        client.incr("word")
    client.set_multi({"a": 1, "b": 2})
    client.incr_multi(["a", "b"], delta=10)
    assert client.get_multi(["a", "b"]) == {"a": 11, "b": 12}


def test_compare_and_store(server):
    client = pylibmc.Client([server.address], behaviors={"cas": True})
    client.set("key", "first")
    value, cas = client.gets("key")
    assert value == "first"
    assert client.cas("key", "second", cas)
    assert not client.cas("key", "third", cas)
    assert client.get("key") == "second"


def test_many_keys_at_once(client):
    wanted = {f"key-{number}": f"value {number}" for number in range(1000)}
    assert client.set_multi(wanted) == []
    assert client.get_multi(list(wanted) + ["missing"]) == wanted
    assert client.get_multi(["1", "2"], key_prefix="key-") == {"1": "value 1", "2": "value 2"}
    assert client.delete_multi(list(wanted)[:500])
    assert len(client.get_multi(list(wanted))) == 500


def test_expiry_touching_deleting(client):
    client.set("short", "x", time=1)
    client.set("kept", "x", time=1)
    assert client.touch("kept", 1000)
    until(lambda: client.get("short") is None)
    assert client.get("kept") == "x"
    assert client.delete("kept")
    assert not client.delete("kept")
    client.set("key", "x")
    assert client.flush_all()
    assert client.get("key") is None


def test_large_values_and_compression(client):
    compressible = "long " * 400_000
    assert client.set("compressed", compressible, min_compress_len=1000, compress_level=6)
    assert client.get("compressed") == compressible
    large = bytes(range(256)) * 4000
    assert client.set("large", large)
    assert client.get("large") == large
    with pytest.raises(pylibmc.Error):
        client.set("large", b"x" * 1_100_000)
    assert client.set("small", "x")
    assert client.get("small") == "x"


def test_without_replies(server):
    client = pylibmc.Client([server.address], behaviors={"_noreply": True})
    reader = pylibmc.Client([server.address])
    for number in range(500):
        client.set(f"key-{number}", number)
    client.delete("key-0")
    until(lambda: len(reader.get_multi([f"key-{number}" for number in range(500)])) == 499)


def test_statistics(client):
    client.set("key", "x")
    client.get("key")
    [(_, stats)] = client.get_stats()
    assert int(stats["curr_items"]) == 1
    assert client.get_stats("settings")


def test_keys_are_spread_over_servers(two_servers):
    for behaviors in ({"ketama": True}, {"distribution": "consistent", "hash": "md5"}, {}):
        client = pylibmc.Client([server.address for server in two_servers], behaviors=behaviors)
        client.flush_all()
        wanted = {f"key-{number}": number for number in range(200)}
        assert client.set_multi(wanted) == []
        assert client.get_multi(list(wanted)) == wanted

        def counts():
            return [int(stats["curr_items"]) for _, stats in client.get_stats()]

        assert min(counts()) > 0
        # What was flushed is counted until it has been swept.
        until(lambda: sum(counts()) == 200)


def test_threads_share_a_pool(server):
    pool = pylibmc.ThreadMappedPool(pylibmc.Client([server.address]))
    failures = []

    def work(name):
        with pool.reserve() as client:
            for number in range(200):
                key = f"{name}-{number}"
                if not client.set(key, number) or client.get(key) != number:
                    failures.append(key)
        pool.relinquish()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_server_restarts(server):
    client = pylibmc.Client([server.address], behaviors={"retry_timeout": 1})
    client.set("key", "before")
    server.stop()

    def attempt(work):
        try:
            return work()
        except pylibmc.Error:
            return None

    assert attempt(lambda: client.get("key")) is None
    server.start()
    until(lambda: attempt(lambda: client.set("key", "after")))
    assert client.get("key") == "after"
