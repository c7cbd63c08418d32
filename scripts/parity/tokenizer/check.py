"""The other direction: HuggingFace's tokenizers loads what we trained and gives our ids.

    python3 -m venv VENV && VENV/bin/pip install -r scripts/parity/tokenizer/requirements.txt
    CGO_ENABLED=0 go build -o /tmp/secencoder ./cmd/secencoder
    VENV/bin/python scripts/parity/tokenizer/check.py --secencoder /tmp/secencoder [--in FILE...] [--vocab-size N]

Without --in it trains on the goldens' text. For each pair of rules it runs `tokenizer train` and `tokenizer encode`, loads the file with
the library and compares: the file with the library's own writing of it, byte for byte; the ids of every line; the framed ids; what
both decode. It prints one line a pair of rules and exits 1 at the first difference.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import tokenizers
from tokenizers import Tokenizer

GOLDENS = "tokenizer/testdata/goldens"


def fail(*what):
    print("differs:", *what)
    sys.exit(1)


def ours(binary, *args, text=None):
    return subprocess.run([binary, "tokenizer", *args], input=text, stdout=subprocess.PIPE, check=True).stdout


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--secencoder", required=True)
    p.add_argument("--in", dest="inputs", nargs="+", default=[os.path.join(GOLDENS, "train.txt")])
    p.add_argument("--vocab-size", type=int, default=4096)
    p.add_argument("--lines", type=int, default=200000, help="lines to compare at most")
    a = p.parse_args()

    lines = []
    for name in a.inputs:
        with open(name, "rb") as f:
            lines += f.read().split(b"\n")
    lines = [s for s in lines[: a.lines] if valid(s)]
    with open(os.path.join(GOLDENS, "strings.json"), encoding="utf-8") as f:
        hard = [s.encode() for s in json.load(f)["texts"] if "\n" not in s]
    lines = hard + lines
    text = b"\n".join(lines) + b"\n"
    print(f"tokenizers {tokenizers.__version__}, {len(lines)} lines, {len(text)} bytes")

    with tempfile.TemporaryDirectory() as d:
        for digits in ("run", "d3", "d1", "alnum"):
            for space in ("all", "word", "none"):
                check(a, digits, space, os.path.join(d, f"{digits}-{space}.json"), lines, text)
    print("no difference")


def valid(s):
    try:
        s.decode()
        return True
    except UnicodeDecodeError:
        return False


def check(a, digits, space, path, lines, text):
    ours(a.secencoder, "train", "--in", *a.inputs, "--out", path, "--vocab-size", str(a.vocab_size), "--digits", digits, "--space", space, "--quiet")
    got = [json.loads(s) for s in ours(a.secencoder, "encode", "--tokenizer", path, text=text).splitlines()]
    framed = [json.loads(s) for s in ours(a.secencoder, "encode", "--tokenizer", path, "--special", text=text).splitlines()]
    if len(got) != len(lines) or len(framed) != len(lines):
        fail(digits, space, "lines", len(got), len(framed), len(lines))
    hf = Tokenizer.from_file(path)
    with open(path, "rb") as f:
        if f.read().decode() != hf.to_str() + "\n":
            fail(digits, space, "file is not what the library writes")
    hf.encode_special_tokens = True
    tokens = 0
    for i, s in enumerate(lines):
        want = hf.encode(s.decode(), add_special_tokens=False).ids
        if got[i] != want:
            fail(digits, space, repr(s), got[i], want)
        if framed[i] != hf.encode(s.decode()).ids:
            fail(digits, space, "framed", repr(s), framed[i])
        if hf.decode(want) != s.decode():
            fail(digits, space, "decoded", repr(s), hf.decode(want))
        tokens += len(want)
    print(f"digits {digits:5} space {space:4}: {hf.get_vocab_size()} tokens in the file, equal to the library's own; {tokens} ids equal")


main()
