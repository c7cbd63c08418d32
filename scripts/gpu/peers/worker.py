"""One peer in a process of its own: it loads, says so, and does what it is asked, a line of JSON for a line of JSON.

    worker.py train|infer|layer|check|longest|peaks|products --variant df-packed --size base --weights f32|bf16 ...

peers.py starts it. The first line it writes is about itself; then

    {"do": "warm", "context": N, "tokens": T}            makes the batch, compiles, tunes, counts what a step takes
    {"do": "slice", "context": N, "seconds": S}          measures steps for S seconds, three at least
    {"do": "check"} {"do": "longest", ...} {"do": "peaks"} {"do": "library"} {"do": "products", "names": [...]}

and the answers. {"error": ...} answers what did not run, with "out_of_memory" where that was the reason; what it held on the
GPU has been given back by then.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import os
import statistics
import sys
import time
import traceback
from pathlib import Path

import models
import variants

CLIP = 1.0
# A rate of nought: the work is the same, and every variant keeps the same weights.
ADAMW = dict(lr=0.0, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
STEPS = 3  # that a slice has at least
CHUNK = 1 << 28


class Machine:
    """The few things that differ between a GPU and the CPU, where this is tried."""

    def __init__(self, device):
        import torch

        self.torch, self.device, self.cuda = torch, device, device == "cuda"

    def synchronize(self):
        if self.cuda:
            self.torch.cuda.synchronize()

    def clocks(self, marks):
        """Runs the functions in turn and returns their times, without waiting between them: [function] -> seconds, a
        function that is called later."""
        if not self.cuda:
            times = []
            for f in marks:
                start = time.perf_counter()
                f()
                times.append(time.perf_counter() - start)
            return lambda: times
        events = [self.torch.cuda.Event(enable_timing=True) for _ in range(len(marks) + 1)]
        events[0].record()
        for f, e in zip(marks, events[1:]):
            f()
            e.record()
        return lambda: [a.elapsed_time(b) / 1e3 for a, b in zip(events, events[1:])]

    def clock(self, f):
        """Seconds of one call, waiting for it."""
        self.synchronize()
        start = time.perf_counter()
        f()
        self.synchronize()
        return time.perf_counter() - start

    def forget(self):
        gc.collect()
        if self.cuda:
            self.torch.cuda.empty_cache()

    def reset_peak(self):
        if self.cuda:
            self.torch.cuda.reset_peak_memory_stats()

    def peak(self):
        """Most bytes of tensors at a time, and of what the allocator held for them. On the CPU, the process's peak."""
        if self.cuda:
            return self.torch.cuda.max_memory_allocated(), self.torch.cuda.max_memory_reserved()
        with open("/proc/self/status") as f:
            held = next(int(l.split()[1]) * 1024 for l in f if l.startswith("VmHWM"))
        return held, held

    def autocast(self, on):
        return self.torch.autocast(self.device, self.torch.bfloat16) if on else contextlib.nullcontext()


def out_of_memory(e):
    import torch

    # The last is what the CPU's allocator says.
    return isinstance(e, torch.OutOfMemoryError) or any(x in str(e).lower() for x in ("out of memory", "can't allocate memory"))


def first_line(e):
    lines = [l.strip() for l in str(e).splitlines() if l.strip()]
    if "TorchScript" in str(e):  # begins with where it was
        lines.reverse()
    return f"{type(e).__name__}: {lines[0][:300] if lines else ''}"


def full_pieces(tokens, context):
    return [context] * max(1, tokens // context)


def mixed_pieces(tokens, context, seed=0):
    """Lengths from context/64 to context, each doubling of the length as likely as another, until the tokens are full."""
    import random

    r, lengths = random.Random(seed), [context]
    while sum(lengths) < tokens:
        lengths.append(min(int(context / 64 ** r.random()), tokens - sum(lengths)))
    return [n for n in lengths if n > 0]


class Training:
    """Steps of training: forward with dropout, loss of 15 % of the tokens, backward, clipping of the norm, fused AdamW."""

    labels = 0.15

    def __init__(self, a, m):
        import torch

        self.a, self.m = a, m
        self.autocast = a.weights == "f32"
        dtype = torch.bfloat16 if a.weights == "bf16" else torch.float32
        self.model = models.build(a.size, a.device, dtype, dropout=0.1).train()
        self.loss, self.settings = variants.prepare_training(a.variant, self.model, a.device, full=a.pieces == "full")
        self.params = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.params, **ADAMW, fused=True)
        self.host, self.chunk, self.used = {}, None, 0

    def batch(self, tokens, context):
        lengths = (full_pieces if self.a.pieces == "full" else mixed_pieces)(tokens, context)
        return variants.Batch(models.config(self.a.size), lengths, self.a.device)

    def step(self, b):
        import torch

        with self.m.autocast(self.autocast):
            loss = self.loss(b)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def parts(self, b):
        return {"step": lambda: self.step(b)}

    def drop(self):
        """What a step leaves behind that was interrupted."""
        self.optimizer.zero_grad(set_to_none=True)

    def undo(self, context):
        """What was made for a batch that does not fit."""

    def work(self, b):
        return {"step": 3 * models.forward_flop(models.config(self.a.size), b.lengths, b.masked)}

    def proof(self, b):
        """The loss and the norm of its gradient with dropout off, to be compared with eager's: the launches and the shape
        are those that are measured."""
        import torch

        self.model.eval()
        with self.m.autocast(self.autocast):
            loss = self.loss(b)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.params if p.grad is not None])
        self.drop()
        self.model.train()
        return [float(loss), float(norm)]

    def moments(self):
        for p in self.params:
            state = self.optimizer.state.get(p, {})
            yield from ((p, state[k]) for k in ("exp_avg", "exp_avg_sq") if k in state)

    def place(self, t):
        """Where a tensor waits in the host's memory. Pinned blocks come in powers of two, so they are shared."""
        import torch

        if id(t) not in self.host:
            size = t.numel() * t.element_size()
            if self.chunk is None or self.used + size > CHUNK:
                self.chunk, self.used = torch.empty(max(size, CHUNK), dtype=torch.uint8, pin_memory=self.m.cuda), 0
            self.host[id(t)] = self.chunk[self.used:self.used + size].view(t.dtype).view(t.shape)
            self.used += -(-size // 256) * 256
        return self.host[id(t)]

    def park(self):
        """Gives the device's memory back to the others: weights wait in the host's. Moments are forgotten, which are two thirds
        of it all: a step costs the same whatever they hold, and at a rate of nought it changes nothing."""
        places = [(p, self.place(p)) for p in self.params]
        for p, host in places:
            host.copy_(p.data, non_blocking=True)
        self.m.synchronize()
        for p, host in places:
            p.data = host
        for p, moment in self.moments():
            moment.data = moment.data.new_empty(0)

    def unpark(self):
        import torch

        for p in self.params:
            p.data = p.data.to(self.a.device, non_blocking=True, copy=True)
        for p, moment in self.moments():
            moment.data = torch.zeros_like(p.data)
        self.m.synchronize()


class Inference:
    """The encoder's output over a batch; weights of bf16."""

    labels = 0

    def __init__(self, a, m):
        import torch

        self.a, self.m = a, m
        self.model = models.build(a.size, a.device, torch.bfloat16 if a.weights == "bf16" else torch.float32, heads=False).eval()
        self.hidden, self.settings = variants.prepare_inference(a.variant, self.model, a.device, a.contexts)

    def batch(self, tokens, context):
        return variants.Batch(models.config(self.a.size), full_pieces(tokens, context), self.a.device)

    def step(self, b):
        import torch

        with torch.inference_mode():
            out = self.hidden(b)
            return out.view(len(b.lengths), b.n, -1).mean(1)

    def parts(self, b):
        return {"step": lambda: self.step(b)}

    def drop(self):
        pass

    def undo(self, context):
        pass

    def proof(self, b):
        """A few values of the first and of the last vector, to be compared with eager's."""
        out = self.step(b).float()
        return out[0, :16].tolist() + out[-1, :16].tolist()

    def work(self, b):
        return {"step": models.forward_flop(models.config(self.a.size), b.lengths, 0)}

    def park(self):
        pass

    unpark = park


class Layer:
    """One layer's attention, forward as in training and backward: alone with its operands given ("attention"), and with
    the projections that make them ("layer"). Weights and activations of bf16."""

    def __init__(self, a, m):
        self.a, self.m, self.made, self.given, self.settings = a, m, {}, {}, {}

    def batch(self, tokens, context):
        return variants.Batch(models.config(self.a.size), full_pieces(tokens, context), self.a.device)

    def parts(self, b):
        import torch

        if b.n not in self.made:
            for name, projected in (("attention", True), ("layer", False)):
                run, leaves, settings = variants.attention(self.a.variant, self.a.size, b, self.a.device, torch.bfloat16, projected)
                self.settings.update(settings)
                self.made.setdefault(b.n, {})[name] = (run, leaves)
        parts, held = {}, {}
        for name, (run, leaves) in self.made[b.n].items():
            def forward(name=name, run=run):
                held[name] = run()

            def backward(name=name, leaves=leaves):
                out = held.pop(name)
                for x in leaves:
                    x.grad = None
                out.backward(self.gradient(out))

            parts[f"{name} forward"], parts[f"{name} backward"] = forward, backward
        return parts

    def gradient(self, out):
        import torch

        key = tuple(out.shape)
        if key not in self.given:
            self.given[key] = torch.randn_like(out)
        return self.given[key]

    def drop(self):
        for parts in self.made.values():
            for _, leaves in parts.values():
                for x in leaves:
                    x.grad = None

    def undo(self, context):
        self.made.pop(context, None)
        self.given.clear()

    def proof(self, b):
        return None

    def work(self, b):
        c = models.config(self.a.size)
        forward, backward = (sum(models.attention_flop(c, n)[i] for n in b.lengths) for i in (0, 1))
        projections = models.projection_flop(c, b.tokens)
        return {"attention forward": forward, "attention backward": backward, "layer forward": forward + projections,
                "layer backward": backward + 2 * projections}

    def park(self):
        pass

    unpark = park


class Steps:
    """Answers "warm" and "slice" for one of the three above."""

    def __init__(self, a, m):
        self.a, self.m = a, m
        self.kind = dict(train=Training, infer=Inference, layer=Layer)[a.what](a, m)
        self.batches, self.seconds = {}, {}
        self.kind.park()
        m.forget()

    def warm(self, context, tokens):
        """Finds the most tokens a step up to the given ones that memory allows, halving them. However it ends, the GPU's memory
        is the others' again: of what raises, once the exception is gone, which holds tensors."""
        begin = time.perf_counter()
        try:
            self.kind.unpark()
            b, found = self.fit(context, tokens)
        except BaseException:
            self.kind.undo(context)
            raise
        finally:
            self.kind.drop()
            self.kind.park()
            self.m.forget()
        self.batches[context], self.seconds[context] = b, found["seconds"]
        return found | dict(tokens=b.tokens, pieces=len(b.lengths), labels=b.masked, warm_seconds=time.perf_counter() - begin, torch=self.m.torch.__version__)

    def fit(self, context, tokens):
        """The batch, and what was found of it."""
        while True:
            # Outside of the handler below, which keeps the tensors of what failed alive.
            self.kind.drop()
            self.m.forget()
            try:
                b = self.kind.batch(tokens, context)
                # Compiled code would be compiled once more for this; "check" holds that it is right.
                proof = None if self.a.variant.compiled else self.kind.proof(b)
                parts = self.kind.parts(b)
                for _ in range(2):  # the second: what the first compiled and made is there
                    for f in parts.values():
                        f()
                self.m.synchronize()
                seconds = sum(self.m.clock(f) for f in parts.values())
                break
            except Exception as e:
                if not out_of_memory(e) or tokens <= context:
                    raise
            parts = b = None
            self.kind.undo(context)
            tokens //= 2
        settings = dict(self.kind.settings)
        if self.a.variant.compiled:
            from torch._dynamo.utils import counters

            settings["graphs"] = counters["stats"]["unique_graphs"]
            settings["graph_breaks"] = [l.strip().splitlines()[0][:200] for l in counters["graph_break"]]
        return b, dict(seconds=seconds, settings=settings, work=self.kind.work(b), proof=proof)

    def slice(self, requests):
        """Measures the contexts one after the other, so that weights come and go once."""
        self.kind.unpark()
        answers = []
        for r in requests:
            b = self.batches[r["context"]]
            parts = self.kind.parts(b)
            for f in parts.values():
                f()
            self.m.synchronize()
            self.m.reset_peak()
            count = max(STEPS, int(r["seconds"] / self.seconds[r["context"]]))
            clocks = [self.m.clocks(list(parts.values())) for _ in range(count)]
            self.m.synchronize()
            times = list(zip(*(c() for c in clocks)))
            peak, reserved = self.m.peak()
            answers.append(dict(context=r["context"], times=dict(zip(parts, times)), peak_bytes=peak, reserved_bytes=reserved))
            parts = None
            self.kind.drop()
            self.m.forget()
        self.kind.park()
        self.m.forget()
        return answers


def longest(a, m, request, tell):
    """One piece of 2^k tokens, doubled until something refuses, then one and a half times the last that ran. Each
    length that ran is told at once, so that a crash loses no answer."""
    kind = (Training if a.what == "longest-train" else Inference)(a, m)
    length, ran, refused, predicted = request["first"], 0, None, 0
    while refused is None and (request["last"] is None or length <= request["last"]):
        if predicted > request["seconds"]:
            refused = dict(error=f"a step was expected to take {predicted:.0f} s", out_of_memory=False)
            break
        refused, seconds = try_length(kind, m, length, tell)
        if refused is None:
            ran, predicted, length = length, 4 * seconds, 2 * length
    if refused and refused["out_of_memory"] and ran:
        again, _ = try_length(kind, m, ran * 3 // 2, tell)
        ran = ran if again else ran * 3 // 2
    return dict(longest=ran, refused=refused)


def try_length(kind, m, length, tell):
    try:
        b = kind.batch(length, length)
        f = kind.parts(b)["step"]
        f()
        m.synchronize()
        m.reset_peak()
        seconds = min(m.clock(f) for _ in range(2))
        peak, reserved = m.peak()
        tell(dict(length=length, seconds=seconds, peak_bytes=peak, reserved_bytes=reserved))
        return None, seconds
    except Exception as e:
        traceback.print_exc()
        return dict(error=first_line(e), out_of_memory=out_of_memory(e), length=length), 0
    finally:
        b = f = None
        kind.drop()
        m.forget()


def check(a, m):
    """The variant against HuggingFace's eager code in float64: relative errors of the encoder's output, and of the
    gradients of all parameters together and of the worst one, on full and on mixed pieces. Dropout is off. The bf16
    rows hold eager's own error too: that is what bf16 costs."""
    import torch

    c = models.config(a.size, dropout=0, layers=a.layers)
    results = []
    for pieces in ("full", "mixed"):
        lengths = [a.check_length] * 2 if pieces == "full" else [a.check_length, a.check_length * 2 // 3, a.check_length // 8]
        b = variants.Batch(c, lengths, a.device)
        want = gradients(variants.parse("eager"), a, m, b, torch.float64, False)
        for name, dtype, autocast in (("f32", torch.float32, False), ("autocast", torch.float32, True), ("bf16", torch.bfloat16, False)):
            row = dict(pieces=pieces, dtype=name)
            if name != "f32" and os.environ.get("TRITON_INTERPRET"):
                results.append(row | dict(skipped="Triton's interpreter has no bf16 arithmetic"))
                continue
            try:
                row |= errors(gradients(a.variant, a, m, b, dtype, autocast), want)
                if name != "f32" and a.variant.name != "eager":
                    row["eager"] = errors(gradients(variants.parse("eager"), a, m, b, dtype, autocast), want)
                if pieces == "full" and not autocast:
                    row["inference"] = inference_error(a, m, b, dtype, want)
                row["right"] = right(row)
            except Exception as e:
                traceback.print_exc()
                row |= dict(error=first_line(e), right=False)
            results.append(row)
    return results


def right(row):
    """float32 may hold products of TF32, whose operands are off by 2^-11 each; one parameter may be four times as far off
    as all together. bf16 may lose three times what eager loses."""
    tf32 = dict(output=2.0**-9, gradients=2.0**-9, worst=2.0**-7)
    limits = {k: tf32[k] if row["dtype"] == "f32" else 3 * row.get("eager", row)[k] + 2.0**-12 for k in tf32}
    own = {k: row[k] for k in limits}
    if "inference" in row:
        own["inference"], limits["inference"] = row["inference"], limits["output"]
    return all(own[k] <= limits[k] for k in own)  # NaN is not


def checked_model(a, dtype, heads):
    """The same weights whatever the dtype, none of them at the value that hides an error."""
    import torch

    model = models.build(a.size, a.device, torch.float32, heads=heads, dropout=0, layers=a.layers)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters(), key=lambda x: x[0].removeprefix("deberta.")):
            if name.startswith("cls."):
                continue
            p.add_((torch.rand(p.shape, generator=g) - 0.5).to(p) * (0.2 if p.dim() == 1 else 0.1))
    return model.to(dtype)


def gradients(v, a, m, b, dtype, autocast):
    import torch

    model = checked_model(a, dtype, True).train()
    captured = {}
    loss, _ = variants.prepare_training(v, model, a.device, full=b.full)
    # What enters the head is the encoder's output.
    model.cls.register_forward_pre_hook(lambda module, args: captured.update(hidden=args[0]))
    with m.autocast(autocast):
        value = loss(b)
    value.backward()
    hidden = captured["hidden"].detach().double()
    rows = hidden[b.real] if hidden.dim() == 3 else hidden
    names = dict(model.named_parameters())
    return rows, {n: p.grad.double() for n, p in names.items() if p.grad is not None}


def errors(got, want):
    import torch

    def relative(x, y):
        return float((x - y).norm() / y.norm())

    (rows, grads), (wanted, reference) = got, want
    if set(grads) != set(reference):
        raise RuntimeError(f"gradients of other parameters: {sorted(set(grads) ^ set(reference))[:3]}")
    together = lambda g: torch.cat([g[n].flatten() for n in sorted(reference)])
    # A gradient that is nearly zero is compared with a thousandth of the largest instead.
    floor = 1e-3 * max(float(g.norm()) for g in reference.values())
    each = {n: float((grads[n] - g).norm()) / max(float(g.norm()), floor) for n, g in reference.items()}
    worst = max(each, key=lambda n: each[n] if each[n] == each[n] else float("inf"))
    return dict(output=relative(rows, wanted), gradients=relative(together(grads), together(reference)), worst=each[worst],
                worst_name=worst)


def inference_error(a, m, b, dtype, want):
    import torch

    model = checked_model(a, dtype, False).eval()
    hidden, _ = variants.prepare_inference(a.variant, model, a.device, [b.n])
    with torch.inference_mode():
        rows = hidden(b).double().reshape(b.tokens, -1)
    return float((rows - want[0]).norm() / want[0].norm())


def peaks(a, m, request):
    """What PyTorch reaches on this machine, once around: products of the encoder's shapes in bf16 and in float32 with
    TF32 off, and copies. FLOP/s and bytes/s (read and written)."""
    import torch

    out = {}
    def measure(name, f, work, unit):
        try:
            f()
        except (RuntimeError, TypeError) as e:
            out[name] = dict(error=first_line(e))
            return
        once = m.clock(f)
        count = max(STEPS, int(request["seconds"] / max(once, 1e-7)))
        clocks = [m.clocks([f]) for _ in range(count)]
        m.synchronize()
        times = sorted(c()[0] for c in clocks)
        out[name] = dict(rate=work / times[len(times) // 2], unit=unit, runs=count)

    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float32, "f32")):
        shapes = request["shapes"]
        for t, n, k in shapes:  # y[t,n] = x[t,k] w[n,k]' + b
            x, w, bias, dy = (torch.randn(s, device=a.device, dtype=dtype) for s in ((t, k), (n, k), (n,), (t, n)))
            flop = 2 * t * n * k
            measure(f"{name} y {t}x{k}x{n}", lambda: torch.nn.functional.linear(x, w, bias), flop, "FLOP/s")
            measure(f"{name} dx {t}x{k}x{n}", lambda: dy @ w, flop, "FLOP/s")
            measure(f"{name} dw {t}x{k}x{n}", lambda: dy.T @ x, flop, "FLOP/s")
            if m.cuda and dtype == torch.bfloat16:  # as bench gpu has it
                measure(f"{name} dw {t}x{k}x{n} to f32", lambda: torch.mm(dy.T, x, out_dtype=torch.float32), flop, "FLOP/s")
            del x, w, bias, dy
            m.forget()
    for size in request["copies"]:
        source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=a.device)
        target = torch.empty_like(source)
        measure(f"copy {size >> 20} MiB", lambda: target.copy_(source), 2 * size, "byte/s")
        if m.cuda:
            host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            measure(f"to the device {size >> 20} MiB", lambda: target.copy_(host, non_blocking=True), size, "byte/s")
            measure(f"to the host {size >> 20} MiB", lambda: host.copy_(source, non_blocking=True), size, "byte/s")
        del source, target
        m.forget()
    return out


def products(a, m, request):
    """FLOP/s of PyTorch's products, by the names that secencoder bench gpu has for its own: y = x·W', dx = dy·W and
    dw = dy'·x, the latter float32 in either arithmetic. Measured as there, so that clocks are the same: values in [-0.5, 0.5),
    calls that fill half a millisecond between two events, queued behind a copy, right behind a slice of products of large
    square matrices that is made in the same way, with the host waiting after each; the median."""
    import torch

    # bench gpu copies and multiplies within 256 MiB; its square matrices of float32 have half the side.
    half, side = ((128 << 20, 8192) if m.cuda else (1 << 20, 128))
    source = torch.rand(half // 4, device=a.device)
    target = torch.empty_like(source)
    square = {of: torch.rand((n, n), device=a.device).sub_(0.5).to(of) for of, n in ((torch.bfloat16, side), (torch.float32, side // 2))}

    def slice_of(call, repeat):
        def calls():
            for _ in range(repeat):
                call()

        clocks = m.clocks([lambda: target.copy_(source), calls])
        m.synchronize()
        return clocks()[1]

    def settled(call):
        """How many calls make half a millisecond."""
        for _ in range(2):
            once = slice_of(call, 1)
        return max(1, min(100, int(5e-4 / once)))

    rates = {}
    for name in request["names"]:
        kind, shape, dtype = name.split()
        rows, inner, outer = map(int, shape.split("x"))
        of = dict(bf16=torch.bfloat16, f32=torch.float32)[dtype]
        x, w, dy = ((torch.rand(s, device=a.device) - 0.5).to(of) for s in ((rows, inner), (outer, inner), (rows, outer)))
        # The CPU, where this is only tried, has no product with a result of another type.
        wide = dict(out_dtype=torch.float32) if m.cuda and dtype == "bf16" else {}
        call = dict(y=lambda: torch.mm(x, w.T), dx=lambda: torch.mm(dy, w), dw=lambda: torch.mm(dy.T, x, **wide))[kind]
        large = lambda: torch.mm(square[of], square[of].T)
        repeat, before = settled(call), settled(large)
        times, end = [], time.perf_counter() + request["seconds"]
        while len(times) < STEPS or time.perf_counter() < end:
            slice_of(large, before)
            times.append(slice_of(call, repeat) / repeat)
        rates[name] = 2 * rows * inner * outer / statistics.median(times)
        del x, w, dy
        m.forget()
    return rates


def library(m):
    """The file of the cuBLASLt that multiplies for PyTorch; none on the CPU."""
    if not m.cuda:
        return dict(file=None)
    x = m.torch.ones((64, 64), device="cuda", dtype=m.torch.bfloat16)
    x @ x
    m.synchronize()
    files = mapped("libcublasLt.so")
    if len(files) != 1:
        raise RuntimeError(f"want one libcublasLt in PyTorch's process, there are {len(files)}: {' '.join(files)}")
    return dict(file=files[0])


def mapped(stem):
    """The files of a name that begins with stem that are mapped into this process."""
    with open("/proc/self/maps") as f:
        paths = {l.split(maxsplit=5)[5].rstrip("\n") for l in f if len(l.split()) > 5}
    return sorted(p for p in paths if p.rpartition("/")[2].startswith(stem))


def missing(a):
    """The packages that this Python does not have and the variant needs."""
    names = ["torch", "transformers"]
    if a.device == "cuda" or a.variant.name == "flashdeberta":
        names.append("triton")
    return [n for n in names if importlib.util.find_spec(n) is None]


def versions():
    import importlib.metadata as meta

    found = {"python": sys.version.split()[0]}
    for name in ("torch", "triton", "transformers", "disentangled-flash", "flashdeberta", "einops", "numpy"):
        with contextlib.suppress(meta.PackageNotFoundError):
            found[name] = meta.version(name)
    return found


def about(a, m):
    import torch

    me = dict(versions=versions(), cuda=torch.version.cuda)
    if m.cuda:
        p = torch.cuda.get_device_properties(0)
        me["gpu"] = dict(name=p.name, capability=f"{p.major}.{p.minor}", memory=p.total_memory, multiprocessors=p.multi_processor_count)
        with contextlib.suppress(ImportError):
            me["profile"] = variants.profile_match()
    return me


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["train", "infer", "layer", "check", "longest-train", "longest-infer", "peaks", "products"])
    p.add_argument("--variant", type=variants.parse, default="eager")
    p.add_argument("--size", choices=list(models.SIZES), default="base")
    p.add_argument("--weights", choices=["f32", "bf16"], default="bf16", help="f32: products in bf16 by autocast")
    p.add_argument("--pieces", choices=["full", "mixed"], default="full")
    p.add_argument("--contexts", type=lambda s: [int(x) for x in s.split(",")], default=[])
    p.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    p.add_argument("--layers", type=int, help="of the model of check")
    p.add_argument("--check-length", type=int, default=640)
    a = p.parse_args()
    # What libraries print goes to stderr; the real stdout carries answers only.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(document):
        print(json.dumps(document), file=out, flush=True)

    absent = missing(a)
    if absent:
        tell(dict(error=f"{sys.executable} has no {' and no '.join(absent)}; `python3 peers.py fetch --torch`, on a machine that reaches "
                        "PyPI, brings them into wheels/, and `python3 -m pip install --no-index --find-links wheels -r requirements-torch.txt` "
                        "installs them from there", out_of_memory=False, missing=absent))
        return
    try:
        if a.device == "cpu" and a.variant.name == "flashdeberta":
            variants.interpret()
        m = Machine(a.device)
        if m.cuda and not m.torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no GPU")
        if a.device == "cpu":
            m.torch.set_num_threads(2)
        m.torch.backends.cuda.matmul.allow_tf32 = m.torch.backends.cudnn.allow_tf32 = False
        if a.variant.compiled:
            # Many shapes of the same code; past the limit it would run as it is, and be measured as if it were compiled.
            m.torch._dynamo.config.recompile_limit = 64
            m.torch._dynamo.config.fail_on_recompile_limit_hit = True
        steps = Steps(a, m) if a.what in ("train", "infer", "layer") else None
        tell(about(a, m))
    except Exception as e:
        traceback.print_exc()
        tell(dict(error=first_line(e), out_of_memory=out_of_memory(e)))
        return
    does = dict(warm=lambda r: steps.warm(r["context"], r["tokens"]), slice=lambda r: dict(slices=steps.slice(r["contexts"])),
                check=lambda r: dict(checks=check(a, m)), longest=lambda r: longest(a, m, r, tell), peaks=lambda r: dict(peaks=peaks(a, m, r)),
                products=lambda r: dict(rates=products(a, m, r)), library=lambda r: library(m))
    for line in sys.stdin:
        tell(answer(does, json.loads(line), m))


def answer(does, request, m):
    """What was asked for, or why it did not run, with nothing of that left on the GPU."""
    try:
        return does[request["do"]](request)
    except Exception as e:
        traceback.print_exc()
        failure = dict(error=first_line(e), out_of_memory=out_of_memory(e))
    m.forget()  # outside of the handler, which keeps the tensors of what failed alive
    return failure


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
