"""Weights from a counter, shared with Go (model/parity_weights_test.go), so that goldens need not hold weights.

Element i of the tensor called NAME (HF's legacy state-dict name) under SEED is

    w = Philox4x32-10(counter (i // 4, 0, 0, 0), key (FNV-1a-32(NAME), SEED))[i % 4]
    u = (w >> 8) * 2^-24                       in [0, 1), exact in float32
    x = float32(center + scale * (2 * u - 1))  computed in float64, rounded once

with center and scale by the name:

    ...LayerNorm.weight                1   0.17      (standard deviation 0.1)
    ...bias                            0   0.17
    ...rel_embeddings.weight           0   0.87      (standard deviation 0.5)
    any other                          0   0.14      strong: four times HF's initial weights
                                           0.035     HF's initial standard deviation of 0.02

Initial weights hide errors (bias 0, scores near 0), hence the strong ones. sample_indices gives the entries that are
kept of a tensor too large to be kept whole.
"""

import numpy as np

M0, M1, W0, W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
LOW = np.uint64(0xFFFFFFFF)
STRONG, INITIAL = 0.14, 0.035
SAMPLES = 256
SAMPLE_SEED = 0x5EED


def philox(elements, k0, k1):
    """Philox4x32-10 of counters (e, 0, 0, 0), e below 2^32: array [n, 4] of uint64 that hold 32 bits each."""
    c0 = np.asarray(elements, dtype=np.uint64)
    c1 = np.zeros_like(c0)
    c2 = np.zeros_like(c0)
    c3 = np.zeros_like(c0)
    k0, k1 = int(k0), int(k1)
    for _ in range(10):
        a = np.uint64(M0) * c0
        b = np.uint64(M1) * c2
        c0, c1, c2, c3 = (b >> np.uint64(32)) ^ c1 ^ np.uint64(k0), b & LOW, (a >> np.uint64(32)) ^ c3 ^ np.uint64(k1), a & LOW
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1)


def fnv1a(name):
    h = 0x811C9DC5
    for b in name.encode():
        h = ((h ^ b) * 0x01000193) & 0xFFFFFFFF
    return h


def words(name, seed, n):
    return philox(np.arange((n + 3) // 4), fnv1a(name), seed).reshape(-1)[:n]


def range_of(name, matrix_scale):
    if name.endswith("LayerNorm.weight"):
        return 1.0, 0.17
    if name.endswith("bias"):
        return 0.0, 0.17
    if "rel_embeddings" in name:
        return 0.0, 0.87
    return 0.0, matrix_scale


def weights(name, shape, seed, matrix_scale):
    """float32 array of the tensor with this legacy name."""
    n = int(np.prod(shape))
    center, scale = range_of(name, matrix_scale)
    u = (words(name, seed, n) >> np.uint64(8)).astype(np.float64) * 2.0**-24
    return (center + scale * (2.0 * u - 1.0)).astype(np.float32).reshape(shape)


def sample_indices(name, n):
    """Flat indices kept of a tensor of n elements: all when n <= SAMPLES, else SAMPLES of them, with repetition."""
    if n <= SAMPLES:
        return np.arange(n)
    return (words(name, SAMPLE_SEED, SAMPLES) % np.uint64(n)).astype(np.int64)


LEGACY = {
    "lm_predictions.lm_head.dense.": "cls.predictions.transform.dense.",
    "lm_predictions.lm_head.LayerNorm.": "cls.predictions.transform.LayerNorm.",
    "lm_predictions.lm_head.bias": "cls.predictions.bias",
}


def legacy_name(name):
    for new, old in LEGACY.items():
        if name.startswith(new):
            return old + name[len(new):]
    return name


def test():
    got = philox(np.array([0]), 0, 0)[0]
    assert [f"{x:08x}" for x in got] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"], got


test()
