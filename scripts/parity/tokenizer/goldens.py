"""Makes tokenizer/testdata/goldens: what HuggingFace's tokenizers does, for `go test ./tokenizer`.

    python3 -m venv VENV && VENV/bin/pip install -r scripts/parity/tokenizer/requirements.txt
    VENV/bin/python scripts/parity/tokenizer/goldens.py      # from the repository's root; takes some seconds

train.txt        log lines made here, with a fixed seed: what the trainers are given
strings.json     texts to encode: log lines and everything that is hard about bytes and Unicode
NAME.json        tokenizer.json as the library writes it (compact), for each of our rules: VARIANTS
NAME.ids.json    the ids of strings.json under it, with encode_special_tokens = True; "special" those with it False, for SPECIAL
gpt2.pieces.json the lengths, in bytes, of the pieces that ByteLevel's expression cuts strings.json into
kind-*.json      WordPiece and Unigram with some plain lines, for tokenizer/foreign; their trainers are not
                 deterministic, so these two change with each run
foreign-*.json   the same for byte-level BPE with pre-tokenizers of its own
"""

import json
import os
import random
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = "tokenizer/testdata/goldens"
SPECIALS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
HIGH = r"\x{80}-\x{10FFFF}"


def regex(digits, space):
    """The expression of a rule; written here once more, so that the Go code is checked against a second hand."""
    word = f"[0-9A-Za-z{HIGH}]" if digits == "alnum" else f"[A-Za-z{HIGH}]"
    number = {"run": "[0-9]{1,64}", "d3": "[0-9]{1,3}", "d1": "[0-9]"}.get(digits)
    lead = "" if space == "none" else " ?"
    parts = [lead + word + "{1,64}"]
    if number:
        parts.append(lead + number)
    parts.append((" ?" if space == "all" else "") + r"[!-/:-@\[-`{-~]")
    parts.append(r"[\x00-\x1F\x7F]")
    if space == "all":
        parts.append(" {1,64}(?= [!-~" + HIGH + "])")
    if space == "word":
        parts.append(" {1,64}(?= [0-9A-Za-z" + HIGH + "])")
    parts.append(" {1,64}")
    return "|".join(parts)


# name: digits, space, vocabulary, min_frequency
VARIANTS = {
    "run-all": ("run", "all", 1536, 0),
    "run-word": ("run", "word", 1024, 0),
    "run-none": ("run", "none", 900, 0),
    "d3-all": ("d3", "all", 800, 0),
    "d1-word": ("d1", "word", 700, 0),
    "alnum-all": ("alnum", "all", 1024, 0),
    "alnum-word": ("alnum", "word", 600, 0),
    "alnum-none": ("alnum", "none", 600, 0),
    "d3-none": ("d3", "none", 500, 0),
    "short": ("run", "all", 30000, 40),  # stops by min_frequency
    "alphabet": ("run", "all", 261, 0),  # no merge at all
}


def lines(rng, n):
    """Log lines of eight shapes. Users, hosts and commands come again and again; addresses, numbers and times do not."""
    users = ["root", "alice", "bob", "svc_backup", "deploy", "j.müller", "www-data"]
    hosts = ["web01", "web02", "db-prod-1", "bastion", "k8s-node-7"]
    commands = ["/bin/ip netns identify 4867", "/usr/bin/apt-get update", "/bin/systemctl restart nginx", "/usr/sbin/tcpdump -i eth0 port 443"]
    out = []
    for i in range(n):
        u, h = rng.choice(users), rng.choice(hosts)
        ip = ".".join(str(rng.randrange(1, 255)) for _ in range(4))
        pid, t = rng.randrange(100, 9999), f"{rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}"
        match i % 8:
            case 0:
                s = f"sudo: {u} : TTY=unknown ; PWD=/ ; USER=root ; COMMAND={rng.choice(commands)}"
            case 1:
                s = f"Jan {rng.randrange(1, 29):2d} {t} {h} sshd[{pid}]: Accepted publickey for {u} from {ip} port {rng.randrange(1024, 65535)} ssh2"
            case 2:
                s = json.dumps({"EventID": rng.choice([4624, 4625, 4688, 1102]), "Computer": h.upper(), "TargetUserName": u, "LogonType": rng.randrange(2, 11), "IpAddress": ip}, ensure_ascii=False)
            case 3:
                s = f'{ip} - - [12/Mar/2024:{t} +0000] "GET /index.php?id={rng.randrange(9999)} HTTP/1.1" {rng.choice([200, 301, 404, 500])} {rng.randrange(99999)} "-" "Mozilla/5.0"'
            case 4:
                s = f"type=SYSCALL msg=audit({rng.randrange(10**9)}.{rng.randrange(1000):03d}:{pid}): arch=c000003e syscall=59 success=yes exit=0 a0={rng.randrange(2**32):x} comm=\"{u}\" key=(null)"
            case 5:
                s = f"kernel: [{rng.randrange(10**6)}.{rng.randrange(10**6):06d}] IN=eth0 OUT= MAC={':'.join(f'{rng.randrange(256):02x}' for _ in range(6))} SRC={ip} DST=10.0.0.{rng.randrange(255)} LEN=60 TOS=0x00 PROTO=TCP SPT={rng.randrange(65535)} DPT=22"
            case 6:
                s = f"C:\\Windows\\System32\\cmd.exe /c whoami\t{h}\t{'=' * rng.randrange(3, 40)}  aaaa{'a' * rng.randrange(12)} 0000{'0' * rng.randrange(9)}"
            case _:
                s = f"{t} предупреждение: 日本語のログ {u}@{h}   naïve café №{pid} 😀👨‍👩‍👧 end"
        out.append(s)
    return out


def texts(rng):
    edge = [
        "", " ", "  ", "   ", "\n", "\r\n", "\t", "\r", "\0", "\x01\x1f\x7f", "a", " a", "  a", "a ", "a  ", " .", "  .", ". .", "...", "a.b", "=/",
        "e\u0301", "\u00a0", "a\u00a0b", "\u0080\u009f", "\u2028\u2029", "\u3000x", "\ufeffx", "\ufffd", "\U0010ffff", "\ue000", "٣٤٥", "Ⅷ½²", "“quoted”",
        "日本語", "한국어", "👨‍👩‍👧", "🇩🇪", "x" * 64, "x" * 65, "x" * 200, " " + "x" * 64, " " + "x" * 65, "é" * 64, "é" * 65, "漢" * 65, "😀" * 66,
        "1" * 64, "1" * 65, "1" * 90, " 1" * 3, "4867", " 4867", "12345678", "7f3a02T02", "a1b2c3 4d5e", "0x7ffe12ab",
        "[PAD]", "[MASK]", " [MASK] x[SEP]y", "[CLS][CLS]", "x [MASK]", "x \t [MASK].", "[mask]", "[MASK", "[[MASK]]",
        "'s 't 're 've 'm 'll 'd 'S 'x it's we'll they'RE", "a's's", "\\r\\n\\tAccount", "don't stop\n\n  next\n \n x ",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", " ! \" # $ % &", "a,b;c:d", "a , b ; c : d", "a  ,  b", "-- --", "()[]{}",
        "aaaaaaaaaaaaaaaaaaaaaaaa", "abababababab", "000000000000", "arch=c000003e", "========================", "----------",
        "sudo: root : TTY=unknown ; PWD=/ ; USER=root ; COMMAND=/bin/ip netns identify 4867",
        "The year 2024\u00b2 costs 3\u00bd €; Ⅷ 一 二 1 2,000.50", "MiXeD CaSe snake_case kebab-case dot.case", "naïve café №12 \u0301x",
        "word\u200bjoin\u200d er\u00adshy", "tab\tsep\tvalues", "trailing space ", " leading", "\x1b[31mred\x1b[0m", "a\x0bb\x0cc\x85d",
    ]
    edge += [" " * n + c for n in (1, 2, 63, 64, 65, 66, 67, 130) for c in ("", "a", "1", ".", "\n", "é")]
    parts = [c for c in edge if 0 < len(c) < 12] + ["ssh", "root", " ", " ", "  ", ".", "/", "=", "42", "é", "\n"]
    edge += ["".join(rng.choice(parts) for _ in range(rng.randrange(2, 14))) for _ in range(90)]
    edge += lines(rng, 16)
    return edge


SPECIAL = ["[MASK]", " [MASK] x[SEP]y", "a [MASK] b  \t\u00a0[MASK]\n[MASK]", "[CLS] [PAD]x[UNK]", "x[MASK]", "Failed [MASK] for root [SEP]", "[[MASK]]"]


def ours(digits, space, size, least, train):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(regex(digits, space)), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
    ])
    t.decoder = decoders.ByteLevel()
    special = [AddedToken(s, special=True, normalized=False, lstrip=s == "[MASK]") for s in SPECIALS]
    t.train_from_iterator(train, trainers.BpeTrainer(
        vocab_size=size, min_frequency=least, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return t


def foreign(train):
    """Byte-level BPE as others make it. The last element is changed after training, in the JSON."""
    bl = pre_tokenizers.ByteLevel
    split = pre_tokenizers.Split(Regex(regex("d3", "word")), "isolated")
    seq = pre_tokenizers.Sequence
    cases = {
        "gpt2": bl(add_prefix_space=False),
        "roberta": bl(add_prefix_space=True),
        "punctuation": seq([pre_tokenizers.Punctuation(), bl(add_prefix_space=False)]),
        "punctuation-previous": seq([pre_tokenizers.Punctuation("merged_with_previous"), bl(add_prefix_space=False, use_regex=False)]),
        "punctuation-next": seq([pre_tokenizers.Punctuation("merged_with_next"), bl(add_prefix_space=False, use_regex=False)]),
        "punctuation-removed": seq([pre_tokenizers.Punctuation("removed"), bl(add_prefix_space=True, use_regex=False)]),
        "falcon": seq([pre_tokenizers.Punctuation("contiguous"), bl(add_prefix_space=False), pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Punctuation()]),
        "digits": seq([pre_tokenizers.Digits(individual_digits=True), bl(add_prefix_space=False)]),
        "whitespace": seq([pre_tokenizers.Whitespace(), bl(add_prefix_space=True)]),
        "split": seq([split, pre_tokenizers.Digits(individual_digits=True), bl(add_prefix_space=False, use_regex=False)]),
    }
    for name, pre in cases.items():
        t = Tokenizer(models.BPE(unk_token="<unk>" if name == "roberta" else None, ignore_merges=name == "digits"))
        t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
        names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if name == "roberta" else SPECIALS
        if name == "gpt2":
            names = []
        special = [AddedToken(s, special=True, normalized=False, lstrip=s == "<mask>") for s in names]
        t.train_from_iterator(train, trainers.BpeTrainer(
            vocab_size=420, special_tokens=special, show_progress=False, initial_alphabet=bl.alphabet()))
        if name == "roberta":
            t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        if name == "digits":
            t.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
        if name == "gpt2":
            # Specials after the merges, and tokens that are not special, each with a flag.
            t.add_special_tokens([AddedToken("<|endoftext|>", normalized=False), AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False)])
            t.add_tokens([AddedToken("ssh", single_word=True), AddedToken("sshd"), AddedToken("é", rstrip=True), AddedToken("root", lstrip=True, normalized=False)])
        d = json.loads(t.to_str())
        if name == "split":
            d["model"]["merges"] = [" ".join(m) for m in d["model"]["merges"]]  # the form before 0.20
        yield name, d, Tokenizer.from_str(json.dumps(d, ensure_ascii=False))


PLAIN = [
    "Failed password for root from 10.0.0.1 port 22 ssh2",
    "sudo: root : TTY=unknown ; PWD=/ ; USER=root",
    "user alice logged in",
    "GET /index.php?id=7 HTTP/1.1 200",
]


def kinds(train):
    """Kinds that tokenizer refuses and tokenizer/foreign adapts: small, for plain lines only."""
    w = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    w.normalizer, w.pre_tokenizer, w.decoder = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    w.train_from_iterator(train, trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIALS, show_progress=False))
    w.post_processor = processors.BertProcessing(("[SEP]", w.token_to_id("[SEP]")), ("[CLS]", w.token_to_id("[CLS]")))
    yield "wordpiece", w
    u = Tokenizer(models.Unigram())
    u.normalizer, u.pre_tokenizer, u.decoder = normalizers.NFKC(), pre_tokenizers.Metaspace(), decoders.Metaspace()
    u.train_from_iterator(train, trainers.UnigramTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False))
    yield "unigram", u


def ids(t, strings):
    t.encode_special_tokens = True
    plain = [t.encode(s, add_special_tokens=False).ids for s in strings]
    t.encode_special_tokens = False
    special = [t.encode(s, add_special_tokens=False).ids for s in SPECIAL]
    return {"plain": plain, "special": special}


def write(name, text):
    with open(os.path.join(OUT, name), "w", encoding="utf-8", newline="") as f:
        f.write(text)


def dump(v):
    return json.dumps(v, ensure_ascii=False, separators=(",", ":")) + "\n"


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = random.Random(20240312)
    train = lines(rng, 1400)
    strings = texts(rng)
    write("train.txt", "\n".join(train) + "\n")
    write("strings.json", dump({"tokenizers": tokenizers.__version__, "texts": strings, "special": SPECIAL}))
    for name, (digits, space, size, least) in VARIANTS.items():
        t = ours(digits, space, size, least, train)
        write(name + ".json", t.to_str() + "\n")
        write(name + ".ids.json", dump({"digits": digits, "space": space, "vocab_size": size, "min_frequency": least, **ids(t, strings)}))
        print(name, t.get_vocab_size(), file=sys.stderr)
    for name, d, t in foreign(train):
        write("foreign-" + name + ".json", dump(d))
        write("foreign-" + name + ".ids.json", dump(ids(t, strings)))
        print("foreign", name, t.get_vocab_size(), file=sys.stderr)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    write("gpt2.pieces.json", dump([[len(p) for p, _ in gpt2.pre_tokenize_str(s)] for s in strings]))
    for name, t in kinds(train):
        write("kind-" + name + ".json", t.to_str() + "\n")
        write("kind-" + name + ".lines.json", dump([{"text": s, "ids": t.encode(s).ids, "decoded": t.decode(t.encode(s).ids)} for s in PLAIN]))
        print("kind", name, t.get_vocab_size(), file=sys.stderr)


main()
