"""The models: configurations equal to the presets of package model, weights random, and the operations they ask for.

The operations are those of internal/bench/flop.go, which docs/bench/README.md explains; test_peers.py holds both to one
table.
"""

VOCAB, SPAN = 29952, 256

# layers, hidden, heads, intermediate, width of the convolution; head size 64 as in all presets, 32 in toy.
SIZES = {
    "toy": (2, 64, 2, 128, 3),
    "base": (12, 768, 12, 3072, 0),
    "xxlarge": (36, 1536, 24, 6144, 3),
}


def config(size, dropout=0.1, layers=None):
    """The values of DebertaV2Config; dropout is that of hidden values, there is none on attention."""
    own, hidden, heads, intermediate, conv = SIZES[size]
    values = dict(
        vocab_size=211 if size == "toy" else VOCAB, num_hidden_layers=layers or own, hidden_size=hidden,
        num_attention_heads=heads, intermediate_size=intermediate, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0, max_position_embeddings=48000, max_relative_positions=512,
        relative_attention=True, position_buckets=SPAN, share_att_key=True, pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm", position_biased_input=False, type_vocab_size=0, pad_token_id=0)
    return values | (dict(conv_kernel_size=conv, conv_act="gelu") if conv else {})


def attention_flop(c, n):
    """Forward and backward of one layer's attention over one piece of n tokens, operands projected."""
    h, slots = c["hidden_size"], min(2 * n - 1, 2 * SPAN)
    content, position = 4 * n * h, len(c["pos_att_type"]) * 2 * slots * h
    return n * (content + position), n * (2.5 * content + 3 * position)


def projection_flop(c, tokens):
    """Forward of what stands before attention in a layer: queries, keys and values, and both position tables."""
    h = c["hidden_size"]
    return tokens * 6 * h * h + len(c["pos_att_type"]) * 2 * 2 * SPAN * h * h


def forward_flop(c, lengths, labels):
    """One forward pass over pieces of these lengths; labels is how many tokens reach the head."""
    h, i, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
    token = layers * (8 * h * h + 4 * h * i) + 2 * c.get("conv_kernel_size", 0) * h * h
    tables = layers * len(c["pos_att_type"]) * 2 * 2 * SPAN * h * h
    return (token * sum(lengths) + tables + labels * (2 * h * h + 2 * h * c["vocab_size"])
            + layers * sum(attention_flop(c, n)[0] for n in lengths))


def build(size, device, dtype, heads=True, dropout=0.1, layers=None, seed=0):
    """HuggingFace's model with random weights, made where and as what it is used."""
    import torch
    from transformers import DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2Model

    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = (DebertaV2ForMaskedLM if heads else DebertaV2Model)(DebertaV2Config(**config(size, dropout, layers)))
    finally:
        torch.set_default_dtype(torch.float32)
    if model.dtype != dtype:
        raise RuntimeError(f"asked for weights of {dtype}, got {model.dtype}")
    return model
