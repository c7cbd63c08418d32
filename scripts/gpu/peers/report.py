"""The page of a record: tables in Markdown, from the lines of peers.jsonl alone."""

import math
import statistics

GIB = 1 << 30
FAR = 0.1  # a difference from eager at the size that is measured that is no rounding
ATTEMPTS = 2  # of getting a variant ready, before it counts as one that does not run


def number(x, digits=3):
    """Three figures that count, with commas; a dash for what is not known."""
    if x is None:
        return "-"
    if x >= 10 ** (digits - 1):
        return f"{x:,.0f}"
    return f"{x:.{digits}g}"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(c) for c in l) + " |" for l in lines) + "\n"


def of(lines, kind, **where):
    return [l for l in lines if l["kind"] == kind and all(l.get(k) == v for k, v in where.items())]


def slices(lines, group, variant, context, part):
    """{round: median seconds of a run}."""
    return {s["round"]: statistics.median(s["times"][part]) for s in of(lines, "slice", group=group, variant=variant, context=context)
            if part in s.get("times", {})}


def layer_seconds(lines, group, variant, context):
    """Seconds of attention forward and backward: the median of the rounds; None where there is none."""
    forward, backward = (slices(lines, group, variant, context, f"attention {x}") for x in ("forward", "backward"))
    both = [forward[r] + backward[r] for r in forward if r in backward]
    return statistics.median(both) if both else None


def middle(values, scale=1.0, digits=3):
    """Median (least to most)."""
    values = sorted(v * scale for v in values)
    if not values:
        return "-"
    if len(values) == 1:
        return number(values[0], digits)
    return f"{number(statistics.median(values), digits)} ({number(values[0], digits)} to {number(values[-1], digits)})"


def verdict(lines, variant):
    """The variant's name with what its check says of it, or that of the same without some options or by another tuning."""
    def parts(v):
        v, _, tuning = v.partition("@")
        name, *options = v.replace("compile-layers", "compile").split("+")
        return name, set(options), tuning

    name, options, tuning = parts(variant)
    bad, seen = [], False
    for l in of(lines, "check"):
        its, with_options, by = parts(l["variant"])
        if its == name and with_options <= options:
            seen = True
            if not tuning or not by or tuning == by:
                bad += [f"{c['pieces']} {c['dtype']}" for c in l["checks"] if not c.get("right", True)]
    return variant + (f" **wrong: {', '.join(sorted(set(bad)))}**" if bad else "" if seen else " (not checked)")


def proofs(lines, group, variant, context):
    """The relative difference of a variant's proof from eager's, at the same tokens; None where there is none."""
    own, eager = (of(lines, "ready", group=group, variant=v, context=context) for v in (variant, "eager"))
    if not own or not eager or variant == "eager" or own[-1]["tokens"] != eager[-1]["tokens"]:
        return None
    x, y = own[-1]["proof"], eager[-1]["proof"]
    if not x or not y:
        return None
    if group.startswith(("train", "mixed")):  # the loss, and the norm of the gradient: the larger difference
        off = [abs(a - b) / abs(b) for a, b in zip(x, y)]
        return max(off, key=lambda d: math.inf if math.isnan(d) else d)
    return (sum((a - b) ** 2 for a, b in zip(x, y)) / sum(b * b for b in y)) ** 0.5


def peak_rate(lines, prefix):
    """The best of the medians of all shapes."""
    rates = {}
    for s in of(lines, "slice", group="peaks"):
        for name, p in s["peaks"].items():
            if name.startswith(prefix) and "rate" in p:
                rates.setdefault(name, []).append(p["rate"])
    return max((statistics.median(v) for v in rates.values()), default=None)


def head(lines):
    runs, about = of(lines, "run"), (of(lines, "about") or [dict(about={})])[-1]["about"]
    toy = runs[-1]["toy"] or runs[-1]["device"] == "cpu"
    drivers = sorted({r["driver"] for r in runs if r["driver"]})
    commits = sorted({r["commit"] or "unknown" for r in runs})
    scripts = sorted({r["scripts"] for r in runs})
    gpu = about.get("gpu")
    out = ["<!-- Made by scripts/gpu/peers/peers.py report; DO NOT EDIT. -->", "# Peers on the GPU: a record" if not toy else
           "# A trial of the scripts, not a measurement", ""]
    if toy:
        out += ["A tiny model or the CPU stood in for what is to be measured: the times below mean nothing.", ""]
    where = (f"{gpu['name']} (compute capability {gpu['capability']}, {gpu['multiprocessors']} multiprocessors, "
             f"{number(gpu['memory'] / GIB)} GiB)") if gpu else "the CPU"
    out += [f"{where}; driver {'; '.join(drivers) or '-'}; CUDA {about.get('cuda') or '-'}; "
            + ", ".join(f"{k} {v}" for k, v in about.get("versions", {}).items()) + ".",
            f"secencoder at {', '.join(c[:12] + c[40:] for c in commits)}; scripts {', '.join(scripts)}; "
            f"{runs[0]['date']}" + (f" to {runs[-1]['date']}" if len(runs) > 1 else "") + ".", ""]
    if about.get("profile"):
        out += [f"disentangled-flash's bundled profile and this machine: {about['profile']}.", ""]
    out += sorted({f"- {n}" for r in runs for n in r["notes"]})
    out += ["What each row is and how it is measured: [scripts/gpu/peers](../../scripts/gpu/peers/README.md). Medians of rounds "
            "in which the variants take turns, with the least and the most; ratios are taken within a round.", ""]
    return out


def checks(lines):
    rows = []
    for l in of(lines, "check"):
        for c in l["checks"]:
            if "output" not in c:
                rows.append([l["variant"], c["pieces"], c["dtype"], *["-"] * 5, c.get("skipped") or c["error"]])
                continue
            e = c.get("eager", {})
            show = lambda k: f"{c[k]:.2g}" + (f" ({e[k]:.2g})" if k in e else "")
            rows.append([l["variant"], c["pieces"], c["dtype"], show("output"), show("gradients"), show("worst"),
                         c["worst_name"].removeprefix("deberta."), f"{c['inference']:.2g}" if "inference" in c else "-", "right" if c["right"] else "**wrong**"])
    if not rows:
        return []
    return ["## Are they right?", "", "Relative errors against HuggingFace's eager code in float64; in brackets what eager in the same "
            "dtype has. Worst: of the parameters' gradients, the one that is farthest off.", "",
            table(["variant", "pieces", "dtype", "output", "gradients", "worst", "of", "inference", "verdict"], rows)]


def peaks(lines):
    found, errors = {}, {}
    for s in of(lines, "slice", group="peaks"):
        for name, p in s["peaks"].items():
            if "error" in p:
                errors[name] = p["error"]
            else:
                found.setdefault((name, p["unit"]), []).append(p["rate"])
    if not found:
        return []
    units = {"FLOP/s": (1e-12, " TFLOP/s"), "byte/s": (1e-9, " GB/s")}
    rows = [[name, middle(v, units[unit][0], 4) + units[unit][1]] for (name, unit), v in found.items()]
    rows += [[name, why] for name, why in errors.items()]
    return ["## What PyTorch reaches with products and copies", "",
            "y = x·W' + b, dx = dy·W, dw = dy'·x; rows x in x out. float32 with TF32 off. A copy's bytes are counted when read and when written.", "",
            table(["what", "rate"], rows)]


def products(lines):
    """{product: {round: (PyTorch's rate, secencoder's, operations)}}."""
    found = {}
    for s in of(lines, "slice", group="products"):
        for name, p in s["products"].items():
            found.setdefault(name, {})[s["round"]] = (p["pytorch"], p["secencoder"], p["flop"])
    return found


def product_ratios(lines):
    """secencoder's time for all products of an arithmetic into PyTorch's, within each round: what 95 % is asked of."""
    out, found = [], products(lines)
    for dtype in sorted({name.split()[2] for name in found}):
        mine = [r for name, r in found.items() if name.endswith(" " + dtype)]
        rounds = sorted(set.intersection(*(set(r) for r in mine)))
        ratios = [sum(p[n][2] / p[n][0] for p in mine) / sum(p[n][2] / p[n][1] for p in mine) for n in rounds]
        out.append(f"{dtype}: secencoder at {middle(ratios)} times PyTorch's rate")
    return out


def product_table(lines):
    found = products(lines)
    if not found:
        return []
    rows = [[name, *(middle([p[i] for p in r.values()], 1e-12, 4) for i in (0, 1)), middle([p[1] / p[0] for p in r.values()])]
            for name, r in found.items()]
    by = [f"secencoder with cuBLAS {b['versions'].get('cublaslt', '-')} ({b['gpu']['cublaslt_path']}), PyTorch with "
          f"{b.get('pytorch_cublaslt') or 'the processor'}, on {b['gpu']['name']}" for b in of(lines, "bench")]
    return ["## The same products by PyTorch and by secencoder", "", f"{'; '.join(by)}; y = x·W', dx = dy·W, dw = dy'·x into float32; rows x in x out.", "",
            *(f"- {line}, all products together." for line in product_ratios(lines)), "",
            table(["product", "PyTorch, TFLOP/s", "secencoder, TFLOP/s", "secencoder by PyTorch"], rows)]


def steps(lines, group):
    key, bf16 = group["group"], peak_rate(lines, "bf16")
    rows = []
    for c in group["contexts"]:
        base = rates(lines, key, "eager", c)
        for v in group["variants"]:
            ready = of(lines, "ready", group=key, variant=v, context=c)
            mine = rates(lines, key, v, c)
            if not mine:
                continue
            work = ready[-1]["work"]["step"] / ready[-1]["tokens"]
            flops = statistics.median(mine.values()) * work
            measured = of(lines, "slice", group=key, variant=v, context=c)
            ratio = [mine[r] / base[r] for r in mine if r in base]
            off = proofs(lines, key, v, c)
            rows.append([f"{c:,}", verdict(lines, v), number(ready[-1]["tokens"], 4), middle(mine.values(), 1, 4),
                         number(flops / 1e12), f"{100 * flops / bf16:.0f} %" if bf16 else "-", number(max(s["peak_bytes"] for s in measured) / GIB),
                         "-" if v == "eager" else middle(ratio), "-" if off is None else f"{off:.1g}" if off <= FAR else f"**{off:.1g}**"])
    if not rows:
        return []
    weights = "float32 weights, products in bf16 by autocast" if group["weights"] == "f32" else "weights of bf16"
    what = "Training step" if group["what"] == "train" else "Inference"
    mixed = ", pieces of mixed length" if group["pieces"] == "mixed" else ""
    return [f"## {what}, {group['size']}{mixed}: {key}", "", f"{weights[0].upper() + weights[1:]}.", "",
            table(["context", "variant", "tokens a step", "tokens/s", "TFLOP/s", "of the best bf16 product", "peak memory, GiB", "by eager", "difference"], rows)]


def rates(lines, key, variant, context):
    ready = of(lines, "ready", group=key, variant=variant, context=context)
    return {r: ready[-1]["tokens"] / s for r, s in slices(lines, key, variant, context, "step").items()} if ready else {}


def layers(lines, group):
    key, rows = group["group"], []
    for c in group["contexts"]:
        for v in group["variants"]:
            ready = of(lines, "ready", group=key, variant=v, context=c)
            if not ready:
                continue
            cells = []
            for what in ("attention", "layer"):
                forward, backward = (slices(lines, key, v, c, f"{what} {x}") for x in ("forward", "backward"))
                work = ready[-1]["work"]
                both = [forward[r] + backward[r] for r in forward if r in backward]
                for times, flop in ((forward.values(), work[f"{what} forward"]), (backward.values(), work[f"{what} backward"]),
                                    (both, work[f"{what} forward"] + work[f"{what} backward"])):
                    t = statistics.median(times) if times else None
                    cells.append(f"{number(t * 1e3)} ms, {number(flop / t / 1e12)}" if t else "-")
            measured = of(lines, "slice", group=key, variant=v, context=c)
            if not measured:
                continue
            rows.append([f"{c:,}", verdict(lines, v), number(ready[-1]["tokens"], 4), *cells,
                         number(max(s["peak_bytes"] for s in measured) / GIB)])
    if not rows:
        return []
    return [f"## One layer's attention, {group['size']}: {key}", "", "Milliseconds, and TFLOP/s by the operations of the README. Weights and "
            "activations of bf16. *Attention*: queries, keys, values and position tables given. *Layer*: with their projections.", "",
            table(["context", "variant", "tokens", *(f"{w} {x}" for w in ("attention", "layer") for x in ("forward", "backward", "both")),
                   "peak memory, GiB"], rows)]


def longest(lines, group):
    key, rows = group["group"], []
    for v in group["variants"]:
        reached = of(lines, "length", group=key, variant=v)
        ended = of(lines, "longest", group=key, variant=v) or of(lines, "failed", group=key, variant=v)
        if not reached and not ended:
            continue
        best = max(reached, key=lambda l: l["length"], default=None)
        refused = ended[-1].get("refused", ended[-1]) if ended else dict(error="not finished")
        why = "nothing up to the last length tried" if refused is None else "memory" if refused.get("out_of_memory") else refused["error"]
        at = f" (at {refused['length']:,})" if refused and "length" in refused else ""
        there = [f"{best['length']:,}", number(best["length"] / best["seconds"]), number(best["peak_bytes"] / GIB)] if best else ["-"] * 3
        rows.append([verdict(lines, v), *there, why + at])
    if not rows:
        return []
    weights = "float32 weights, bf16 by autocast" if group["weights"] == "f32" else "weights of bf16"
    return [f"## The longest piece, {group['size']}: {key}", "", f"One piece a step, doubled until something refuses; where that is memory, one "
            f"and a half times the last is tried too. {weights[0].upper() + weights[1:]}.", "",
            table(["variant", "longest, tokens", "tokens/s there", "peak memory, GiB", "what stopped it"], rows)]


def refusals(lines):
    rows = [[f["group"], f["variant"], f.get("context") or "-", f["error"]] for f in of(lines, "failed")]
    late = {}
    for l in of(lines, "late"):
        late.setdefault((l["group"], l["variant"]), []).append(l["seconds"])
    rows += [[g, v, "-", f"not ready after {max(s):.0f} s, {len(s)} times"] for (g, v), s in late.items() if len(s) >= ATTEMPTS]
    return ["## Did not run", "", table(["group", "variant", "context", "why"], rows)] if rows else []


def page(lines):
    out = [*head(lines), *checks(lines), *peaks(lines), *product_table(lines)]
    for g in {g["group"]: g for g in of(lines, "group")}.values():
        out += dict(train=steps, infer=steps, layer=layers).get(g["what"], longest if g["what"].startswith("longest") else lambda *_: [])(lines, g)
    return "\n".join([*out, *refusals(lines)]).rstrip() + "\n"
