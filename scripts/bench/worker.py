"""One peer in a process of its own: prepares, warms up, then measures slices when it is told to.

    worker.py train --dtype f32|autocast|bf16 [--compile] [--head all|masked] --tokens 2048 --context 512 --threads 2
    worker.py infer --dtype f32|autocast|bf16 [--compile] ...
    worker.py ort   --dtype f32|f16|bf16|int8 --folder DIR ...   (exports the model there when it has not yet)
    worker.py gemm  --dtype f32|bf16 --rows 512,1024

peers.py starts it and writes requests, one line of JSON each, {"runs": 1, "seconds": 2}: at least so many runs and at
least so long. The answer is a line too. The first line says what was set up, or {"error": ...}; a peer that does not
run is an answer as well. The model is HuggingFace's DebertaV2 with the values of model.Preset("base", 29952), its
weights random: times do not depend on them.
"""

import argparse
import contextlib
import json
import os
import resource
import sys
import time
from pathlib import Path

CONFIG = dict(vocab_size=29952, num_hidden_layers=12, hidden_size=768, num_attention_heads=12, intermediate_size=3072,
              hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.0, max_position_embeddings=48000,
              max_relative_positions=512, relative_attention=True, position_buckets=256, share_att_key=True,
              pos_att_type=["p2c", "c2p"], norm_rel_ebd="layer_norm", position_biased_input=False, type_vocab_size=0,
              pad_token_id=0)
FIRST_ID, MASKED = 5, 0.15
ADAMW = dict(lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
CLIP = 1.0
LAYERS = [(768, 2304), (768, 3072), (3072, 768)]  # in, out of the linear layers, as `secencoder bench gemm` has them


def peak_bytes():
    """Most memory that this process ever held."""
    with open("/proc/self/status") as f:
        return next(int(l.split()[1]) * 1024 for l in f if l.startswith("VmHWM"))


def cpu_seconds():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


def first_line(e):
    lines = [l.strip() for l in str(e).splitlines() if l.strip()]
    return f"{type(e).__name__}: {lines[0][:300] if lines else ''}"


def build(kind, a):
    """The model and one batch of full pieces of random ids."""
    import torch
    from transformers import DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2Model

    torch.manual_seed(a.seed)
    # Weights of bf16 are made as such: a float32 copy would count as memory.
    torch.set_default_dtype(torch.bfloat16 if a.dtype == "bf16" else torch.float32)
    model = (DebertaV2ForMaskedLM if kind == "train" else DebertaV2Model)(DebertaV2Config(**CONFIG))
    torch.set_default_dtype(torch.float32)
    if model.dtype != (torch.bfloat16 if a.dtype == "bf16" else torch.float32):
        sys.exit(f"--dtype {a.dtype} gave weights of {model.dtype}")
    if a.tokens % a.context:
        sys.exit(f"{a.tokens} tokens are not full pieces of {a.context}")
    ids = torch.randint(FIRST_ID, CONFIG["vocab_size"], (a.tokens // a.context, a.context))
    return model, ids


def autocast(a):
    import torch

    return torch.autocast("cpu", torch.bfloat16) if a.dtype == "autocast" else contextlib.nullcontext()


def train(a):
    """A whole step: forward with dropout, loss of the masked tokens, backward, clipping the norm, AdamW."""
    import torch

    model, ids = build("train", a)
    model.train()
    masked = torch.rand(ids.shape) < MASKED
    labels = torch.where(masked, ids, -100)
    where = masked.flatten().nonzero().flatten()

    def loss_of(ids, labels):
        if a.head == "all":  # as HuggingFace has it: logits of every token
            return model(input_ids=ids, labels=labels).loss
        rows = model.deberta(ids).last_hidden_state.flatten(0, 1)[where]
        logits = model.cls(rows) if model.legacy else model.lm_predictions(rows, model.deberta.embeddings.word_embeddings)
        return torch.nn.functional.cross_entropy(logits.float(), labels.flatten()[where])

    forward = torch.compile(loss_of) if a.compile else loss_of
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer, how = faster_adamw(params)

    def step():
        with autocast(a):
            loss = forward(ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step, dict(parameters=sum(p.numel() for p in params), adamw=how, masked=int(masked.sum()))


def faster_adamw(params):
    """AdamW in the form that is faster here, fused or foreach, its moments made."""
    import torch

    for p in params:
        p.grad = torch.zeros_like(p)
    made, seconds = {}, {}
    for how in ("fused", "foreach"):
        made.clear()
        made[how] = torch.optim.AdamW(params, **ADAMW, **{how: True})
        made[how].step()
        seconds[how] = min(clock(made[how].step) for _ in range(3))
    how = min(seconds, key=seconds.get)
    if how not in made:
        made.clear()
        made[how] = torch.optim.AdamW(params, **ADAMW, **{how: True})
        made[how].step()
    for p in params:
        p.grad = None
    return made[how], how


def infer(a):
    """The encoder and the mean over the tokens of each piece."""
    import torch

    model, ids = build("infer", a)
    model.eval()

    def embed(ids):
        return model(ids).last_hidden_state.mean(1)

    forward = torch.compile(embed) if a.compile else embed

    def step():
        with torch.inference_mode(), autocast(a):
            return forward(ids)

    return step, dict(parameters=sum(p.numel() for p in model.parameters()))


def export(a, target):
    """Writes the encoder with mean pooling as ONNX for one shape of input."""
    import torch

    class Embed(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, ids):
            return self.model(ids).last_hidden_state.mean(1).float()

    part = target.with_suffix(".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    if a.dtype in ("f32", "bf16"):
        model, ids = build("infer", a)
        # One file: the largest dtype here stays below protobuf's 2 GiB.
        torch.onnx.export(Embed(model).eval(), (ids,), str(part), input_names=["ids"], output_names=["vectors"], dynamo=True,
                          external_data=False, verbose=False)
    elif a.dtype == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(str(onnx_file(a, "f32")), str(part), weight_type=QuantType.QInt8, per_channel=True)
    elif a.dtype == "f16":
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(onnx_file(a, "f32")), keep_io_types=True), part)
    else:
        sys.exit(f"--dtype {a.dtype}: want f32, f16, bf16 or int8")
    part.rename(target)


def onnx_file(a, dtype):
    return a.folder / f"base-{a.tokens // a.context}x{a.context}-{dtype}.onnx"


def ort(a):
    """ONNX Runtime on an export of the same model. The export, and PyTorch's vectors to compare with, come from other
    processes, so that their memory is not counted here."""
    import numpy as np
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    need = ["f32", a.dtype] if a.dtype in ("f16", "int8") else [a.dtype]
    for dtype in need:
        if not onnx_file(a, dtype).exists():
            of_its_own(["export", "--dtype", dtype, "--folder", str(a.folder), "--tokens", str(a.tokens), "--context", str(a.context)])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = a.threads, 1
    session = onnxruntime.InferenceSession(str(onnx_file(a, a.dtype)), options, providers=["CPUExecutionProvider"])
    settings = {}
    want = onnx_file(a, "f32").with_suffix(".npz")
    if not want.exists():
        of_its_own(["vectors", "--folder", str(a.folder), "--tokens", str(a.tokens), "--context", str(a.context)])
    saved = np.load(want)
    ids, vectors = saved["ids"], saved["vectors"]
    got = session.run(None, {"ids": ids})[0]
    settings.update(largest_difference=float(np.abs(got - vectors).max()), largest_value=float(np.abs(vectors).max()))
    return lambda: session.run(None, {"ids": ids})[0], settings


def of_its_own(args):
    """Runs this script for its side effect."""
    import subprocess

    done = subprocess.run([sys.executable, __file__, *args], stdout=subprocess.PIPE, text=True)
    a = json.loads(done.stdout.splitlines()[0]) if done.stdout else {"error": f"{args[0]} ended with {done.returncode}"}
    if "error" in a:
        raise RuntimeError(a["error"])


def vectors(a):
    """Keeps what PyTorch's float32 gives for the batch."""
    import numpy as np
    import torch

    model, ids = build("infer", a)
    with torch.inference_mode():
        got = model.eval()(ids).last_hidden_state.mean(1)
    np.savez(onnx_file(a, "f32").with_suffix(".npz"), ids=ids.numpy(), vectors=got.numpy())


def gemm(a):
    """The three products of each linear layer: y with bias, dx and dw of its gradient. A run is one pass over them."""
    import torch

    dtype = dict(f32=torch.float32, bf16=torch.bfloat16)[a.dtype]
    cases = {}
    for rows in map(int, a.rows.split(",")):
        for n, m in LAYERS:
            x, w, b, dy = (torch.rand(s).sub_(0.5).to(dtype) for s in ((rows, n), (m, n), (m,), (rows, m)))
            cases[f"y {rows}x{n}x{m}"] = lambda x=x, w=w, b=b: torch.nn.functional.linear(x, w, b)
            cases[f"dx {rows}x{n}x{m}"] = lambda dy=dy, w=w: dy @ w
            cases[f"dw {rows}x{n}x{m}"] = lambda dy=dy, x=x: dy.T @ x
    return cases, {}


def clock(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def versions():
    import importlib.metadata as m

    names = ["torch", "transformers", "numpy", "onnx", "onnxruntime", "onnxscript"]
    found = {"python": sys.version.split()[0]}
    for name in names:
        with contextlib.suppress(m.PackageNotFoundError):
            found[name] = m.version(name)
    return found


def serve(kind, a, answer):
    """Sets up, warms up, and answers requests until the input ends."""
    try:
        start = time.perf_counter()
        step, settings = dict(train=train, infer=infer, ort=ort, gemm=gemm)[kind](a)
        cases = step if isinstance(step, dict) else {"step": step}
        for f in cases.values():
            f()
        if a.compile:
            from torch._dynamo.utils import counters

            settings["graphs"] = counters["stats"]["unique_graphs"]
            settings["graph_breaks"] = [l.strip().splitlines()[0][:200] for l in counters["graph_break"]]
        settings["warm_up_seconds"] = time.perf_counter() - start
        answer(dict(settings=settings, versions=versions(), peak_bytes=peak_bytes()))
    except Exception as e:
        answer(dict(error=first_line(e)))
        raise
    for line in sys.stdin:
        request = json.loads(line)
        slices, cpu, begin = {name: [] for name in cases}, {name: 0.0 for name in cases}, time.perf_counter()
        while len(next(iter(slices.values()))) < request["runs"] or time.perf_counter() - begin < request["seconds"]:
            for name, f in cases.items():
                before = cpu_seconds()
                slices[name].append(clock(f))
                cpu[name] += cpu_seconds() - before
        answer(dict(slices=slices, cpu=cpu, peak_bytes=peak_bytes()))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("what", choices=["train", "infer", "ort", "gemm", "export", "vectors"])
    a.add_argument("--dtype", default="f32")
    a.add_argument("--compile", action="store_true")
    a.add_argument("--head", choices=["all", "masked"], default="all")
    a.add_argument("--folder", type=Path, help="exports and vectors")
    a.add_argument("--tokens", type=int, default=2048)
    a.add_argument("--context", type=int, default=512)
    a.add_argument("--rows", default="512")
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--limit-bytes", type=int, help="memory that the process may take")
    a.add_argument("--seed", type=int, default=0)
    a = a.parse_args()
    # What libraries print goes to stderr; the real stdout carries answers only.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(document):
        print(json.dumps(document), file=out, flush=True)

    if a.limit_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (a.limit_bytes, a.limit_bytes))
    if a.what != "ort":
        import torch

        torch.set_num_threads(a.threads)
        torch.set_num_interop_threads(1)
    if a.what in ("export", "vectors"):
        try:
            export(a, onnx_file(a, a.dtype)) if a.what == "export" else vectors(a)
            answer({})
        except Exception as e:
            answer(dict(error=first_line(e)))
            raise
        return
    serve(a.what, a, answer)


if __name__ == "__main__":
    main()
