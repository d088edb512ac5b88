"""Random words: AES-128-CTR keystreams, one for each (seed, tensor name, lane).

Sources: NIST SP 800-38A section 6.5 (CTR mode), FIPS 197 (AES), FIPS 180-4 (SHA-256).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from service.stream.scratch import scratch

TAG: Final = b"xavier/stream/1\x00"
WORD_BYTES: Final = 4
BLOCK_BYTES: Final = 16
WORDS_IN_BLOCK: Final = BLOCK_BYTES // WORD_BYTES
MOST_WORDS: Final = 1 << 19
"""The most words in one call; callers must split longer requests."""
SCATTERED_WORDS: Final = 1 << 16
_ZEROS: Final = bytes(MOST_WORDS * WORD_BYTES + BLOCK_BYTES)

_FIRST_WORDS: Final = np.arange(SCATTERED_WORDS, dtype=np.intp) * WORDS_IN_BLOCK
Words = NDArray[np.uint32] | NDArray[np.uint64]
Indices = NDArray[np.int64]
Shape = tuple[int, ...]
"""The sizes of a tensor's axes, or the indices of some axes."""
Elements = range | Indices


def derive_key(seed: int, name: str, lane: int = 0) -> bytes:
    """The AES-128 key of a tensor's keystream.

    Args:
        seed: 0 to 2^64 - 1.
        name: the tensor's canonical name, encoded as UTF-8 without normalisation.
        lane: 0 for the words, 1 for the lower halves of 64-bit words.

    Returns:
        The first 16 bytes of SHA-256(tag, le64(seed), le64(lane), utf8(name)).

    Raises:
        OverflowError: the seed or the lane is outside 64 bits.
    """
    text = TAG + seed.to_bytes(8, "little") + lane.to_bytes(8, "little") + name.encode()
    return sha256(text).digest()[:BLOCK_BYTES]


@dataclass(frozen=True, slots=True)
class WordSource:
    """The random words of one tensor: word i belongs to element i of the canonical tensor."""

    seed: int
    name: str

    def words(self, elements: Elements, bits: int) -> Words:
        """The words of the given elements, in this thread's scratch memory: valid until its next call.

        Args:
            elements: a range of step 1, or any indices; at most MOST_WORDS of them.
            bits: 32, or 64 with lane 0 in the upper half and lane 1 in the lower.

        Returns:
            One word per element, uint32 or uint64, shape (n,).
        """
        upper = self.lane(0, elements)
        return upper if bits == 32 else _joined(upper, self.lane(1, elements))

    def lane(self, lane: int, elements: Elements) -> NDArray[np.uint32]:
        """The 32-bit words of one lane, in this thread's scratch memory: valid until its next call.

        Args:
            lane: 0 and 1 are the lanes of the values; further lanes serve schemes that need more words per element.
            elements: a range of step 1, or any indices; at most MOST_WORDS of them.
        """
        if isinstance(elements, range):
            return self._consecutive(lane, elements.start, len(elements))
        return self._scattered(lane, elements)

    def _consecutive(self, lane: int, start: int, count: int) -> NDArray[np.uint32]:
        block, skip = divmod(start, WORDS_IN_BLOCK)
        size = (skip + count) * WORD_BYTES
        mode = modes.CTR(block.to_bytes(BLOCK_BYTES, "big"))
        keystream = scratch(f"keystream {lane}", np.uint8, size + BLOCK_BYTES)
        cipher = Cipher(algorithms.AES(derive_key(self.seed, self.name, lane)), mode).encryptor()
        cipher.update_into(memoryview(_ZEROS)[:size], keystream.data)
        return _native(keystream[:size])[skip:]

    def _scattered(self, lane: int, indices: Indices) -> NDArray[np.uint32]:
        # Encrypting a single counter (ECB) gives the CTR keystream block at that counter, which holds four words.
        words = scratch(f"scattered {lane}", np.uint32, indices.size)
        key = algorithms.AES(derive_key(self.seed, self.name, lane))
        cipher = Cipher(key, modes.ECB()).encryptor()  # noqa: S305 - it encrypts single counter blocks, as CTR does
        for first in range(0, indices.size, SCATTERED_WORDS):
            some = slice(first, first + SCATTERED_WORDS)
            _pick(_blocks(cipher, indices[some]), indices[some], out=words[some])
        return words


def _blocks(cipher: CipherContext, indices: Indices) -> NDArray[np.uint32]:
    """The keystream blocks that hold the words of the given indices, one block per index, shape (4 n,)."""
    counters = scratch("counters", np.int64, 2 * indices.size).reshape(-1, 2)
    counters[:, 0] = 0
    np.right_shift(indices, 2, out=counters[:, 1])
    if sys.byteorder == "little":
        counters.byteswap(inplace=True)
    blocks = scratch("blocks", np.uint8, counters.nbytes + BLOCK_BYTES)
    cipher.update_into(counters.data.cast("B"), blocks.data)
    return _native(blocks[: counters.nbytes])


def _native(keystream: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The little-endian words of a keystream in the byte order of this machine; they may replace the keystream."""
    words = keystream.view(np.uint32)
    return words if sys.byteorder == "little" else words.byteswap(inplace=True)


def _pick(blocks: NDArray[np.uint32], indices: Indices, out: NDArray[np.uint32]) -> None:
    """Take from each block the word of its index."""
    places = scratch("places", np.intp, indices.size)
    np.bitwise_and(indices, WORDS_IN_BLOCK - 1, out=places, casting="same_kind")
    np.add(places, _FIRST_WORDS[: indices.size], out=places)
    np.take(blocks, places, out=out, mode="clip")


def _joined(upper: NDArray[np.uint32], lower: NDArray[np.uint32]) -> NDArray[np.uint64]:
    words = scratch("words 64", np.uint64, upper.size)
    np.left_shift(upper, 32, out=words, dtype=np.uint64)
    return np.bitwise_or(words, lower, out=words)
