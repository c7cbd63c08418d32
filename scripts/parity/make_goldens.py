"""Makes model/testdata/parity/*.safetensors: what HuggingFace computes, for `go test ./model` to be held against.

    python3.11 -m venv VENV && VENV/bin/pip install -r scripts/parity/requirements.txt
    VENV/bin/python scripts/parity/make_goldens.py [P1 P2 ...]

The reference is HuggingFace's own class in float64 on float32 weights (made by counter_weights.py, so no file holds
them), one thread, dropout 0. Results are stored rounded to float32, losses and norms as float64: the rounding is a
hundred times below the bounds of the tests. For each configuration HuggingFace's own float32 run is compared with the
float64 one and the largest differences are printed and kept in the metadata: they are the noise that the bounds of the
tests stand on.

What a file holds (T = real tokens, the documents one behind the other, pads left out):
  ids, offsets, masked, labels (int32), type_ids, position_ids   inputs; labels belong to the masked positions
  hidden.0 ... hidden.L [T, h]     embedding output and every layer
  logits [T, V] or [masked, V], loss [1] (mean over the masked tokens of all documents)
  grad.NAME                        gradient of every parameter that reaches the loss
  step.loss, step.gradnorm [10]    ten AdamW steps with clipping; step.w.NAME, step.m.NAME, step.v.NAME after them
A name with the suffix @s holds the entries counter_weights.sample_indices names, NAME@n its 2-norm.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers import (DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2ForQuestionAnswering,
                          DebertaV2ForSequenceClassification, DebertaV2ForTokenClassification)
from transformers.models.deberta_v2 import modeling_deberta_v2 as hf

from counter_weights import INITIAL, STRONG, legacy_name, sample_indices, weights, words

OUT = Path(__file__).resolve().parents[2] / "model" / "testdata" / "parity"
SEED = 1
NO_DROPOUT = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pooler_dropout=0.0)
TINY = dict(vocab_size=211, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128,
            relative_attention=True, position_buckets=16, max_position_embeddings=64, share_att_key=True,
            pos_att_type=["p2c", "c2p"], norm_rel_ebd="layer_norm", position_biased_input=False, type_vocab_size=0,
            **NO_DROPOUT)
CONFIGS = {
    "P1": {},
    "P2": dict(conv_kernel_size=3, conv_act="gelu"),
    "P3": dict(share_att_key=False, norm_rel_ebd="none", legacy=False, tie_word_embeddings=False),
    "P4": dict(pos_att_type=["c2p"], position_buckets=-1, max_relative_positions=24),
    "P5": dict(share_att_key=False, pos_att_type=["p2c"], position_buckets=8, max_relative_positions=32,
               conv_kernel_size=5, conv_groups=2, conv_act="tanh"),
    "P6": dict(position_biased_input=True, type_vocab_size=2, embedding_size=32, hidden_act="relu",
               max_position_embeddings=128),
    "P7": dict(relative_attention=False, norm_rel_ebd="none", hidden_act="gelu_new", layer_norm_eps=1e-5),
    # The two subsets that the list above leaves out, in short form.
    "P4s": dict(share_att_key=False, pos_att_type=["c2p"]),
    "P5s": dict(share_att_key=True, pos_att_type=["p2c"]),
}
SHORT = {"P4s", "P5s"}
ADAMW = dict(lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
CLIP = 1.0
STEPS = 10


def config(name, **more):
    return DebertaV2Config(**{**TINY, **CONFIGS[name], **more})


def fill(model, matrix_scale=STRONG):
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(weights(legacy_name(name), tuple(p.shape), SEED, matrix_scale)))
    return model.eval()


def draw(name, n, low, high):
    """n integers in [low, high), from the same counter as the weights."""
    return low + (words("input." + name, SEED, n) % np.uint64(high - low)).astype(np.int64)


def documents(name, lengths, vocab, share=0.15):
    ids = [draw(f"{name}.{i}", n, 1, vocab) for i, n in enumerate(lengths)]
    # A padding token among the real ones: its look-up has no gradient (padding_idx), the tied decoder's stays.
    ids[0][len(ids[0]) // 2] = 0
    masked = []
    for i, n in enumerate(lengths):
        order = np.argsort(words(f"input.{name}.mask.{i}", SEED, n), kind="stable")
        masked.append(np.sort(order[: max(1, round(share * n))]))
    return ids, masked


def batch(ids, masked, extra=None):
    """HF's padded batch: dictionary of tensors, and the boolean map of real tokens."""
    n = max(len(x) for x in ids)
    b = dict(input_ids=torch.zeros(len(ids), n, dtype=torch.long), attention_mask=torch.zeros(len(ids), n, dtype=torch.long),
             labels=torch.full((len(ids), n), -100))
    for i, x in enumerate(ids):
        b["input_ids"][i, : len(x)] = torch.from_numpy(x)
        b["attention_mask"][i, : len(x)] = 1
        b["labels"][i, masked[i]] = torch.from_numpy(x[masked[i]])
    for key, rows in (extra or {}).items():
        b[key] = torch.zeros(len(ids), n, dtype=torch.long)
        for i, row in enumerate(rows):
            b[key][i, : len(row)] = torch.from_numpy(row)
    return b, b["attention_mask"].bool()


def inputs(ids, masked, extra=None):
    offsets = np.cumsum([0] + [len(x) for x in ids])
    flat = np.concatenate(ids)
    at = np.concatenate([m + o for m, o in zip(masked, offsets)])
    out = dict(ids=flat, offsets=offsets, masked=at, labels=flat[at])
    names = {"token_type_ids": "type_ids", "position_ids": "position_ids"}
    for key, rows in (extra or {}).items():
        out[names[key]] = np.concatenate(rows)
    return {k: v.astype(np.int32) for k, v in out.items()}


def f32(t):
    return np.ascontiguousarray(t.detach().to(torch.float32).numpy())


def f64(*values):
    return np.array(values, dtype=np.float64)


def put(out, key, t, whole, name=None):
    if whole:
        out[key] = f32(t)
        return
    flat = t.detach().reshape(-1)
    out[key + "@s"] = f32(flat[torch.from_numpy(sample_indices(name or key, flat.numel()))])
    out[key + "@n"] = f64(flat.double().norm().item())


def no_decay(name):
    return name.endswith("bias") or "LayerNorm" in name


def train(model, b):
    params = dict(model.named_parameters())
    groups = [dict(params=[p for n, p in params.items() if not no_decay(n)]),
              dict(params=[p for n, p in params.items() if no_decay(n)], weight_decay=0.0)]
    opt = torch.optim.AdamW(groups, **ADAMW)
    losses, norms = [], []
    for _ in range(STEPS):
        opt.zero_grad()
        loss = model(**b).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        losses.append(loss.item())
        opt.step()
    return losses, norms, params, opt


def worst(a, b):
    return max((x.double() - y).abs().max().item() for x, y in zip(a, b))


def metadata(cfg, **more):
    d = json.loads(cfg.to_json_string())
    d["architectures"] = ["DebertaV2ForMaskedLM"]
    return dict(config=d, torch=torch.__version__, transformers=transformers.__version__,
                seed=SEED, script="scripts/parity/make_goldens.py", **more)


def save(name, out, meta):
    OUT.mkdir(parents=True, exist_ok=True)
    # One metadata key: the library writes several in random order, and equal runs shall give equal bytes.
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, OUT / f"{name}.safetensors",
              metadata=dict(golden=json.dumps(meta, sort_keys=True)))
    print(f"{name:5} {(OUT / f'{name}.safetensors').stat().st_size / 1e6:6.2f} MB", flush=True)


def masked_lm(name):
    cfg = config(name)
    m32 = fill(DebertaV2ForMaskedLM(cfg))
    m64 = copy.deepcopy(m32).double()
    ids, masked = documents(name, [97, 60], cfg.vocab_size)
    extra = None
    if name == "P6":
        extra = dict(token_type_ids=[draw(f"P6.type.{i}", len(x), 0, 2) for i, x in enumerate(ids)],
                     position_ids=[np.arange(len(x))[::-1] + 7 * i for i, x in enumerate(ids)])
    b, real = batch(ids, masked, extra)
    o32, o64 = m32(**b, output_hidden_states=True), m64(**b, output_hidden_states=True)
    o32.loss.backward()
    o64.loss.backward()
    whole = name not in SHORT
    out = inputs(ids, masked, extra)
    for i, x in enumerate(o64.hidden_states):
        put(out, f"hidden.{i}", x[real], whole)
    put(out, "logits", o64.logits[real], whole)
    out["loss"] = f64(o64.loss.item())
    g32 = {legacy_name(n): p.grad for n, p in m32.named_parameters()}
    noise = 0.0
    for n, p in m64.named_parameters():
        n = legacy_name(n)
        if p.grad is None:
            continue
        put(out, "grad." + n, p.grad, whole, n)
        top = p.grad.abs().max().item()
        if top > 1e-10:
            noise = max(noise, (g32[n].double() - p.grad).abs().max().item() / top)
    meta = metadata(cfg, scale=STRONG, noise_hidden=worst([x[real] for x in o32.hidden_states], [x[real] for x in o64.hidden_states]),
                    noise_logits=worst([o32.logits[real]], [o64.logits[real]]),
                    noise_loss=abs(o32.loss.item() - o64.loss.item()), noise_grad=noise)
    losses, norms, params, opt = train(fill(DebertaV2ForMaskedLM(cfg)).double(), b)
    l32, _, p32, _ = train(fill(DebertaV2ForMaskedLM(cfg)), b)
    meta["noise_step_loss"] = max(abs(x - y) for x, y in zip(losses, l32))
    meta["noise_step_weights"] = worst(list(p32.values()), list(params.values()))
    out["step.loss"], out["step.gradnorm"] = f64(*losses), f64(*norms)
    for n, p in params.items():
        if p not in opt.state:
            continue
        n = legacy_name(n)
        put(out, "step.w." + n, p, name == "P1", n)
        put(out, "step.m." + n, opt.state[p]["exp_avg"], False, n)
        put(out, "step.v." + n, opt.state[p]["exp_avg_sq"], False, n)
    save(name, out, meta)
    print("      noise of HF's float32:", {k: f"{float(v):.1e}" for k, v in meta.items() if k.startswith("noise")},
          f"loss {losses[0]:.4f} -> {losses[-1]:.4f}, norms {norms[0]:.2f} -> {norms[-1]:.2f}")


def heads():
    """P8: classification heads on P1; four documents."""
    lengths = [97, 60, 33, 5]
    ids, masked = documents("P8", lengths, 211)
    b, real = batch(ids, masked)
    del b["labels"]
    out = inputs(ids, masked)
    kinds = {
        "sequence": (DebertaV2ForSequenceClassification, dict(num_labels=3), torch.tensor([2, -1, 0, 1])),
        "soft": (DebertaV2ForSequenceClassification, dict(num_labels=3),
                 torch.tensor([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5], [0.1, 0.6, 0.3]])),
        "regression": (DebertaV2ForSequenceClassification, dict(num_labels=1), torch.tensor([0.5, -1.25, 2.0, 0.0])),
        "token": (DebertaV2ForTokenClassification, dict(num_labels=5), None),
    }
    noise = {}
    for kind, (cls, more, labels) in kinds.items():
        cfg = config("P1", cls_dropout=0.0, pooler_hidden_act="tanh", **more)
        m32 = fill(cls(cfg))
        m64 = copy.deepcopy(m32).double()
        if labels is None:
            labels = torch.full(real.shape, -100)
            drawn = torch.from_numpy(draw("P8.token", int(real.sum()), 0, 5))
            drawn[::7] = -100
            labels[real] = drawn
            out["token.labels"] = drawn.numpy().astype(np.int32)
        elif labels.dtype == torch.long:
            out[f"{kind}.labels"] = labels.numpy().astype(np.int32)
        else:
            out[f"{kind}.labels"] = labels.numpy().astype(np.float32)
        o64 = m64(**b, labels=labels.double() if labels.is_floating_point() else labels)
        o32 = m32(**b, labels=labels)
        o64.loss.backward()
        out[f"{kind}.logits"] = f32(o64.logits[real] if kind == "token" else o64.logits)
        out[f"{kind}.loss"] = f64(o64.loss.item())
        noise["noise_" + kind] = abs(o32.loss.item() - o64.loss.item())
        for n, p in m64.named_parameters():
            if p.grad is not None:
                put(out, f"{kind}.grad.{n}", p.grad, not n.startswith("deberta"), n)
    save("P8", out, metadata(config("P1", cls_dropout=0.0, pooler_hidden_act="tanh"), scale=STRONG, **noise))


def answers():
    """P8qa: question answering on P1. HF's softmax runs over a padded row, pads included, so documents of different
    length ("ragged") run alone, and the mean over those with an answer is taken here; "even" is one batch of HF's, with
    answers outside of their documents, which HF leaves out."""
    cfg = config("P1", num_labels=2)
    cases = {
        "ragged": ([97, 60, 33, 5], [(10, 31), (0, 0), None, (4, 2)]),
        "even": ([33, 33, 33], [(4, 9), (40, 33), (32, 50)]),
    }
    out, noise = {}, {}
    for kind, (lengths, spans) in cases.items():
        m32 = fill(DebertaV2ForQuestionAnswering(cfg))
        m64 = copy.deepcopy(m32).double()
        ids = [draw(f"P8qa.{kind}.{i}", n, 1, cfg.vocab_size) for i, n in enumerate(lengths)]
        out[f"{kind}.ids"] = np.concatenate(ids).astype(np.int32)
        out[f"{kind}.offsets"] = np.cumsum([0] + lengths).astype(np.int32)
        out[f"{kind}.spans"] = np.array([s or (-1, -1) for s in spans], dtype=np.int32)
        runs = [(np.stack(ids), spans)] if kind == "even" else [(x[None], [s]) for x, s in zip(ids, spans)]
        labelled = [r for r in runs if r[1] != [None]]
        logits, losses = [], {m32: 0.0, m64: 0.0}
        for m in (m32, m64):
            for x, s in runs:
                b = dict(input_ids=torch.from_numpy(x))
                if s != [None]:
                    b["start_positions"], b["end_positions"] = torch.tensor(s).unbind(1)
                o = m(**b)
                if m is m64:
                    logits.append(torch.stack([o.start_logits, o.end_logits], -1).reshape(-1, 2))
                if s != [None]:
                    (o.loss / len(labelled)).backward()
                    losses[m] += o.loss.item() / len(labelled)
        out[f"{kind}.logits"] = f32(torch.cat(logits))
        out[f"{kind}.loss"] = f64(losses[m64])
        noise["noise_" + kind] = abs(losses[m32] - losses[m64])
        for n, p in m64.named_parameters():
            if p.grad is not None:
                put(out, f"{kind}.grad.{n}", p.grad, not n.startswith("deberta"), n)
    save("P8qa", out, metadata(cfg, scale=STRONG, **noise))
    print("      noise of HF's float32:", {k: f"{v:.1e}" for k, v in noise.items()}, {k: out[k + ".loss"][0] for k in cases})


def real_shape():
    """P9: base width, the real bucket map and vocabulary; one document longer than the map's range."""
    cfg = DebertaV2Config(vocab_size=29952, hidden_size=768, num_hidden_layers=2, num_attention_heads=12,
                          intermediate_size=3072, relative_attention=True, position_buckets=256, max_position_embeddings=48000,
                          max_relative_positions=512, share_att_key=True, pos_att_type=["p2c", "c2p"],
                          norm_rel_ebd="layer_norm", position_biased_input=False, type_vocab_size=0, **NO_DROPOUT)
    m = fill(DebertaV2ForMaskedLM(cfg), INITIAL)
    ids, masked = documents("P9", [700], cfg.vocab_size)
    b, real = batch(ids, masked)
    with torch.no_grad():
        o32 = m(**b, output_hidden_states=True)
    m = m.double()
    o = m(**b, output_hidden_states=True)
    o.loss.backward()
    out = inputs(ids, masked)
    for i, x in enumerate(o.hidden_states):
        put(out, f"hidden.{i}", x[real], False)
    put(out, "logits", o.logits[0, masked[0]], False)
    out["loss"] = f64(o.loss.item())
    for n, p in m.named_parameters():
        if p.grad is not None:
            put(out, "grad." + n, p.grad, False, n)
    meta = metadata(cfg, scale=INITIAL, noise_hidden=worst(o32.hidden_states, o.hidden_states),
                    noise_logits=worst([o32.logits], [o.logits]), noise_loss=abs(o32.loss.item() - o.loss.item()))
    save("P9", out, meta)
    print("      noise of HF's float32:", {k: v for k, v in meta.items() if k.startswith("noise")})


def packing():
    """P10: P2 on four documents, each run alone; the loss is over all masked tokens of all four."""
    cfg = config("P2")
    m = fill(DebertaV2ForMaskedLM(cfg)).double()
    ids, masked = documents("P10", [5, 97, 37, 64], cfg.vocab_size)
    out = inputs(ids, masked)
    hidden, logits, total = [], [], 0.0
    count = sum(len(x) for x in masked)
    for x, at in zip(ids, masked):
        b, _ = batch([x], [at])
        o = m(**b, output_hidden_states=True)
        (o.loss * len(at) / count).backward()
        total += o.loss.item() * len(at) / count
        hidden.append([h[0] for h in o.hidden_states])
        logits.append(o.logits[0])
    for i in range(len(hidden[0])):
        put(out, f"hidden.{i}", torch.cat([h[i] for h in hidden]), True)
    put(out, "logits", torch.cat(logits), False)
    out["loss"] = f64(total)
    for n, p in m.named_parameters():
        put(out, "grad." + n, p.grad, False, n)
    save("P10", out, metadata(cfg, scale=STRONG))


def slots():
    """P11: HF's own relative-position map as slots, run-length coded: starts (r - reach) and values."""
    pairs = [(256, 512), (256, 2048), (256, 8192), (256, 48000), (256, 49152), (128, 512), (64, 512), (512, 48000),
             (16, 64), (8, 32), (512, 4096), (2, 8), (17, 100), (300, 1000), (-1, 24)]
    out = {}
    for buckets, m in pairs:
        n = 48000 if m >= 48000 else m + 500
        k = buckets if buckets > 0 else m
        r = torch.arange(-(n - 1), n)
        # The map is Toeplitz: HF's function on the distances alone gives what its N x N map holds.
        rel = hf.make_log_bucket_position(r, buckets, m) if buckets > 0 and m > 0 else r
        s = torch.clamp(rel.long() + k, 0, 2 * k - 1).numpy()
        if n <= 1100:  # and here is the N x N map itself
            whole = hf.build_relative_position(torch.empty(1, n, 1), torch.empty(1, n, 1), bucket_size=buckets, max_position=m)[0]
            w = torch.clamp(whole + k, 0, 2 * k - 1).numpy()
            assert (np.concatenate([w[0, ::-1], w[1:, 0]]) == s).all(), (buckets, m)
            p2c = torch.clamp(-whole + k, 0, 2 * k - 1).numpy()  # gathered, then transposed, in HF
            assert (p2c.T == w).all(), (buckets, m)  # one table serves both terms
        starts = np.flatnonzero(np.concatenate([[True], s[1:] != s[:-1]]))
        out[f"{buckets}.{m}.starts"] = starts.astype(np.int32)
        out[f"{buckets}.{m}.slots"] = s[starts].astype(np.int16)
        out[f"{buckets}.{m}.length"] = np.array([len(s)], dtype=np.int32)
    save("P11", out, dict(torch=torch.__version__, transformers=transformers.__version__))


def low_precision():
    """P12: P1 under bfloat16 autocast, for the magnitude of its error; and P1 with weights rounded to bfloat16."""
    cfg = config("P1")
    m = fill(DebertaV2ForMaskedLM(cfg))
    ids, masked = documents("P1", [97, 60], cfg.vocab_size)
    b, real = batch(ids, masked)
    out = inputs(ids, masked)
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out["autocast.logits"] = f32(m(**b).logits[real])
        exact = copy.deepcopy(m).double()(**b).logits[real]
        out["rms"] = f64((torch.from_numpy(out["autocast.logits"]).double() - exact).pow(2).mean().sqrt().item())
        for p in m.parameters():
            p.copy_(p.to(torch.bfloat16).float())
        out["rounded.logits"] = f32(m.double()(**b).logits[real])
    save("P12", out, metadata(cfg, scale=STRONG))


def main():
    torch.set_num_threads(1)
    want = sys.argv[1:] or [*CONFIGS, "P8", "P8qa", "P9", "P10", "P11", "P12"]
    other = dict(P8=heads, P8qa=answers, P9=real_shape, P10=packing, P11=slots, P12=low_precision)
    for name in want:
        other[name]() if name in other else masked_lm(name)
    size = sum(f.stat().st_size for f in OUT.glob("*.safetensors"))
    print(f"all   {size / 1e6:6.2f} MB")


if __name__ == "__main__":
    main()
