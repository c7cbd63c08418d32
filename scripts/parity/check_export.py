"""The other direction: HuggingFace loads what this tool wrote, and gives what this tool gives.

    go build -o out/secencoder ./cmd/secencoder && out/secencoder quickstart --out out/q
    VENV/bin/python scripts/parity/check_export.py out/q/hf [--run out/q/run] [--lines FILE]

The tool's own side comes from `go test ./model -run TestDumpForHuggingFace`, which writes ids, last hidden states,
sentence vectors, logits and fill-mask candidates of the lines. The script then loads the folder with AutoModelForMaskedLM,
AutoTokenizer and pipeline("fill-mask"), and the run's event files with TensorBoard's own reader, and prints a table.
Exit code 1 when a row fails. All lines run in one padded batch, so masking is checked with it.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

ROOT = Path(__file__).resolve().parents[2]
LINES = [
    "sshd[4711]: Accepted password for root from 10.0.0.1 port 22 ssh2",
    "sshd[4712]: Failed password for invalid user admin from 10.0.0.2 port 50022 ssh2",
    'type=SYSCALL msg=audit(1700000000.123:456): arch=c000003e syscall=59 success=yes exit=0 comm="bash" exe="/usr/bin/bash"',
    '{"eventName": "ConsoleLogin", "sourceIPAddress": "10.0.0.3", "responseElements": {"ConsoleLogin": "Success"}}',
    "Oct  3 12:00:01 web-1 kernel: [UFW BLOCK] IN=eth0 OUT= SRC=198.51.100.7 DST=10.0.0.5 PROTO=TCP SPT=44321 DPT=22",
    "sudo: root : TTY=unknown ; PWD=/ ; USER=root ; COMMAND=/bin/ip netns identify 4867",
    "", " ", "\ttabs\tand  spaces  ", "Grüße aus Köln 日本語 \U0001f600", "[MASK] [CLS] as plain text", "x" * 600,
    "GET /index.html?id=1%20OR%201=1 HTTP/1.1\" 200 5123 \"-\" \"curl/8.5.0\" " * 20,
]
MASKED = "sshd[4711]: Accepted [MASK] for root from 10.0.0.1 port [MASK] ssh2"

rows = []


def row(what, value, bound, ok):
    rows.append((what, value, bound, bool(ok)))


def dump(model, lines, out):
    request = out / "request.json"
    request.write_text(json.dumps({"model": str(model), "lines": lines, "masked": MASKED, "out": str(out)}))
    env = dict(os.environ, SECENCODER_DUMP=str(request), CGO_ENABLED="0")
    subprocess.run(["go", "test", "./model", "-count=1", "-run", "TestDumpForHuggingFace"], cwd=ROOT, env=env, check=True,
                   stdout=subprocess.DEVNULL)
    return json.loads((out / "dump.json").read_text()), load_file(out / "dump.safetensors")


def check_model(folder, lines, ours, tensors):
    model, info = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        row(f"{key.replace('_', ' ')} in from_pretrained", len(info[key]), "0", not info[key])
    row("dtype of the loaded weights", str(model.dtype), "torch.float32", model.dtype == torch.float32)
    model.eval()
    ids = [np.array(x) for x in ours["ids"]]
    n = max(len(x) for x in ids)
    batch, mask = torch.zeros(len(ids), n, dtype=torch.long), torch.zeros(len(ids), n, dtype=torch.long)
    for i, x in enumerate(ids):
        batch[i, : len(x)], mask[i, : len(x)] = torch.from_numpy(x), 1
    with torch.no_grad():
        # Two by two: the N x N maps of a long padded batch take memory.
        hidden, logits = [], []
        for i in range(0, len(ids), 2):
            o = model(input_ids=batch[i:i + 2], attention_mask=mask[i:i + 2], output_hidden_states=True)
            hidden += list(o.hidden_states[-1])
            logits += list(o.logits)
    worst = dict(hidden=0.0, logits=0.0, vector=0.0)
    top = dict(hidden=0.0, logits=0.0, vector=0.0)
    for i, x in enumerate(ids):
        pairs = dict(hidden=hidden[i][: len(x)].numpy(), logits=logits[i][: len(x)].numpy(),
                     vector=hidden[i][: len(x)].double().mean(0).numpy())
        for key, theirs in pairs.items():
            mine = tensors[f"{key}.{i}"]
            worst[key] = max(worst[key], float(np.abs(mine.reshape(theirs.shape) - theirs).max()))
            top[key] = max(top[key], float(np.abs(theirs).max()))
    # Two float32 orders of the same sums: the bound of the parity tests, in units of the largest value.
    for key, name in dict(hidden="last hidden states", logits="logits", vector="sentence vectors (mean)").items():
        bound = 1e-5 * max(1.0, top[key])
        row(f"{name}, largest difference (largest value {top[key]:.2f})", f"{worst[key]:.1e}", f"{bound:.1e}", worst[key] <= bound)
    row("tokens compared", sum(len(x) for x in ids), "", True)


def check_tokenizer(folder, lines, ours):
    tok = AutoTokenizer.from_pretrained(folder)
    # Special strings in logs are plain text here: HF does so when it is told to split them.
    bad = [l for l, want in zip(lines, ours["ids"]) if tok(l, split_special_tokens=True)["input_ids"] != want]
    for l in bad:
        print(f"ids differ: {l!r}", file=sys.stderr)
    row(f"lines of {len(lines)} whose ids differ in AutoTokenizer (split_special_tokens)", len(bad), "0", not bad)
    row("keys that AutoTokenizer gives", " ".join(sorted(tok(lines[0]).keys())), "attention_mask input_ids",
        sorted(tok(lines[0]).keys()) == ["attention_mask", "input_ids"])


def check_fill_mask(folder, ours):
    top = len(ours["masks"][0]["candidates"])
    theirs = pipeline("fill-mask", model=str(folder), device=-1)(MASKED, top_k=top)
    worst, same = 0.0, True
    for mine, their in zip(ours["masks"], theirs):
        for m, t in zip(mine["candidates"], their):
            same = same and m["id"] == t["token"]
            worst = max(worst, abs(m["probability"] - t["score"]))
    row(f"fill-mask: {len(theirs)} masks, top {top}, same tokens in the same order", same, "True", same and len(theirs) == len(ours["masks"]))
    row("fill-mask: largest difference of a probability", f"{worst:.1e}", "1.0e-05", worst <= 1e-5)


def check_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    acc = EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0})
    acc.Reload()
    tags = acc.Tags()["scalars"]
    row("TensorBoard scalars", len(tags), "at least 1", len(tags) > 0)
    with open(run / "metrics.csv", newline="") as f:
        table = list(csv.DictReader(f))
    for column in ("loss", "learning_rate"):
        tag = next((t for t in tags if t.split("/")[-1] == column), None)
        if tag is None:
            row(f"TensorBoard has {column} of metrics.csv", "no", "yes", False)
            continue
        have = {e.step: e.value for e in acc.Scalars(tag)}
        want = {int(r["step"]): float(r[column]) for r in table if r[column]}
        # Event files hold float32.
        ok = have.keys() == want.keys() and all(abs(have[s] - want[s]) <= 2.0**-23 * abs(want[s]) for s in want)
        row(f"TensorBoard `{tag}` equals metrics.csv, {len(want)} steps", ok, "True", ok)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model", type=Path)
    a.add_argument("--run", type=Path)
    a.add_argument("--lines", type=Path)
    a = a.parse_args()
    lines = a.lines.read_text().splitlines() if a.lines else LINES
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as tmp:
        ours, tensors = dump(a.model.resolve(), lines, Path(tmp))
        check_model(a.model, lines, ours, tensors)
        check_tokenizer(a.model, lines, ours)
        check_fill_mask(a.model, ours)
    if a.run:
        check_tensorboard(a.run)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}; ours: {ours['family']} kernels; {ours['parameters']} parameters\n")
    print("| check | found | wanted | |\n|---|---|---|---|")
    for what, value, bound, ok in rows:
        print(f"| {what} | {value} | {bound} | {'ok' if ok else '**FAILED**'} |")
    sys.exit(0 if all(r[3] for r in rows) else 1)


if __name__ == "__main__":
    main()
