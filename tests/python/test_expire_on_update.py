"""Expire-on-update for programs that know nothing of it: rules in the configuration file of the server."""

import os

import memcache
import pylibmc
import pymemcache
import pytest

from conftest import Server

RULES = """
[[expire_on_update]]
source = "photo:{id}"
derived = ["thumb:{id}:{size}", "page:photo:{id}"]
"""

CLIENTS = {
    "python-memcached": lambda address: memcache.Client([address]),
    "pylibmc": lambda address: pylibmc.Client([address]),
    "pymemcache": lambda address: pymemcache.Client(address, serde=pymemcache.serde.pickle_serde),
}


@pytest.fixture
def server(tmp_path):
    if "MEMCARP" not in os.environ:
        pytest.skip("memcached has no rules")
    file = tmp_path / "memcarp.toml"
    file.write_text(RULES)
    started = Server(tmp_path, ["--config", str(file)])
    yield started
    started.stop()


@pytest.fixture(params=CLIENTS)
def cache(server, request):
    return CLIENTS[request.param](server.address)


class Gallery:
    """What such programs look like: nothing in here was written with expire-on-update in mind."""

    def __init__(self, cache):
        self.cache = cache
        self.files = {}
        self.drawn = []

    def upload(self, number, picture):
        self.files[number] = picture
        self.cache.set(f"photo:{number}", picture)

    def remove(self, number):
        del self.files[number]
        self.cache.delete(f"photo:{number}")

    def photo(self, number):
        picture = self.cache.get(f"photo:{number}")
        if picture is None:
            picture = self.files[number]
            self.cache.add(f"photo:{number}", picture)
        return picture

    def thumbnail(self, number, size):
        key = f"thumb:{number}:{size}"
        small = self.cache.get(key)
        if small is None:
            self.drawn.append(key)
            small = f"{self.photo(number)} in {size}"
            self.cache.set(key, small, 3600)
        return small


def test_a_replaced_picture_takes_its_thumbnails_with_it(cache):
    gallery = Gallery(cache)
    gallery.upload(1, "a cat")
    gallery.upload(2, "a dog")
    for _ in range(3):
        assert gallery.thumbnail(1, "small") == "a cat in small"
        assert gallery.thumbnail(1, "large") == "a cat in large"
        assert gallery.thumbnail(2, "small") == "a dog in small"
    assert gallery.drawn == ["thumb:1:small", "thumb:1:large", "thumb:2:small"]

    gallery.drawn = []
    gallery.upload(1, "a fox")
    for _ in range(3):
        assert gallery.thumbnail(1, "small") == "a fox in small"
        assert gallery.thumbnail(1, "large") == "a fox in large"
        assert gallery.thumbnail(2, "small") == "a dog in small"
    assert gallery.drawn == ["thumb:1:small", "thumb:1:large"]


def test_a_deleted_picture_takes_its_thumbnails_with_it(cache):
    gallery = Gallery(cache)
    gallery.upload(1, "a cat")
    gallery.thumbnail(1, "small")
    gallery.remove(1)
    assert cache.get("thumb:1:small") is None


def test_filling_the_cache_again_changes_nothing(cache):
    gallery = Gallery(cache)
    gallery.upload(1, "a cat")
    assert gallery.thumbnail(1, "small") == "a cat in small"
    cache.add("photo:1", "another")
    assert cache.get("photo:1") == "a cat"
    assert gallery.thumbnail(1, "small") == "a cat in small"
    assert gallery.drawn == ["thumb:1:small"]


def test_many_stored_at_once_follow_the_rules_too(cache):
    wanted = {f"thumb:{number}:small": "x" for number in range(100)}
    assert not cache.set_multi(wanted)
    cache.set("photo:17", "new")
    assert set(cache.get_multi(list(wanted))) == set(wanted) - {"thumb:17:small"}
