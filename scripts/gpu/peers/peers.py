"""What other programs reach on this GPU with the encoder's work: a record of JSON lines, and a page of tables from it.

    python3 peers.py fetch                              here, once: the pinned wheels, into wheels/ (--torch: PyTorch too)
    python3 peers.py plan                               the groups, and what of them is done
    python3 peers.py run --out OUT [--groups check,...] on the GPU's machine, again and again until nothing is left
    python3 peers.py report --out OUT --page PAGE.md    the page of the record

run stops by itself before --minutes are over and goes on where it stopped when it is called again: what was measured is
in OUT/peers.jsonl. README.md says what is measured and how.
"""

import argparse
import datetime
import hashlib
import json
import math
import os
import re
import select
import shlex
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import models
import report
import variants

HERE = Path(__file__).resolve().parent
RECORD = "peers.jsonl"
RESERVE = 20  # seconds that must be left for another slice
# Of the record: what decides whether two runs may share one.
SAME = ("device", "toy")

TRAINING = ["eager", "compile", "df-padded", "df-padded+compile", "df-packed", "df-packed+masked", "flashdeberta"]
TUNINGS = ["heuristic", "autotune", "profile"]


def groups(toy, rounds):
    """The plan, in the order in which it is measured; variants of disentangled-flash without a tuning get one when
    their group begins (choose). Groups that have to be named stand last."""
    context = {512: 32, 2048: 64, 8192: 128} if toy else {n: n for n in (512, 2048, 8192)}
    base, xxlarge = ("toy", "toy") if toy else ("base", "xxlarge")
    seconds, tokens = (0.05, 128) if toy else (1.5, 16384)

    def steps(key, what, size, weights, names, of=(512, 2048), tokens=tokens, pieces="full"):
        return dict(key=key, what=what, size=size, weights=weights, variants=names, contexts=[context[n] for n in of],
                    tokens=tokens, pieces=pieces, rounds=rounds, seconds=seconds, named=pieces != "full")

    def longest(key, what, size, weights, names):
        first, last = (16, 64) if toy else (4096, None)
        return dict(key=key, what=what, size=size, weights=weights, variants=names, first=first, last=last,
                    seconds=30, named=False)

    # 36 layers at once take minutes to compile, and each process keeps 4.3 GB of weights in the host's memory.
    big = ["eager", "compile-layers", "df-padded", "df-packed", "flashdeberta"]
    without_head = [n for n in TRAINING if "masked" not in n]
    layer = ["eager", "compile", *(f"df-{x}@{t}" for x in ("padded", "packed") for t in TUNINGS), "flashdeberta"]
    fits = [*big, "df-packed+masked"]
    half = tokens // 2
    shapes = [(t, n, k) for t in ((64,) if toy else (8192, 16384)) for s in (base, xxlarge)
              for h, i in [models.SIZES[s][1::2][:2]] for n, k in ((3 * h, h), (h, h), (i, h), (h, i))]
    bench = [["--size", "tiny", "--tokens", "16", "--context", "8", "--bytes", "24KiB", "--duration", "1ms"]] if toy else [
        ["--size", "base", "--tokens", "16384", "--duration", "2s"], ["--size", "xxlarge", "--tokens", "8192", "--duration", "2s"]]
    return [
        # What half an hour of a GPU should bring stands first.
        steps("layer-base", "layer", base, "bf16", layer, (512, 2048, 8192)),
        steps("train-base", "train", base, "f32", TRAINING),
        steps("infer-base", "infer", base, "bf16", without_head),
        dict(key="products", what="products", size=base, weights="bf16", variants=["eager"], rounds=rounds, seconds=0.02 if toy else 0.1,
             bench=bench, named=False),
        dict(key="check", what="check", size=xxlarge, weights="f32", named=False, layers=2,
             length=70 if toy else 640,
             variants=["eager", "compile-layers", "df-padded@heuristic", "df-packed@heuristic", "df-padded@profile",
                       "df-packed@profile", "df-padded+compile@heuristic", "flashdeberta"]),
        dict(key="peaks", what="peaks", size=base, weights="bf16", variants=["eager"], rounds=rounds, seconds=0.02 if toy else 0.1,
             shapes=list(dict.fromkeys(shapes)), copies=[1 << 20] if toy else [1 << 30], named=False),
        steps("train-xxlarge", "train", xxlarge, "f32", big, tokens=half),
        steps("infer-xxlarge", "infer", xxlarge, "bf16", big, tokens=half),
        steps("layer-xxlarge", "layer", xxlarge, "bf16", ["eager", "compile", "df-padded", "df-packed", "flashdeberta"], (512, 2048, 8192)),
        longest("longest-train-base", "longest-train", base, "f32", fits),
        steps("train-base-bf16", "train", base, "bf16", TRAINING),
        steps("train-xxlarge-bf16", "train", xxlarge, "bf16", big, tokens=half),
        longest("longest-infer-base", "longest-infer", base, "bf16", big),
        longest("longest-train-xxlarge", "longest-train", xxlarge, "f32", fits),
        longest("longest-infer-xxlarge", "longest-infer", xxlarge, "bf16", big),
        steps("mixed-base", "train", base, "f32", ["eager", "df-padded", "df-packed", "df-packed+masked", "flashdeberta"], (2048,), pieces="mixed"),
    ]


class Late(Exception):
    """The time of this call is over."""


class Refused(Exception):
    """A worker said why not."""

    def __init__(self, answer):
        super().__init__(answer["error"])
        self.answer = answer


class Record:
    """The lines of OUT/peers.jsonl. A line is whole or, at the end of a file whose writer was killed, cut off."""

    def __init__(self, out):
        self.path = out / RECORD
        self.lines = []
        if self.path.exists():
            data, kept = self.path.read_bytes(), 0
            for line in data.splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                self.lines.append(json.loads(line))
                kept += len(line)
            if kept < len(data):
                os.truncate(self.path, kept)

    def add(self, **line):
        with open(self.path, "a") as f:
            f.write(json.dumps(line) + "\n")
            f.flush()
            os.fsync(f.fileno())
        self.lines.append(line)

    def all(self, kind, **where):
        return [l for l in self.lines if l["kind"] == kind and all(l.get(k) == v for k, v in where.items())]


class Worker:
    def __init__(self, group, variant, o):
        args = [group["what"], "--variant", variant, "--size", group["size"], "--weights", group["weights"], "--device", o.device]
        if "contexts" in group:
            args += ["--contexts", ",".join(map(str, group["contexts"])), "--pieces", group["pieces"]]
        if group["what"] == "check":
            args += ["--layers", str(group["layers"]), "--check-length", str(group["length"])]
        log = o.out / "log" / (re.sub(r"\W+", "-", f"{group['key']} {variant}") + ".txt")
        log.parent.mkdir(parents=True, exist_ok=True)
        env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [str(o.out / "site"), os.environ.get("PYTHONPATH")])))
        with open(log, "a") as f:
            self.process = subprocess.Popen([sys.executable, str(HERE / "worker.py"), *args], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=f, env=env)
        self.variant, self.rest, self.about = variant, b"", None

    def answer(self, deadline):
        while b"\n" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Late
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                raise Refused(dict(error=f"the process ended with {self.process.wait()}", out_of_memory=False))
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        a = json.loads(line)
        if "error" in a:
            raise Refused(a)
        return a

    def ask(self, deadline, **request):
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is the answer
        return self.answer(deadline)

    def close(self, now=False):
        if now:
            self.process.kill()
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def tuning(record, variant, group, o):
    """The tuning for a variant of disentangled-flash that has none: its bundled profile where that is for these versions;
    else what layer-base found to be the fastest for bf16 weights; else its autotuning. Under autocast always the
    latter, whatever the profile: the other ways go by the dtype of the hidden states, float32 there, and not by the one
    that is multiplied."""
    if o.device == "cpu":
        return ""
    if group["weights"] == "f32":
        return "autotune"
    machine = record.all("about")
    if machine and machine[-1]["about"].get("profile") == "exact":
        return "auto"
    layout, found = variants.parse(variant).name, {}
    contexts = record.all("group", group="layer-base")
    for t in TUNINGS:
        medians = [report.layer_seconds(record.lines, "layer-base", f"{layout}@{t}", c) for c in (contexts[-1]["contexts"] if contexts else [])]
        if medians and all(medians):
            found[t] = sum(medians)
    return min(found, key=found.get) if found else "autotune"


def choose(record, group, o):
    """The variants of a group with their tunings, the same for as long as the record lasts."""
    old = record.all("group", group=group["key"])
    if old:
        return old[-1]["variants"]
    chosen = []
    for name in group["variants"]:
        v = variants.parse(name)
        if v.disentangled_flash and o.device == "cpu":
            name = name.partition("@")[0]  # its PyTorch backend has no launches to choose
        elif v.disentangled_flash and not v.tuning:
            name += "@" + tuning(record, name, group, o)
        if name not in chosen:
            chosen.append(name)
    record.add(kind="group", group=group["key"], variants=chosen, **{k: group[k] for k in group if k not in ("key", "variants", "named")})
    return chosen


def failed(record, group, variant, context=None):
    """Whether this has been tried in vain."""
    return any(l.get("context") in (None, context) for l in record.all("failed", group=group["key"], variant=variant)) or \
        len(record.all("late", group=group["key"], variant=variant)) >= report.ATTEMPTS


def left(record, group, variant):
    """What of a group is still to be done for a variant: [(round, contexts)], or something true for other groups."""
    key, what = group["key"], group["what"]
    if failed(record, group, variant):
        return []
    if what == "check":
        return not record.all("check", group=key, variant=variant)
    if what.startswith("longest"):
        return not record.all("longest", group=key, variant=variant)
    done = {(l["context"], l["round"]) for l in record.all("slice", group=key, variant=variant)}
    if what in ("peaks", "products"):
        return [r for r in range(group["rounds"]) if (None, r) not in done]
    contexts = [c for c in group["contexts"] if not failed(record, group, variant, c)]
    return [(r, [c for c in contexts if (c, r) not in done]) for r in range(group["rounds"]) if any((c, r) not in done for c in contexts)]


class Run:
    def __init__(self, o, record, deadline):
        self.o, self.record, self.deadline, self.workers = o, record, deadline, {}

    def say(self, text):
        print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)

    def group(self, group):
        chosen = choose(self.record, group, self.o)
        todo = [v for v in chosen if re.search(self.o.only, v) and left(self.record, group, v)]
        if not todo:
            return
        self.say(f"{group['key']}: {', '.join(todo)}")
        try:
            if group["what"] in ("train", "infer", "layer"):
                self.steps(group, todo)
            else:
                for v in todo:
                    self.alone(group, v)
        except Late:
            for w in self.workers.values():
                w.process.kill()
            raise
        finally:
            for w in self.workers.values():
                w.close()
            self.workers.clear()

    def start(self, group, variant):
        self.workers[variant] = Worker(group, variant, self.o)

    def ready(self, group, variant, ask):
        """Waits until the worker has loaded and done what ask says; a worker that fails or is late leaves."""
        begin, w = time.monotonic(), self.workers[variant]
        try:
            if w.about is None:
                w.about = w.answer(self.deadline)
            return ask(w)
        except Refused as e:
            self.fail(group, variant, e)
        except Late:
            # Only what had time enough is to blame.
            if time.monotonic() - begin > 0.5 * 60 * self.o.minutes:
                self.record.add(kind="late", group=group["key"], variant=variant, seconds=time.monotonic() - begin)
            w.close(now=True)
            del self.workers[variant]
            raise
        return None

    def fail(self, group, variant, e, context=None):
        self.say(f"{group['key']} {variant}: {e}")
        self.record.add(kind="failed", group=group["key"], variant=variant, context=context, **e.answer)
        w = self.workers[variant]
        if context is None or w.process.poll() is not None:
            w.close(now=True)
            del self.workers[variant]

    def steps(self, group, todo):
        """Workers that live side by side and are asked in turns."""
        for v in todo:
            self.start(group, v)  # they load at the same time
        for v in todo:
            self.prepare(group, v)
        for r in range(group["rounds"]):
            for v in list(self.workers):
                contexts = next((c for n, c in left(self.record, group, v) if n == r), [])
                if not contexts:
                    continue
                if time.monotonic() + RESERVE > self.deadline:
                    raise Late
                try:
                    a = self.workers[v].ask(self.deadline, do="slice", contexts=[dict(context=c, seconds=group["seconds"]) for c in contexts])
                except Refused as e:
                    self.fail(group, v, e)
                    continue
                for s in a["slices"]:
                    self.record.add(kind="slice", group=group["key"], variant=v, round=r, **s)
            self.say(f"{group['key']}: round {r + 1} of {group['rounds']}")

    def prepare(self, group, v):
        """Warms the contexts that are left. A process that ends at one of them is started again for the others."""
        def contexts():
            return sorted({c for _, some in left(self.record, group, v) for c in some})

        while contexts():
            if v not in self.workers:
                self.start(group, v)
            for c in contexts():
                a = self.ready(group, v, lambda w: self.warm(w, group, v, c))
                if a:
                    self.say(f"{group['key']} {v} {c}: ready after {a['warm_seconds']:.0f} s, {a['tokens']} tokens a step")
                    self.record.add(kind="ready", group=group["key"], variant=v, context=c, **a)
                if v not in self.workers:
                    break
            else:
                return
        if v in self.workers:
            self.workers.pop(v).close()

    def warm(self, w, group, v, c):
        try:
            return w.ask(self.deadline, do="warm", context=c, tokens=group["tokens"])
        except Refused as e:
            self.fail(group, v, e, c)

    def alone(self, group, variant):
        """A worker that has the device to itself."""
        self.start(group, variant)
        key, what = group["key"], group["what"]

        def ask(w):
            if what == "check":
                self.record.add(kind="check", group=key, variant=variant, **w.ask(self.deadline, do="check"))
            elif what == "peaks":
                for r in left(self.record, group, variant):
                    a = w.ask(self.deadline, do="peaks", shapes=group["shapes"], copies=group["copies"], seconds=group["seconds"])
                    self.record.add(kind="slice", group=key, variant=variant, context=None, round=r, **a)
            elif what == "products":
                for r in left(self.record, group, variant):
                    if time.monotonic() + RESERVE > self.deadline:
                        raise Late
                    self.record.add(kind="slice", group=key, variant=variant, context=None, round=r, products=self.products(w, group, r))
                    self.say(f"{key}: round {r + 1} of {group['rounds']}: {'; '.join(report.product_ratios(self.record.lines))}")
            else:
                reached = self.record.all("length", group=key, variant=variant)
                # An earlier call may have been stopped on the way.
                first = max([group["first"], *(l["length"] for l in reached)])
                a = w.ask(self.deadline, do="longest", first=first, last=group["last"], seconds=group["seconds"])
                while "longest" not in a:
                    self.record.add(kind="length", group=key, variant=variant, **a)
                    a = w.answer(self.deadline)
                self.record.add(kind="longest", group=key, variant=variant, **a)

        if time.monotonic() + RESERVE > self.deadline:
            raise Late
        self.ready(group, variant, ask)
        if variant in self.workers:
            self.workers.pop(variant).close()


    def products(self, w, group, r):
        """{product: rates of PyTorch and of secencoder}. One measures right after the other; who is first changes from round
        to round. Which products there are is what secencoder's first round says. Both multiply by the library that PyTorch
        has loaded."""
        both, file = {}, w.ask(self.deadline, do="library")["file"]
        earlier = self.record.all("slice", group=group["key"])
        for i, flags in enumerate(group["bench"]):
            names = [n for n, p in earlier[-1]["products"].items() if p["bench"] == i] if earlier else []
            ours = {} if names and r % 2 else self.secencoder(flags, file)
            theirs = w.ask(self.deadline, do="products", names=list(ours or names), seconds=group["seconds"])["rates"]
            ours = ours or self.secencoder(flags, file)
            for name, rate in theirs.items():
                flop = 2 * math.prod(map(int, name.split()[1].split("x")))
                both[name] = dict(bench=i, pytorch=rate, secencoder=ours[name], flop=flop)
        return both

    def secencoder(self, flags, file):
        """{product: FLOP/s} of one secencoder bench gpu, through that file of cuBLASLt where there is one."""
        command = [str(self.o.secencoder), "bench", "gpu", "--json", "--quiet", *flags, *(["--cuda-library", file] if file else [])]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(1, self.deadline - time.monotonic()))
        except OSError as e:
            raise Refused(dict(error=f"{command[0]}: {e.strerror}; scripts/gpu/check build makes it, --secencoder names another one", out_of_memory=False))
        except subprocess.TimeoutExpired:
            raise Late
        if done.returncode:
            raise Refused(dict(error=f"bench gpu {' '.join(flags)}: {done.stderr.strip()[-300:]}", out_of_memory="out of memory" in done.stderr))
        result = json.loads(done.stdout)
        machine = result["machine"]["gpu"]
        path = machine["cublaslt_path"]
        if file and os.path.realpath(path) != os.path.realpath(file):
            raise Refused(dict(error=f"bench gpu multiplied by {path}, PyTorch by {file}", out_of_memory=False))
        if not any(l["gpu"]["cublaslt_path"] == path for l in self.record.all("bench", pytorch_cublaslt=file)):
            self.record.add(kind="bench", gpu=machine, versions=result["versions"], pytorch_cublaslt=file)
        return {s["case"]: 1e9 * s["median"] for s in result["slices"] if re.fullmatch(r"(y|dx|dw) \d+x\d+x\d+ (bf16|f32)", s["case"])}


def pins():
    """{file name: SHA-256} of the wheels, by requirements.txt."""
    found = {}
    for name, version, digest in re.findall(r"^([\w-]+)==(\S+) --hash=sha256:(\w+)$", (HERE / "requirements.txt").read_text(), re.M):
        found[f"{name.replace('-', '_')}-{version}-py3-none-any.whl"] = digest
    return found


def unpack(o):
    """Lays the wheels out under OUT/site. They are plain Python, so that needs no installer."""
    for name, digest in pins().items():
        wheel, done = o.wheels / name, o.out / "site" / f".{name}.{digest}"
        if done.exists():
            continue
        if not wheel.exists():
            sys.exit(f"peers.py: {wheel} is missing; `python3 peers.py fetch` brings it, on a machine that reaches PyPI")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != digest:
            sys.exit(f"peers.py: {wheel} is not the file that requirements.txt names; remove it and fetch it again")
        with zipfile.ZipFile(wheel) as z:
            z.extractall(o.out / "site")
        done.touch()


def fetch(o):
    o.wheels.mkdir(exist_ok=True)

    def download(*args):
        done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "-d", str(o.wheels), *args])
        if done.returncode:
            sys.exit(f"peers.py: pip download ended with {done.returncode}")

    download("--no-deps", "--require-hashes", "-r", str(HERE / "requirements.txt"))
    if o.torch:
        download("--python-version", o.python, "-r", str(HERE / "requirements-torch.txt"))
    missing = set(pins()) - {p.name for p in o.wheels.iterdir()}
    if missing:
        sys.exit(f"peers.py: pip brought no {', '.join(sorted(missing))}")
    wheels = list(o.wheels.glob("*.whl"))
    print(f"{len(wheels)} wheels in {o.wheels}, {sum(w.stat().st_size for w in wheels) / 1e6:,.1f} MB")


def commit():
    def git(*args):
        done = subprocess.run(["git", "-C", str(HERE), *args], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        head = git("rev-parse", "HEAD")
        return head and head + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except FileNotFoundError:
        return None


def driver():
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
                              capture_output=True, text=True)
        return done.stdout.strip() or None
    except FileNotFoundError:
        return None


def about(o):
    """What the machine is, or the end where it cannot measure."""
    w = Worker(dict(key="about", what="peaks", size="toy", weights="bf16"), "eager", o)
    try:
        return w.answer(time.monotonic() + 60 * o.minutes)
    except Refused as e:
        if e.answer.get("missing"):
            sys.exit(f"peers.py: {e}")
        sys.exit(f"peers.py: {e}; this needs a GPU that PyTorch sees, and what requirements-torch.txt names" if o.device == "cuda"
                 else f"peers.py: {e}; this needs what requirements-torch.txt names")
    except Late:
        w.process.kill()
        sys.exit(f"peers.py: PyTorch did not load within {o.minutes:g} minutes")
    finally:
        w.close()


def scripts_hash():
    """Which scripts measured, where there is no git to ask."""
    h = hashlib.sha256()
    for p in sorted([*HERE.glob("*.py"), HERE / "requirements.txt"]):
        h.update(p.name.encode() + b"\0" + p.read_bytes())
    return h.hexdigest()[:16]


def pick(o):
    """The groups that were asked for."""
    all_groups = groups(o.toy, o.rounds)
    if not o.groups:
        return [g for g in all_groups if not g["named"]]
    unknown = set(o.groups.split(",")) - {g["key"] for g in all_groups}
    if unknown:
        sys.exit(f"peers.py: --groups {','.join(sorted(unknown))}: want some of {','.join(g['key'] for g in all_groups)}")
    return [g for g in all_groups if g["key"] in o.groups.split(",")]


def plan(o):
    record = Record(o.out) if o.out.exists() else None
    print(f"{'group':24}{'processes':>10}{'slices':>8}{'left':>7}  variants")
    for g in groups(o.toy, o.rounds):
        started = record and record.all("group", group=g["key"])
        names = started[-1]["variants"] if started else g["variants"]
        each = g["rounds"] * len(g.get("contexts", [None])) if "rounds" in g else 1
        todo = 0
        for v in names:
            rest = left(record, g, v) if record else each
            todo += sum(len(x[1]) if isinstance(x, tuple) else 1 for x in rest) if isinstance(rest, list) else int(rest)
        print(f"{g['key']:24}{len(names):>10}{each * len(names):>8}{todo:>7}  {' '.join(names)}{'  (has to be named)' if g['named'] else ''}")


def run(o):
    begin = time.monotonic()
    o.out.mkdir(parents=True, exist_ok=True)
    unpack(o)
    record = Record(o.out)
    chosen = pick(o)
    for old in record.all("run"):
        for k in SAME:
            if old[k] != getattr(o, k):
                sys.exit(f"peers.py: {record.path} was begun with {k} {old[k]}; choose another --out")
    found = about(o)
    if o.retry:
        keys = [g["key"] for g in chosen]
        keep = [l for l in record.lines if l["kind"] not in ("failed", "late") or l["group"] not in keys]
        part = record.path.with_suffix(".part")
        part.write_text("".join(json.dumps(l) + "\n" for l in keep))
        part.replace(record.path)
        record.lines = keep
    record.add(kind="run", date=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC", device=o.device, toy=o.toy,
               commit=o.commit or commit(), scripts=scripts_hash(), driver=driver() if o.device == "cuda" else None,
               command=" ".join(["python3", "peers.py", *map(shlex.quote, sys.argv[1:])]), notes=o.note)
    record.add(kind="about", about=found)
    r = Run(o, record, begin + 60 * o.minutes)
    try:
        for g in chosen:
            r.group(g)
    except Late:
        r.say("the time of this call is over")
    rest = [g["key"] for g in chosen if any(re.search(o.only, v) and left(record, g, v) for v in choose_or_plan(record, g))]
    print(f"left: {', '.join(rest) if rest else 'nothing'}")


def choose_or_plan(record, group):
    old = record.all("group", group=group["key"])
    return old[-1]["variants"] if old else group["variants"]


def write_report(o):
    record = Record(o.out)
    if not record.all("slice") and not record.all("check"):
        sys.exit(f"peers.py: {record.path} holds no measurement")
    page = report.page(record.lines)
    if o.page:
        part = o.page.with_name(o.page.name + ".part")
        part.write_text(page)
        part.replace(o.page)
    else:
        print(page)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = p.add_subparsers(dest="verb", required=True)
    for name, does in (("fetch", fetch), ("plan", plan), ("run", run), ("report", write_report)):
        s = verbs.add_parser(name)
        s.set_defaults(does=does)
        if name != "report":
            s.add_argument("--wheels", type=Path, default=HERE / "wheels")
        if name != "fetch":
            s.add_argument("--out", type=Path, default=Path("out/gpu-peers"))
        if name == "fetch":
            s.add_argument("--torch", action="store_true", help="also what requirements-torch.txt names, and what that needs: gigabytes")
            s.add_argument("--python", default="3.12", help="version of the GPU machine's Python, for --torch")
        if name in ("plan", "run"):
            s.add_argument("--rounds", type=int, default=5)
            s.add_argument("--toy", action="store_true", help="a tiny model in the place of each, to try the scripts")
        if name == "run":
            s.add_argument("--groups", help="some of the plan's, with commas; by default all that need not be named")
            s.add_argument("--only", default="", help="variants that match this regular expression")
            s.add_argument("--minutes", type=float, default=8.5, help="of this call")
            s.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
            s.add_argument("--retry", action="store_true", help="try again what failed before")
            s.add_argument("--secencoder", type=Path, default=HERE.parent / ".out" / "secencoder", help="the binary that products measures beside PyTorch")
            s.add_argument("--commit", help="for the record, where the folder is no git checkout")
            s.add_argument("--note", action="append", default=[], help="a sentence for the record, such as what else was running")
        if name == "report":
            s.add_argument("--page", type=Path, help="the file to write; else standard output")
    o = p.parse_args()
    o.does(o)


if __name__ == "__main__":
    main()
