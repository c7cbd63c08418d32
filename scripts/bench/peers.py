"""Measures secencoder and its peers on this machine, in turns: one JSON record and one page of tables.

    VENV/bin/python scripts/bench/peers.py --out out/peers [--page docs/bench/cpu-peers.md]
    VENV/bin/python scripts/bench/peers.py --render out/peers/peers.json      # the page of a record

Every case is a process. A peer's process (worker.py) is started once, warms up, and waits; ours is `secencoder bench`,
which is started for every slice and warms up itself. A round asks every case of a group for one slice, one after the
other: A B C A B C ... Ratios are taken within a round, and then their median; so what else the machine does at the time
falls on both sides. What does not run is in the record with the first line of its error.
"""

import argparse
import datetime
import json
import os
import platform
import re
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONTEXT = 512
DTYPES = {"f32": "float32", "autocast": "bf16 autocast", "bf16": "bf16 weights"}
ENVIRONMENT = ("OMP_", "KMP_", "GOMP_", "MKL_", "ONEDNN_", "MALLOC_", "THP_", "LD_PRELOAD", "SECENCODER_", "GO")
# glibc gives large blocks back to the kernel and takes them again, page by page, at every operation. With these settings it
# keeps them, which is what PyTorch's tuning guide recommends other allocators for.
KEPT = {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1000000000000:glibc.malloc.top_pad=67108864"}
FIELDS = ("median", "best_tenth", "per_cpu_second", "runs", "median_share_of_peak", "share_of_peak")  # of a slice of ours
VERSIONS = ("go", "numpy", "onnx", "onnxruntime", "python", "torch", "transformers")
RESERVE = 2 << 30  # memory that no peer may take from the machine


# The rows of each group: what the ratios are about, and what only --all adds.
TORCH = dict(
    train=(["autocast", "autocast kept", "bf16 kept"], ["bf16", "autocast kept masked"]),
    train32=(["f32 kept"], ["f32", "f32 kept compiled"]),
    compiled=(["autocast kept compiled"], ["bf16 kept compiled"]),
    train8192=(["autocast kept", "autocast kept compiled"], []),
    memory=(["f32", "autocast", "bf16"], ["autocast kept compiled"]),
    infer=(["autocast", "f32 kept", "autocast kept", "bf16 kept", "bf16 kept compiled"],
           ["f32", "bf16", "f32 kept compiled", "autocast kept compiled"]),
    line=(["bf16", "f32 kept", "autocast kept", "bf16 kept"], ["f32", "autocast", "f32 kept compiled", "bf16 kept compiled"]))
ORT = dict(infer=(["f32", "bf16", "int8"], ["f16"]), line=(["f32", "f16", "int8"], ["bf16"]))
ORT_NAMES = dict(f32="float32", f16="float16", bf16="bf16", int8="int8 weights, dynamic (context only)")


def torch_cases(what, names, threads, shape):
    """PyTorch as installed or with memory kept (KEPT), compiled or not, with HuggingFace's head or a frugal one."""
    for name in names:
        dtype, *more = name.split()
        words = dict(kept="memory kept", compiled="compiled", masked="head on masked tokens only")
        args = [what, "--dtype", dtype, *shape, "--threads", str(threads)]
        args += (["--compile"] if "compiled" in more else []) + (["--head", "masked"] if "masked" in more else [])
        yield dict(name=", ".join([f"PyTorch {DTYPES[dtype]}", *(words[x] for x in more)]), side="peer", args=args,
                   env=KEPT if "kept" in more else {})


def ort_cases(names, threads, shape, folder):
    for d in names:
        yield dict(name=f"ONNX Runtime {ORT_NAMES[d]}", side="peer",
                   args=["ort", "--dtype", d, *shape, "--threads", str(threads), "--folder", str(folder)])


def our_cases(what, names, threads, shape, seconds):
    for d in names:
        name = DTYPES[d].split()[0]
        yield dict(name=f"secencoder {name}", side="ours", args=[
            "bench", what, "--size", "base", *shape, "--threads", str(threads), "--dtype", d, "--duration", f"{seconds}s"])


def group(o, key, title, what, tokens, context=CONTEXT, threads=None, seconds=1, ours=("f32", "bf16"), **settings):
    threads, shape = threads or o.threads, ["--context", str(context), "--tokens", str(tokens)]
    pick = {k: v[0] + v[1] * o.all for k, v in dict(torch=TORCH[key], ort=ORT.get(key, ([], []))).items()}
    cases = [*our_cases(what, ours, threads, shape, 1), *torch_cases(what, pick["torch"], threads, shape),
             *ort_cases(pick["ort"], threads, shape, o.out.resolve())]
    return dict(key=key, title=title, threads=threads, runs=1, seconds=seconds, cases=cases, **settings)


def products(o):
    rows, cases = [int(x) for x in o.rows.split(",")], []
    for d, name in dict(f32="float32", bf16="bf16").items():
        args = ["--threads", str(o.threads), "--dtype", d]
        cases.append(dict(name=f"secencoder {name}", side="ours", rows=rows,
                          args=["bench", "gemm", "--size", "base", *args, "--duration", "300ms"]))
        cases.append(dict(name=f"PyTorch {name}", side="peer", args=["gemm", *args, "--rows", o.rows]))
    return dict(key="gemm", title="Products of linear layers", threads=o.threads, runs=3, seconds=0, cases=cases)


def all_groups(o):
    """The comparisons, in the order in which they are measured."""
    return [
        # Apart, because workers that wait keep their memory.
        group(o, "train", "Training step, bf16, 2,048 tokens", "train", 2048, seconds=0, ours=["bf16"]),
        group(o, "compiled", "Training step, bf16, 2,048 tokens, compiled", "train", 2048, seconds=0, ours=["bf16"]),
        group(o, "train32", "Training step, float32, 2,048 tokens", "train", 2048, seconds=0, ours=["f32"]),
        group(o, "train8192", "Training step, bf16, 8,192 tokens", "train", 8192, seconds=0, ours=["bf16"]),
        group(o, "memory", "Peak memory of training, 4,096 tokens a step", "train", 4096, rounds=1, alone=True),
        group(o, "infer", "Inference, 2,048 tokens", "infer", 2048),
        group(o, "line", "Inference, one line of 60 tokens, one thread", "infer", 60, context=60, threads=1),
        products(o),
    ]


def at(values, q):
    """The quantile as `secencoder bench` takes it."""
    s = sorted(values)
    return s[min(int(q * len(s)), len(s) - 1)]


def busy():
    """Seconds of processor time that the whole machine has used, what a hypervisor took away included."""
    with open("/proc/stat") as f:
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def available():
    with open("/proc/meminfo") as f:
        return next(int(l.split()[1]) * 1024 for l in f if l.startswith("MemAvailable"))


class Refused(Exception):
    pass


class Peer:
    """A worker that lives as long as its group."""

    def __init__(self, case, o):
        self.case, self.log = case, o.out / "log" / (re.sub(r"\W+", "-", f"{case['group']} {case['name']}") + ".txt")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        env = dict(os.environ, **case.get("env", {}), OMP_NUM_THREADS=case["args"][case["args"].index("--threads") + 1])
        command = [sys.executable, str(HERE / "worker.py"), *case["args"], "--limit-bytes", str(max(available() - RESERVE, 1 << 30))]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        first = self.answer()
        case["settings"], case["peak_bytes"] = first["settings"], first["peak_bytes"]
        o.versions.update(first["versions"])

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"ended with {self.process.wait()}")
        a = json.loads(line)
        if "error" in a:
            self.close()
            raise Refused(a["error"])
        return a

    def slice(self, group):
        self.process.stdin.write(json.dumps(dict(runs=group["runs"], seconds=group["seconds"])) + "\n")
        self.process.stdin.flush()
        a = self.answer()
        self.case["peak_bytes"] = a["peak_bytes"]
        out = {}
        for name, times in a["slices"].items():
            work = work_of(name, self.case["args"])
            out[name] = dict(median=work / at(times, 0.5), best_tenth=work / at(times, 0.1), runs=len(times),
                             per_cpu_second=work * len(times) / a["cpu"][name] if a["cpu"][name] else None)
        return out, sum(a["cpu"].values())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Ours:
    """`secencoder bench`, a process for every slice."""

    def __init__(self, case, o):
        self.case, self.o = case, o

    def slice(self, group):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = {}
        for more in [["--tokens", str(n)] for n in self.case.get("rows", [])] or [[]]:
            done = subprocess.run([str(self.o.binary), *self.case["args"], *more, "--quiet", "--json"], capture_output=True, text=True)
            if done.returncode:
                lines = [l for l in done.stderr.splitlines() if l.strip()]
                raise Refused(lines[-1] if lines else f"ended with {done.returncode}")
            r = json.loads(done.stdout)
            want = self.case["args"][self.case["args"].index("--dtype") + 1]
            if r.get("settings", {}).get("dtype", "f32") != want:
                raise Refused(f"asked for {want}, measured {r['settings']['dtype']}")
            self.case["settings"] = dict(r.get("settings", {}), kernels=r["machine"]["kernels"])
            self.case["peak_bytes"] = max(self.case.get("peak_bytes", 0), r["peak_bytes"])
            self.o.versions.update(r["versions"])
            for s in r["slices"]:
                if s["threads"] == group["threads"]:
                    out[s["case"]] = {k: s.get(k) for k in FIELDS}
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return out, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def close(self):
        pass


def work_of(name, args):
    """Tokens, or GFLOP of a product called like "dx 512x768x3072"."""
    m = re.fullmatch(r"\w+ (\d+)x(\d+)x(\d+)", name)
    if m:
        return 2e-9 * int(m[1]) * int(m[2]) * int(m[3])
    return int(args[args.index("--tokens") + 1])


def start(case, o):
    try:
        return (Ours if case["side"] == "ours" else Peer)(case, o)
    except Refused as e:
        refuse(case, e)
    return None


def refuse(case, e):
    case["refused"] = str(e)
    say(f"  {case['name']}: {e}")


def measure(group, o):
    """Runs the rounds of a group and leaves the slices in its cases."""
    say(f"{group['title']}, {group['threads']} threads")
    others, began, running = [], time.time(), {}
    for i, case in enumerate(group["cases"]):
        case.update(group=group["key"], rounds=[])
        if group.get("alone"):
            peak(case, group, o)
        else:
            running[i] = start(case, o)
    for n in range(0 if group.get("alone") else o.rounds):
        for i, case in enumerate(group["cases"]):
            if "refused" in case:
                continue
            was, clock = busy(), time.perf_counter()
            try:
                out, cpu = running[i].slice(group)
            except Refused as e:
                refuse(case, e)
                continue
            others.append(max(0.0, (busy() - was - cpu) / ((time.perf_counter() - clock) * os.cpu_count())))
            case["rounds"].append(dict(cases=out, others=others[-1]))
            say(f"  {n + 1}/{o.rounds} {case['name']}: " + ", ".join(f"{s['median']:.4g}" for s in list(out.values())[:3]))
    for i, worker in running.items():
        if "refused" not in group["cases"][i]:
            worker.close()
    group["others"] = at(others, 0.5) if others else None
    group["seconds_in_all"] = time.time() - began
    for case in group["cases"]:
        sum_up(case)
    group["ratios"] = [r for mine in group["cases"] if mine["side"] == "ours" for peer in group["cases"] if peer["side"] == "peer"
                       for r in ratios(mine, peer)]


def peak(case, group, o):
    """Leaves the peak memory in a case: one process at a time, as they would not fit side by side. A peer has reached it
    after its warm-up."""
    worker = start(case, o)
    if worker is None:
        return
    try:
        if case["side"] == "ours":
            worker.slice(group)
    except Refused as e:
        refuse(case, e)
        return
    worker.close()
    say(f"  {case['name']}: {size(case['peak_bytes'])}")


def sum_up(case):
    names = list(case["rounds"][0]["cases"]) if case["rounds"] else []
    case["results"] = {}
    for name in names:
        rows = [r["cases"][name] for r in case["rounds"]]
        cpu = [r["per_cpu_second"] for r in rows if r["per_cpu_second"]]
        case["results"][name] = dict(median=at([r["median"] for r in rows], 0.5), best_tenth=-at([-r["best_tenth"] for r in rows], 0.1),
                                     per_cpu_second=at(cpu, 0.5) if cpu else None, rounds=len(rows), runs=sum(r["runs"] for r in rows))


def ratios(mine, peer):
    """Ours by theirs in each round, and the median of that; and of what a second of processor time gives."""
    for name in mine["results"]:
        if name not in peer["results"]:
            continue
        pairs = [(m["cases"][name], p["cases"][name]) for m, p in zip(mine["rounds"], peer["rounds"])]
        wall = [m["median"] / p["median"] for m, p in pairs]
        cpu = [m["per_cpu_second"] / p["per_cpu_second"] for m, p in pairs if m["per_cpu_second"] and p["per_cpu_second"]]
        yield dict(ours=mine["name"], peer=peer["name"], case=name, median=at(wall, 0.5), least=min(wall), most=max(wall),
                   per_cpu_second=at(cpu, 0.5) if cpu else None)


def git(*args):
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def describe(o):
    info = {}
    with open("/proc/cpuinfo") as f:
        for line in f:
            key, _, value = (x.strip() for x in line.partition(":"))
            if not key and info:
                break
            info[key] = value
    flags = [x for x in info.get("flags", "").split() if re.match(r"avx|amx|fma", x)]
    with open("/proc/meminfo") as f:
        total = int(f.readline().split()[1]) * 1024
    return dict(processor=info.get("model name"), family=info.get("cpu family"), model=info.get("model"), flags=flags, cores=os.cpu_count(),
                memory_bytes=total, kernel=platform.release(), machine=platform.machine(),
                environment={k: v for k, v in sorted(os.environ.items()) if k.startswith(ENVIRONMENT)})


def build(o):
    """The binary and the commit it is made of."""
    if o.binary is None:
        o.binary = o.out / "secencoder"
        subprocess.run(["go", "build", "-buildvcs=true", "-o", str(o.binary.resolve()), "./cmd/secencoder"], cwd=ROOT, check=True,
                       env=dict(os.environ, CGO_ENABLED="0"))
    info = subprocess.run(["go", "version", "-m", str(o.binary)], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(vcs\.\w+)=(\S+)", info))
    return dict(commit=found.get("vcs.revision"), modified=found.get("vcs.modified") == "true", script=git("rev-parse", "HEAD"))


def say(text):
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def number(x, digits=3):
    if x is None:
        return "-"
    return f"{x:,.0f}" if x >= 1000 else f"{x:.{digits}g}"


def size(n):
    return "-" if not n else f"{n / 1e9:.2f} GB"


def page(r):
    """The tables of a record, as Markdown."""
    m = r["machine"]
    features = ", ".join(f for f in m["flags"] if f.startswith(("avx512f", "avx512_bf16", "avx512_vnni", "amx")))
    versions = ", ".join(f"{k} {v}" for k, v in sorted(r["versions"].items()) if k in VERSIONS)
    out = ["<!-- Made by scripts/bench/peers.py; DO NOT EDIT. -->", "# Peers on the processor: a record", "",
           f"{m['processor']}, family {m['family']} model {m['model']}, {m['cores']} cores, {m['memory_bytes'] / 2**30:.0f} GiB; "
           f"{features or 'no AVX-512'}; "
           f"Linux {m['kernel']}. {versions}."]
    if m["environment"]:
        out.append("Environment: " + ", ".join(f"`{k}={v}`" for k, v in m["environment"].items()) + ".")
    out += ["", "[scripts/bench](../../scripts/bench/README.md) says what each row is and how it is measured. \"X by it\" is the speed of X",
            "divided by that of the row in the same round: median (least to most); above 1 X is faster. Best tenth: what the fastest",
            "tenth of a slice reached, in the best round.", ""]
    for g in r["groups"]:
        rounds, b = max((len(c["rounds"]) for c in g["cases"]), default=0), g["build"]
        which = (b["commit"][:12] if b["commit"] else "of an unknown commit") + (" with changes" if b["modified"] else "")
        how = f"{g['threads']} thread{'s' if g['threads'] > 1 else ''}"
        if g["others"] is not None:
            how += f", {rounds} round{'s' if rounds > 1 else ''}; other work took {100 * g['others']:.0f} % of the machine"
        out += [f"## {g['title']}", "", f"{g['date']}, secencoder {which}; base, {how}.", *g["notes"], "", f"    {g['command']}", ""]
        out += (gemm_table if g["key"] == "gemm" else memory_table if g["key"] == "memory" else step_table)(g) + [""]
    return "\n".join(out)


def cell(g, mine, peer, case="step"):
    for x in g["ratios"]:
        if (x["ours"], x["peer"], x["case"]) == (mine, peer, case):
            return f"{number(x['median'])} ({number(x['least'])} to {number(x['most'])})"
    return "-"


def step_table(g):
    ours = [c["name"] for c in g["cases"] if c["side"] == "ours" and c["results"]]
    out = ["| what | median, tokens/s | best tenth | per second of processor time | peak memory |" + "".join(f" {x} by it |" for x in ours),
           "|---|---|---|---|---|" + "---|" * len(ours)]
    for c in g["cases"]:
        if not c["results"]:
            continue
        s = c["results"]["step"]
        speeds = " | ".join(number(s[k]) for k in ("median", "best_tenth", "per_cpu_second"))
        out.append(f"| {c['name']} | {speeds} | {size(c.get('peak_bytes'))} |"
                   + "".join(f" {cell(g, x, c['name']) if c['side'] == 'peer' else '-'} |" for x in ours))
    return out + refusals(g)


def memory_table(g):
    ran = [c for c in g["cases"] if "refused" not in c]
    ours = [c for c in ran if c["side"] == "ours"]
    out = ["| what | peak memory |" + "".join(f" {x['name']} as a share |" for x in ours), "|---|---|" + "---|" * len(ours)]
    for c in ran:
        shares = (f" {x['peak_bytes'] / c['peak_bytes']:.2f} |" if c["side"] == "peer" else " - |" for x in ours)
        out.append(f"| {c['name']} | {size(c['peak_bytes'])} |" + "".join(shares))
    return out + refusals(g)


def gemm_table(g):
    cases = [c for c in g["cases"] if c["results"]]
    pairs = [(a["name"], b["name"]) for a in cases for b in cases
             if a["side"] == "ours" and b["side"] == "peer" and a["name"].split()[-1] == b["name"].split()[-1]]
    out = ["GFLOP/s, medians. A case is rows x in x out of a layer: y with bias, dx and dw of its gradient.", "",
           "| case |" + "".join(f" {c['name']} |" for c in cases) + "".join(f" {a} by {b} |" for a, b in pairs),
           "|---|" + "---|" * (len(cases) + len(pairs))]
    for name in dict.fromkeys(n for c in cases for n in c["results"]):
        out.append(f"| {name} |" + "".join(f" {number(c['results'].get(name, {}).get('median'))} |" for c in cases)
                   + "".join(f" {cell(g, a, b, name)} |" for a, b in pairs))
    return out + refusals(g)


def refusals(g):
    rows = [f"- {c['name']}: `{c['refused']}`" for c in g["cases"] if "refused" in c]
    return ["", "Did not run:", ""] + rows if rows else []


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--out", type=Path, help="folder for the record, the binary, exports and logs; git must ignore it")
    a.add_argument("--page", type=Path, help="write the page there")
    a.add_argument("--render", type=Path, metavar="RECORD", help="measure nothing; print the page of a record")
    a.add_argument("--binary", type=Path, help="a built secencoder (default: build this checkout)")
    a.add_argument("--groups", default="train,infer,train32,line,memory,gemm",
                   help="what to measure: some of these, compiled and train8192 (default: %(default)s)")
    a.add_argument("--all", action="store_true", help="more rows: all combinations of PyTorch's and ONNX Runtime's settings")
    a.add_argument("--only", default="", help="regular expression: only cases whose name it finds")
    a.add_argument("--merge", action="store_true", help="keep the other groups of the record in --out")
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--rows", default="512,4096", help="rows of the products (default: %(default)s)")
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--note", action="append", default=[], help="a sentence for the record, such as what else was running")
    o = a.parse_args()
    if o.render:
        print(page(json.loads(o.render.read_text())))
        return
    if o.out is None:
        a.error("--out is missing")
    groups = all_groups(o)
    unknown = set(o.groups.split(",")) - {g["key"] for g in groups}
    if unknown:
        a.error(f"--groups {','.join(sorted(unknown))}: want some of {','.join(g['key'] for g in groups)}")
    o.out.mkdir(parents=True, exist_ok=True)
    record = o.out / "peers.json"
    old = json.loads(record.read_text())["groups"] if o.merge and record.exists() else []
    o.versions = {}
    made = dict(build=build(o), command=" ".join(["python", "scripts/bench/peers.py", *map(shlex.quote, sys.argv[1:])]), notes=o.note)
    r = dict(machine=describe(o), versions=o.versions, groups=old)
    for key in o.groups.split(","):
        g = next(g for g in groups if g["key"] == key)
        g["cases"] = [c for c in g["cases"] if re.search(o.only, c["name"])]
        g.update(made, date=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC", load=os.getloadavg())
        measure(g, o)
        r["groups"] = sorted([x for x in r["groups"] if x["key"] != key] + [g], key=lambda g: [x["key"] for x in groups].index(g["key"]))
        # Whole after every group: what was measured is not lost.
        record.write_text(json.dumps(r, indent=1) + "\n")
        (o.page or o.out / "peers.md").write_text(page(r))
    print(page(r))


if __name__ == "__main__":
    main()
