"""Makes model/testdata/hf/*: small folders as HuggingFace itself saves them, for the reader to be held against.

    VENV/bin/python scripts/parity/make_fixtures.py

Weights are counter_weights.py's, so the tests know every value. Variants: the legacy head, the new head, shards with an
index, DebertaV2Model (no head, names without the prefix), bfloat16, float16, sequence and token classification, question
answering.
"""

import json
import shutil
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2ForQuestionAnswering,
                          DebertaV2ForSequenceClassification, DebertaV2ForTokenClassification, DebertaV2Model,
                          PreTrainedTokenizerFast)

from counter_weights import STRONG, legacy_name, weights

OUT = Path(__file__).resolve().parents[2] / "model" / "testdata" / "hf"
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
LINES = ["sshd[4711]: Accepted password for root from 10.0.0.1 port 22 ssh2",
         "sshd[4712]: Failed password for invalid user admin from 10.0.0.2 port 22 ssh2",
         '{"eventName": "ConsoleLogin", "sourceIPAddress": "10.0.0.3"}'] * 4


def tokenizer():
    t = Tokenizer(models.BPE(unk_token="[UNK]"))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    t.decoder = decoders.ByteLevel()
    special = [AddedToken(s, lstrip=s == "[MASK]", special=True) for s in SPECIAL]
    t.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=280, special_tokens=special, show_progress=False,
                                                     initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
                                   unk_token="[UNK]", mask_token="[MASK]")


def fill(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            heads = ("deberta.", "pooler.", "classifier.", "qa_outputs.", "cls.", "lm_predictions.")
            canonical = name if name.startswith(heads) else "deberta." + name
            p.copy_(torch.from_numpy(weights(legacy_name(canonical), tuple(p.shape), 1, STRONG)))
    return model


MASKED = "sshd[4711]: Accepted [MASK] for root from [MASK]"


def expect(tok):
    """expected.json: what HF gives for the folder legacy, in float64: ids, mean vectors, candidates of the masks."""
    m = DebertaV2ForMaskedLM.from_pretrained(OUT / "legacy").double().eval()
    lines = LINES[:3] + ["", " ", "Grüße", "a" * 60]
    ids, vectors = [tok(l)["input_ids"] for l in lines], []
    with torch.no_grad():
        for x in ids:
            vectors.append(m.deberta(torch.tensor([x])).last_hidden_state[0].mean(0).tolist())
        x = tok(MASKED)["input_ids"]
        probabilities = m(torch.tensor([x])).logits[0].softmax(-1)
    masks = []
    for at in [i for i, t in enumerate(x) if t == tok.mask_token_id]:
        p, t = probabilities[at].topk(4)
        masks.append(dict(position=at, candidates=[dict(token=tok.decode([i]), id=i, probability=q) for i, q in zip(t.tolist(), p.tolist())]))
    (OUT / "expected.json").write_text(json.dumps(dict(lines=lines, ids=ids, vectors=vectors, masked=MASKED, masks=masks), indent=1) + "\n")


def main():
    tok = tokenizer()
    base = dict(vocab_size=len(tok), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                relative_attention=True, position_buckets=4, max_relative_positions=8, share_att_key=True,
                pos_att_type="p2c|c2p", norm_rel_ebd="layer_norm", position_biased_input=False, pad_token_id=0)
    folders = {
        "legacy": (DebertaV2ForMaskedLM, {}, {}, None),
        "newhead": (DebertaV2ForMaskedLM, dict(legacy=False, tie_word_embeddings=False), {}, None),
        "sharded": (DebertaV2ForMaskedLM, {}, dict(max_shard_size="8KB"), None),
        "bare": (DebertaV2Model, {}, {}, None),
        "bf16": (DebertaV2ForMaskedLM, {}, {}, torch.bfloat16),
        "f16": (DebertaV2ForMaskedLM, {}, {}, torch.float16),
        "sequence": (DebertaV2ForSequenceClassification, dict(num_labels=3), {}, None),
        "token": (DebertaV2ForTokenClassification, dict(num_labels=5), {}, None),
        "question": (DebertaV2ForQuestionAnswering, {}, {}, None),
    }
    shutil.rmtree(OUT, ignore_errors=True)
    for name, (cls, more, save, dtype) in folders.items():
        m = fill(cls(DebertaV2Config(**base, **more)))
        if dtype is not None:
            m = m.to(dtype)
        m.save_pretrained(OUT / name, **save)
        tok.save_pretrained(OUT / name)
        for extra in ("tokenizer_config.json", "special_tokens_map.json"):
            (OUT / name / extra).unlink(missing_ok=True)
    expect(tok)
    for f in sorted(OUT.rglob("*")):
        if f.is_file():
            print(f.relative_to(OUT), f.stat().st_size)


if __name__ == "__main__":
    main()
