"""The plan, the record and the operations; a stand-in for worker.py answers. No PyTorch, no GPU: python3 test_peers.py"""

import argparse
import contextlib
import io
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
import unittest.mock
import weakref
from pathlib import Path

import models
import peers
import report
import variants
import worker

STAND_IN = '''
import argparse, json, os, sys, time
p = argparse.ArgumentParser()
p.add_argument("what"); p.add_argument("--variant")
a, _ = p.parse_known_args()
name = a.variant.split("@")[0]
parts = [f"{w} {x}" for w in ("attention", "layer") for x in ("forward", "backward")] if a.what == "layer" else ["step"]
def tell(x): print(json.dumps(x), flush=True)
if os.environ.get("NO_GPU"):
    tell(dict(error="RuntimeError: PyTorch sees no GPU", out_of_memory=False))
    sys.exit()
tell(dict(versions={}, cuda=None))
for line in sys.stdin:
    r = json.loads(line)
    if name == "flashdeberta" and a.what != "check":
        tell(dict(error="ValueError: does not run", out_of_memory=False))
    elif name == "compile" and a.what == "infer":
        sys.exit(3)
    elif r["do"] == "warm":
        tell(dict(tokens=r["tokens"], warm_seconds=0, work={x: 1e6 for x in parts}, proof=[1.0, 2.0 if name == "eager" else 2.5], seconds=1))
    elif r["do"] == "slice":
        time.sleep(float(os.environ.get("SLICE", 0)))
        t = 2.0 if name == "eager" else 1.0
        tell(dict(slices=[dict(context=c["context"], times={x: [t, t, t] for x in parts}, peak_bytes=1 << 30, reserved_bytes=0) for c in r["contexts"]]))
    elif r["do"] == "check":
        right = name != "df-packed"
        tell(dict(checks=[dict(pieces="full", dtype="f32", output=0.5, gradients=0.5, worst=0.5, worst_name="x", right=right)]))
    elif r["do"] == "longest":
        for n in (16, 32):
            if n >= r["first"]:
                tell(dict(length=n, seconds=1, peak_bytes=1, reserved_bytes=1))
        tell(dict(longest=32, refused=dict(error="OutOfMemoryError", out_of_memory=True, length=64)))
    elif r["do"] == "library":
        tell(dict(file=os.environ.get("LT")))
    elif r["do"] == "products":
        with open(os.environ["ORDER"], "a") as f: f.write("pytorch ")
        tell(dict(rates={n: 1e12 for n in r["names"]}))
    elif r["do"] == "peaks":
        tell(dict(peaks={"bf16 y 1x1x1": dict(rate=1e12, unit="FLOP/s", runs=3)}))
'''


SECENCODER = '''
import json, os, sys
with open(os.environ["ORDER"], "a") as f: f.write("secencoder ")
if os.environ.get("NO_LT"):
    sys.exit("secencoder: CUDA library not found")
t = 64 if "base" in sys.argv else 8
at = os.environ.get("OTHER_LT") or (sys.argv[sys.argv.index("--cuda-library") + 1] if "--cuda-library" in sys.argv else "here")
print(json.dumps(dict(machine=dict(gpu=dict(name="X", cublaslt_path=at)), versions=dict(cublaslt="12.4.5"), slices=[
    dict(case=f"y {t}x2x3 bf16", median=950.0), dict(case=f"dw {t}x2x6 bf16", median=475.0), dict(case=f"dx {t}x2x3 f32", median=2000.0),
    dict(case="adamw", median=1.0), dict(case=f"linear with gelu {t}x2x3 bf16", median=1.0)])))
'''


class Folder(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.out = Path(self.temporary.name) / "out"
        # The scripts beside a stand-in, and wheels that are there already.
        self.here = Path(self.temporary.name) / "scripts"
        self.here.mkdir()
        for p in [*peers.HERE.glob("*.py"), peers.HERE / "requirements.txt"]:
            (self.here / p.name).write_bytes(p.read_bytes())
        (self.here / "worker.py").write_text(STAND_IN)
        (self.out / "site").mkdir(parents=True)
        for name, digest in peers.pins().items():
            (self.out / "site" / f".{name}.{digest}").touch()

    def command(self, *args):
        return [sys.executable, str(self.here / "peers.py"), *args, "--out", str(self.out)]

    def run_peers(self, *args, **env):
        done = subprocess.run(self.command("run", "--device", "cpu", "--toy", "--rounds", "3", *args), capture_output=True,
                              text=True, env=dict(os.environ, **env))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_products(self):
        """PyTorch and secencoder take turns over the products that secencoder names, and the ratio is that of the times."""
        program, order = self.here / "secencoder", self.here / "order"
        program.write_text(f"#!{sys.executable}\n" + SECENCODER)
        program.chmod(0o755)
        args = ("--groups", "products", "--secencoder", str(program))
        self.assertEqual(self.run_peers(*args, ORDER=str(order)), "left: nothing\n")
        self.assertEqual(order.read_text().split(), ["secencoder", "pytorch", "pytorch", "secencoder", "secencoder", "pytorch"])
        lines = self.record().lines
        # One product at 0.95 and another of twice the work at 0.475: 3 / (1/0.95 + 2/0.475).
        self.assertEqual(report.product_ratios(lines), [f"bf16: secencoder at {3 / (1 / 0.95 + 2 / 0.475):.3g} (0.57 to 0.57) times PyTorch's rate",
                                                        "f32: secencoder at 2 (2 to 2) times PyTorch's rate"])
        page = report.page(lines)
        self.assertIn("| dw 8x2x6 bf16 | 1 (1 to 1) | 0.475 (0.475 to 0.475) | 0.475 (0.475 to 0.475) |", page)
        self.assertIn("- bf16: secencoder at 0.57 (0.57 to 0.57) times PyTorch's rate, all products together.", page)
        self.assertIn("cuBLAS 12.4.5 (here), PyTorch with the processor, on X", page)
        # On a GPU it multiplies by the file that PyTorch has loaded, and by no other.
        (self.out / peers.RECORD).unlink()
        self.run_peers(*args, ORDER=str(order), LT="/torch/libcublasLt.so.13")
        bench = self.record().all("bench")
        self.assertEqual([(b["gpu"]["cublaslt_path"], b["pytorch_cublaslt"]) for b in bench], [("/torch/libcublasLt.so.13",) * 2])
        self.assertIn("cuBLAS 12.4.5 (/torch/libcublasLt.so.13), PyTorch with /torch/libcublasLt.so.13, on X", report.page(self.record().lines))
        (self.out / peers.RECORD).unlink()
        self.run_peers(*args, ORDER=str(order), LT="/torch/libcublasLt.so.13", OTHER_LT="/system/libcublasLt.so.13")
        self.assertIn("by /system/libcublasLt.so.13, PyTorch by /torch/", self.record().all("failed", group="products")[0]["error"])
        # A secencoder that fails, or is not there, is a failure with a reason, and is tried again when that is asked for.
        for more, env, text in (((), {"NO_LT": "1"}, "CUDA library not found"), (("--secencoder", "/no/such"), {}, "check build makes it")):
            (self.out / peers.RECORD).unlink()
            self.run_peers(*args, *more, ORDER=str(order), **env)
            self.assertIn(text, self.record().all("failed", group="products")[0]["error"])
            self.assertEqual(self.run_peers(*args, "--retry", ORDER=str(order)), "left: nothing\n")
            self.assertEqual(len(self.record().all("slice", group="products")), 3)

    def record(self):
        return peers.Record(self.out)

    def test_whole_plan(self):
        self.assertEqual(self.run_peers(), "left: nothing\n")
        r = self.record()
        contexts = {g["group"]: len(g["contexts"]) for g in r.all("group") if "contexts" in g}
        for key, n in contexts.items():
            self.assertEqual(len(r.all("slice", group=key, variant="eager")), 3 * n, key)
        self.assertTrue(r.all("failed", group="train-base", variant="flashdeberta"))
        self.assertTrue(r.all("failed", group="infer-base", variant="compile"), "a process that ends is a failure too")
        self.assertNotIn("mixed-base", contexts)
        # Nothing is measured twice, and a failure is not tried again unless it is asked for.
        before = len(r.lines)
        self.assertEqual(self.run_peers(), "left: nothing\n")
        self.assertEqual(len(self.record().lines), before + 2)  # the run, and what the machine is
        self.run_peers("--retry", "--groups", "train-base")
        self.assertEqual(len(self.record().all("failed", group="train-base")), len(r.all("failed", group="train-base")))
        page = report.page(self.record().lines)
        for text in ("not a measurement", "| 32 | df-padded | 128 | 128 (128 to 128) | 1e-06 |",
                     "| 2 (2 to 2) | **0.2** |",  # twice as fast as eager, its proof off by a fifth
                     "df-packed **wrong: full f32**", "| infer-base | compile | 64 | the process ended with 3 |",
                     "| eager | 32 | 32 | 9.31e-10 | memory (at 64) |", "| bf16 y 1x1x1 | 1 (1 to 1) TFLOP/s |"):
            self.assertTrue(text in page, f"the page has no {text}")

    def test_interrupted(self):
        """A run that is stopped by time, and one that is killed, go on where they were."""
        self.assertIn("left: train-base", self.run_peers("--groups", "train-base", "--minutes", "0.34", SLICE="0.3"))
        after = len(self.record().all("slice"))
        worker = subprocess.Popen(self.command("run", "--device", "cpu", "--toy", "--rounds", "3", "--groups", "train-base"),
                                  env=dict(os.environ, SLICE="0.3"), stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while len(self.record_lines("slice")) < after + 6 and time.monotonic() < end:
            time.sleep(0.05)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        with open(self.out / peers.RECORD, "ab") as f:
            f.write(b'{"kind": "slice", "gro')  # what a write leaves that was cut off
        self.assertGreater(len(self.record().all("slice")), after)
        self.assertEqual(self.run_peers("--groups", "train-base"), "left: nothing\n")
        seen = [(l["variant"], l["context"], l["round"]) for l in self.record().all("slice")]
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(len(seen), 6 * 2 * 3)  # six variants run

    def record_lines(self, kind):
        path = self.out / peers.RECORD
        return [l for l in (path.read_text().splitlines() if path.exists() else []) if l.startswith(f'{{"kind": "{kind}"')]

    def test_without_pytorch(self):
        """One sentence that says what is missing and how it is brought, from the worker that measures and from peers.py."""
        (self.here / "worker.py").write_bytes((peers.HERE / "worker.py").read_bytes())
        python = self.here / "python"
        python.write_text(f"#!/bin/sh\nexec {sys.executable} -S \"$@\"\n")  # no site-packages
        python.chmod(0o755)
        done = subprocess.run([str(python), "worker.py", "train", "--device", "cuda"], cwd=self.here, capture_output=True, text=True, input="")
        answer = json.loads(done.stdout)
        self.assertEqual((done.returncode, done.stderr, answer["missing"]), (0, "", ["torch", "transformers", "triton"]))
        self.assertIn("has no torch and no transformers and no triton; `python3 peers.py fetch --torch`", answer["error"])
        (self.here / "peers.py").write_text((self.here / "peers.py").read_text().replace("sys.executable, str(HERE / \"worker", f"{str(python)!r}, str(HERE / \"worker"))
        done = subprocess.run(self.command("run", "--device", "cpu", "--toy"), capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^peers.py: \S+ has no torch and no transformers; [^\n]*requirements-torch.txt` installs them from there\n$")
        self.assertEqual(self.record().lines, [])

    def test_refusals(self):
        self.run_peers("--groups", "peaks")
        for args, text in ((["--device", "cuda", "--toy"], "begun with device"), (["--device", "cpu"], "begun with toy"),
                           (["--device", "cpu", "--toy", "--groups", "none"], "want some of")):
            done = subprocess.run(self.command("run", *args), capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)
        lines = len(self.record().lines)
        done = subprocess.run(self.command("run", "--device", "cpu", "--toy"), capture_output=True, text=True, env=dict(os.environ, NO_GPU="1"))
        self.assertEqual((done.returncode, len(self.record().lines)), (1, lines))
        self.assertIn("sees no GPU; this needs", done.stderr)
        next((self.out / "site").glob(".einops*")).unlink()
        done = subprocess.run(self.command("run", "--device", "cpu", "--toy"), capture_output=True, text=True)
        self.assertIn("fetch` brings it", done.stderr)
        (self.here / "wheels").mkdir()
        (self.here / "wheels" / "einops-0.8.2-py3-none-any.whl").write_text("another file")
        done = subprocess.run(self.command("run", "--device", "cpu", "--toy"), capture_output=True, text=True)
        self.assertIn("is not the file", done.stderr)


class Small(unittest.TestCase):
    def test_operations(self):
        """The table of TestFLOP in internal/bench: MFLOP a token."""
        for size, n, dense, attention, head in (("base", 128, 170, 14.1, 7.1), ("base", 512, 170, 38, 7.1),
                                                ("base", 8192, 170, 321, 7.1), ("base", 48000, 170, 1788, 7.1),
                                                ("xxlarge", 512, 679 + 1359 + 14, 226, 14.5), ("xxlarge", 8192, 679 + 1359 + 14, 1925, 14.5)):
            c = models.config(size)
            forward, backward = models.attention_flop(c, n)
            layers = c["num_hidden_layers"]
            self.assertAlmostEqual(forward * layers / n / 1e6, attention, delta=1 + 0.01 * attention)
            self.assertTrue(2.5 <= backward / forward <= 3)
            tables = layers * 8 * models.SPAN * c["hidden_size"] ** 2
            whole = (models.forward_flop(c, [n] * 4, 0.15 * 4 * n) - tables) / (4 * n) / 1e6
            self.assertAlmostEqual(whole, dense + attention + head, delta=2 + 0.01 * whole)
        self.assertAlmostEqual(12 * (models.projection_flop(models.config("base"), 0)) / 1e9, 14.5, delta=0.1)

    def test_variants(self):
        v = variants.parse("df-padded+compile@autotune")
        self.assertEqual((v.name, v.options, v.tuning, v.compiled, v.packed), ("df-padded", ("compile",), "autotune", True, False))
        for bad in ("other", "eager@autotune", "df-packed+compile", "df-padded@fast", "df-padded+fast"):
            with self.assertRaises(ValueError):
                variants.parse(bad)

    def test_tuning(self):
        """disentangled-flash's best: under autocast its autotuning; else the profile where it matches, what was measured, its
        autotuning."""
        with tempfile.TemporaryDirectory() as d:
            r, o = peers.Record(Path(d)), argparse.Namespace(device="cuda")
            half, autocast = dict(key="infer-base", weights="bf16"), dict(key="train-base", weights="f32")
            self.assertEqual(peers.tuning(r, "df-padded", half, o), "autotune")
            r.add(kind="group", group="layer-base", contexts=[512])
            for t, s in (("heuristic", 2.0), ("autotune", 3.0), ("profile", 1.0)):
                r.add(kind="slice", group="layer-base", variant=f"df-padded@{t}", context=512, round=0,
                      times={"attention forward": [s], "attention backward": [s]})
            self.assertEqual(peers.tuning(r, "df-padded+compile", half, o), "profile")
            self.assertEqual(peers.tuning(r, "df-packed", half, o), "autotune")
            self.assertEqual(peers.tuning(r, "df-padded", autocast, o), "autotune")
            r.add(kind="about", about=dict(profile="exact"))
            self.assertEqual(peers.tuning(r, "df-padded", half, o), "auto")
            self.assertEqual(peers.tuning(r, "df-padded", autocast, o), "autotune")

    def test_library(self):
        """The file of cuBLASLt is that of the process in which a product has run."""
        with tempfile.TemporaryDirectory() as d:
            file = Path(d).resolve() / "libcublasLt.so.13"
            file.write_bytes(b"x" * 4096)
            opened = []

            class Matrix:
                def __matmul__(self, other):
                    with open(file) as f:
                        opened.append(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ))

            m = types.SimpleNamespace(cuda=True, torch=types.SimpleNamespace(ones=lambda *a, **k: Matrix(), bfloat16=0), synchronize=lambda: None)
            self.addCleanup(lambda: [x.close() for x in opened])
            self.assertEqual(worker.library(m), dict(file=str(file)))
            self.assertEqual(worker.library(types.SimpleNamespace(cuda=False)), dict(file=None))
            with unittest.mock.patch.object(worker, "mapped", lambda stem: []), self.assertRaisesRegex(RuntimeError, "there are 0"):
                worker.library(m)

    def test_warm_gives_back(self):
        """Whatever ends the warming of a variant, it leaves the GPU's memory to the others before it answers."""
        class OutOfMemoryError(RuntimeError):
            pass

        class Tensor:
            pass

        fake = types.ModuleType("torch")
        fake.OutOfMemoryError, fake.__version__ = OutOfMemoryError, "0"
        for fails, error, memory in (("proof", ValueError, False), ("proof", OutOfMemoryError, True), ("unpark", OutOfMemoryError, True),
                                     ("batch", ValueError, False), ("work", ValueError, False), ("", None, False)):
            did, alive = [], []

            class Kind:
                settings = {}

                def note(self, name):
                    did.append(name)
                    held = Tensor()
                    alive.append(weakref.ref(held))
                    if name == fails:
                        raise error("x")

                def batch(self, tokens, context):
                    self.note("batch")
                    return types.SimpleNamespace(tokens=tokens, lengths=[tokens], masked=1)

                def __getattr__(self, name):
                    return lambda *args: self.note(name)

                def parts(self, b):
                    return {"step": lambda: self.note("step")}

            def forget():
                did.append("forget")
                self.left = [r for r in alive if r() is not None]

            m = types.SimpleNamespace(torch=fake, forget=forget, synchronize=lambda: None, clock=lambda f: 1.0)
            steps = worker.Steps.__new__(worker.Steps)
            steps.a, steps.m, steps.kind, steps.batches, steps.seconds = types.SimpleNamespace(variant=variants.parse("eager")), m, Kind(), {}, {}
            with unittest.mock.patch.dict(sys.modules, torch=fake), contextlib.redirect_stderr(io.StringIO()):
                a = worker.answer(dict(warm=lambda r: steps.warm(128, 128)), dict(do="warm"), m)
            with self.subTest(fails=fails, error=error):
                self.assertEqual("error" in a, bool(fails))
                self.assertEqual(a.get("out_of_memory", False), memory)
                self.assertIn("park", did)
                self.assertEqual([x for x in did if x in ("unpark", "park")], ["unpark", "park"])
                self.assertIn("drop", did[:did.index("park")])
                self.assertEqual((did[-1] if fails else "forget", self.left), ("forget", []))
                self.assertEqual("undo" in did, bool(fails))

    def test_kinds(self):
        """All three have what Steps asks of them."""
        for kind in (worker.Training, worker.Inference, worker.Layer):
            for name in ("batch", "parts", "drop", "undo", "proof", "work", "park", "unpark"):
                self.assertTrue(callable(getattr(kind, name, None)), f"{kind.__name__}.{name}")

    def test_difference(self):
        nan = float("nan")
        for group, x, want in (("train-x", [1.0, 2.2], 0.1), ("train-x", [1.0, nan], nan), ("infer-x", [1.0, nan], nan), ("infer-x", [1.0, 2.0], 0.0)):
            lines = [dict(kind="ready", group=group, variant=v, context=1, tokens=1, proof=p) for v, p in (("eager", [1.0, 2.0]), ("df-packed", x))]
            got = report.proofs(lines, group, "df-packed", 1)
            self.assertTrue(got != got if want != want else abs(got - want) < 1e-9, (group, x, got))

    def test_numbers(self):
        self.assertEqual([report.number(x) for x in (None, 0.01234, 12.34, 1234567)], ["-", "0.0123", "12.3", "1,234,567"])
        self.assertEqual(report.middle([3.0, 1.0, 2.0]), "2 (1 to 3)")


if __name__ == "__main__":
    unittest.main()
