"""The names of contents: the engine arrives at the same ones."""

import hashlib

import pytest
from conftest import digests

PIECE = digests.PIECE
CONTENT = bytes(range(251)) * (3 * PIECE // 251 + 2)


# The same values are in src/snapshot/digest.rs.
@pytest.mark.parametrize(
    "length, name",
    [
        (0, b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (PIECE, b"631b84027d6b9e52b539c4e8373622d23032dfadc64d60af87339c9037e4f769"),
        (PIECE + 1, b"f7ad6f1cdb8de798db084d02105bb904e0d736aeb8f1bbe4a042fa6bc15a1ddf"),
        (3 * PIECE + 5, b"d91992fc2f17f2150a00e3401b6632b2b5950d4fef0b801557b5b5e001f09d78"),
    ],
)
@pytest.mark.parametrize("portion", [70_000, PIECE, PIECE + 1, 4 * PIECE])
@pytest.mark.parametrize("announced", [0, digests.SHARED])
def test_a_content_has_one_name_however_it_comes(length, name, portion, announced):
    content = CONTENT[:length]
    assert digests.digest(content) == name
    hasher = digests.Hasher(announced)
    for start in range(0, length, portion):
        hasher.update(content[start : start + portion])
    assert hasher.name() == name


def test_a_small_content_cannot_have_the_name_of_a_large_one():
    content = CONTENT[: 2 * PIECE]
    pieces = b"".join(hashlib.sha256(content[at : at + PIECE]).digest() for at in (0, PIECE))
    assert digests.digest(pieces) != digests.digest(content)
