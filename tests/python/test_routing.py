"""The client crate's default routing function, written anew from client/docs/routing.md, against the published vectors.

`python3 test_routing.py` prints the vectors anew, from the members and keys that are there.
"""

from pathlib import Path

import xxhash

VECTORS = Path(__file__).parents[2] / "client/tests/data/carp-v2.tsv"
HEADER = "# set\tname*weight,...\trouted bytes in hex\toffset\tfactor\tranking\tscores"


def key_numbers(routed):
    hash = xxhash.xxh3_64_intdigest(routed)
    product = hash * 0x9E3779B97F4A7C15 % 2**64
    return hash // 4096, ((product % 2**32) * 2**32 + product // 2**32) | 1


def minus_ln(u):
    m, e = u, 0
    while m < 1:
        m, e = m * 2, e - 1
    if m > 1.4142135623730951:
        m, e = m / 2, e + 1
    s = (m - 1) / (m + 1)
    z = s * s
    p = 0.0
    for j in range(9, -1, -1):
        p = p * z + 1 / (2 * j + 1)
    return -(e * 0.6931471805599453 + (2 * s) * p)


def ranking(members, routed):
    """Names and scores, the owner first."""
    offset, factor = key_numbers(routed)
    waits = []
    for name, weight in members:
        seed = xxhash.xxh3_64_intdigest(name.encode()) // 4096
        hash = (seed * factor + offset) % 2**52
        waits.append((minus_ln((hash + 0.5) * 2.0**-52) / weight, -hash, -weight, name.encode(), name))
    return [(name, 1 / wait) for wait, *_, name in sorted(waits)]


def rows():
    for line in VECTORS.read_text().splitlines():
        if not line.startswith("#"):
            yield line.split("\t")


def row(set, list, routed):
    members = [(name, float(weight)) for name, weight in (member.rsplit("*", 1) for member in list.split(","))]
    offset, factor = key_numbers(bytes.fromhex(routed))
    ranked = ranking(members, bytes.fromhex(routed))
    names, scores = ",".join(name for name, _ in ranked), ",".join(repr(score) for _, score in ranked)
    return [set, list, routed, f"{offset:013x}", f"{factor % 2**52:013x}", names, scores]


def test_the_published_vectors_follow_from_the_specification():
    published = list(rows())
    assert len(published) >= 100
    for fields in published:
        assert row(*fields[:3]) == fields


if __name__ == "__main__":
    print(HEADER)
    for fields in rows():
        print("\t".join(row(*fields[:3])))
