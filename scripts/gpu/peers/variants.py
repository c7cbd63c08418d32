"""The peers: what each variant makes of HuggingFace's model. A variant is written NAME[+OPTION...][@TUNING].

    eager               transformers as installed
    compile             the same under torch.compile, one graph for each shape
    compile-layers      torch.compile of each layer: the layers share their code, so it is ready sooner
    df-padded           disentangled-flash over [B, N], told that there is no padding
    df-packed           disentangled-flash over tokens without padding (cu_seqlens)
    flashdeberta        its attention module in the place of HuggingFace's

    +compile            what is around df-padded compiled too
    +masked             logits of the labelled tokens alone, where HuggingFace computes all
    @heuristic, @autotune, @profile, @auto    how disentangled-flash chooses its launches (choose_tuning below)
"""

import contextlib
import dataclasses
import tempfile
from pathlib import Path

import models

NAMES = ("eager", "compile", "compile-layers", "df-padded", "df-packed", "flashdeberta")
OPTIONS = ("compile", "masked")
TUNINGS = ("auto", "heuristic", "autotune", "profile")


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    options: tuple = ()
    tuning: str = ""

    @property
    def packed(self):
        return self.name == "df-packed"

    @property
    def disentangled_flash(self):
        return self.name.startswith("df-")

    @property
    def compiled(self):
        return self.name.startswith("compile") or "compile" in self.options


def parse(text):
    rest, _, tuning = text.partition("@")
    name, *options = rest.split("+")
    v = Variant(name, tuple(options), tuning)
    if name not in NAMES or set(options) - set(OPTIONS) or (tuning and (tuning not in TUNINGS or not v.disentangled_flash)):
        raise ValueError(f"variant {text!r}: want NAME[+OPTION][@TUNING], names {', '.join(NAMES)}, options "
                         f"{', '.join(OPTIONS)}, tunings (disentangled-flash alone) {', '.join(TUNINGS)}")
    if "compile" in options and name != "df-padded":
        raise ValueError(f"variant {text!r}: +compile is for df-padded")
    return v


def tuning_options(v):
    """disentangled-flash's options and what they are, in words for the record."""
    import disentangled_flash as df
    from disentangled_flash import tuning as t

    if v.tuning in ("", "auto"):
        return df.KernelTuningOptions(use_user_profiles=False), "auto: the bundled profile where it matches, else its heuristic"
    if v.tuning != "profile":
        return df.KernelTuningOptions(mode=v.tuning, use_user_profiles=False), v.tuning
    # The bundled profile holds for the versions that it was measured with. Its launches are tried here with those that
    # are installed, by a copy that names them; a launch that does not fit falls back to autotuning.
    bundled = [p for p in t.load_bundled_profiles() if p.hardware.matches(t.HardwareSpec.current())]
    if not bundled:
        raise RuntimeError("disentangled-flash has no bundled profile for this GPU")
    copy = dataclasses.replace(bundled[0], compiler=t.CompilerSpec.current(), kernel_digest=t.KERNEL_SOURCE_DIGEST)
    folder = tempfile.mkdtemp(prefix="peers-profile-")
    path = t.save_profile(copy, Path(folder) / "profile.json")
    options = df.KernelTuningOptions(profile_paths=(path,), use_user_profiles=False, use_bundled_profiles=False)
    return options, f"launches of the bundled profile, measured with torch {bundled[0].compiler.torch}"


def profile_match():
    """Says whether a bundled profile of disentangled-flash is for this GPU and these versions: exact, retargetable
    (this GPU, other versions) or incompatible."""
    from disentangled_flash import tuning as t

    found = {p.compatibility(t.HardwareSpec.current(), t.CompilerSpec.current()) for p in t.load_bundled_profiles()}
    return next((x for x in ("exact", "retargetable") if x in found), "incompatible")


def disentangled_flash(v, backbone, device, training, lengths=(), full=True):
    """Replaces the encoder of HuggingFace's backbone. Returns what was chosen, for the record."""
    import disentangled_flash as df

    backend = "triton" if device == "cuda" else "torch"  # its kernels refuse tensors of the CPU
    options, words = tuning_options(v) if backend == "triton" else (None, "none: its PyTorch backend")
    if training:
        df.optimize_deberta_training(backbone, backend=backend, tuning=options, assume_unpadded=full)
    else:
        df.optimize_deberta(backbone, backend=backend, tuning=options, assume_unpadded=full,
                            sequence_lengths=list(lengths) or None)
    if getattr(backbone.encoder, "backend", None) != backend:
        raise RuntimeError(f"disentangled-flash left HuggingFace's encoder in its place instead of its {backend} backend")
    return dict(backend=backend, tuning=words)


def flashdeberta(backbone):
    """Puts its attention modules into HuggingFace's encoder, which is what its own encoder consists of. Its class for
    masked language models is not used: it cannot be made under transformers 5, whose tied weights are a dictionary."""
    from flashdeberta import FlashDisentangledSelfAttention

    for layer in backbone.encoder.layer:
        old = layer.attention.self
        new = FlashDisentangledSelfAttention(backbone.config).to(old.query_proj.weight)
        new.load_state_dict(old.state_dict())
        # The very parameters of the model, so that an optimizer made earlier would still own them.
        for name, module in old.named_children():
            setattr(new, name, module)
        layer.attention.self = new.train(old.training)


def interpret():
    """Lets flashdeberta's kernels run on the CPU, in Triton's interpreter: for trials of the arithmetic. Call it before
    triton is imported."""
    import os

    os.environ["TRITON_INTERPRET"] = "1"
    import torch

    torch.cuda.device = lambda index: contextlib.nullcontext()  # its launches choose the device of their tensors


class Batch:
    """Pieces of random ids with 15 % labels, padded and packed. Lengths all equal: nothing is padding."""

    def __init__(self, c, lengths, device, seed=0, share=0.15):
        import torch

        g = torch.Generator().manual_seed(seed)
        n = max(lengths)
        self.lengths, self.n, self.tokens = list(lengths), n, sum(lengths)
        self.full = min(lengths) == n
        ids = torch.randint(5, c["vocab_size"], (len(lengths), n), generator=g)
        real = torch.arange(n)[None] < torch.tensor(lengths)[:, None]
        chosen = (torch.rand(ids.shape, generator=g) < share) & real
        chosen[0, 0] = True  # a batch of few tokens has a label too
        labels = torch.where(chosen, ids, -100)
        self.masked = int(chosen.sum())
        self.ids, self.labels, self.real = (x.to(device) for x in (ids * real, labels, real))
        self.mask = self.real.long()
        self.where = chosen.flatten().nonzero().flatten().to(device)
        self.flat_ids, self.flat_labels = (x[real][None].to(device) for x in (ids, labels))
        self.flat_where = (self.flat_labels[0] >= 0).nonzero().flatten()
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        self.cu = offsets.to(torch.int32).to(device)
        self.offsets = tuple(offsets.tolist())

    def packed_info(self):
        import disentangled_flash as df

        return df.PackedSequenceInfo(self.offsets, tuple(self.lengths), self.n)


def packed_hidden(backbone, b):
    """The encoder's output over packed tokens, [T, H]."""
    import torch

    ones = torch.ones_like(b.flat_ids)
    hidden = backbone.embeddings(input_ids=b.flat_ids, token_type_ids=torch.zeros_like(b.flat_ids), mask=ones)[0]
    return backbone.encoder.forward_packed(hidden, b.cu, b.n, output_hidden_states=False,
                                           packed_info=b.packed_info()).last_hidden_state


def padded_hidden(backbone, b):
    """[B, N, H]. Where nothing is padding no mask is given, as a program without padding would do it."""
    return backbone(input_ids=b.ids, attention_mask=None if b.full else b.mask).last_hidden_state


def loss_function(v, model):
    """The loss of a batch, as HuggingFace's DebertaV2ForMaskedLM has it."""
    import torch

    def head(rows, labels):
        logits = model.cls(rows)
        return torch.nn.functional.cross_entropy(logits, labels)

    if v.packed:
        def loss(b):
            rows, labels = packed_hidden(model.deberta, b), b.flat_labels[0]
            if "masked" in v.options:
                rows, labels = rows[b.flat_where], labels[b.flat_where]
            return head(rows, labels)
    elif "masked" in v.options:
        def loss(b):
            return head(padded_hidden(model.deberta, b).flatten(0, 1)[b.where], b.labels.flatten()[b.where])
    else:
        def loss(b):
            return model(input_ids=b.ids, attention_mask=None if b.full else b.mask, labels=b.labels).loss
    return loss


def prepare_training(v, model, device, full=True):
    """Returns the function from a batch to its loss, and settings for the record."""
    import torch

    settings = {}
    if v.disentangled_flash:
        settings = disentangled_flash(v, model.deberta, device, training=True, full=full)
    elif v.name == "flashdeberta":
        flashdeberta(model.deberta)
    loss = loss_function(v, model)
    if v.name == "compile-layers":
        for layer in model.deberta.encoder.layer:
            layer.compile(dynamic=False)
    elif v.compiled:
        plain, ready = loss, {}

        def loss(b):
            if b.n not in ready:
                if v.disentangled_flash:
                    plans(model.deberta.encoder.position_plan_cache, b)
                ready[b.n] = torch.compile(plain, dynamic=False)
            return ready[b.n](b)

    return loss, settings


def plans(cache, b):
    """Makes disentangled-flash's map of positions before code is compiled that would only read it."""
    device = b.ids.device
    (cache.compact if device.type == "cuda" else cache.dense)(b.n, device)


def prepare_inference(v, backbone, device, contexts, full=True):
    """Returns the function from a batch to the encoder's output over its real tokens, and settings for the record."""
    import torch

    settings = {}
    if v.disentangled_flash:
        settings = disentangled_flash(v, backbone, device, training=False, lengths=contexts, full=full)
    elif v.name == "flashdeberta":
        flashdeberta(backbone)
    if v.packed:
        return lambda b: packed_hidden(backbone, b), settings
    if v.name == "df-padded":
        encoder, prepared, compiled = backbone.encoder, set(contexts), {}
        if v.compiled:
            import disentangled_flash as df

            compiled = df.compile_deberta_buckets(encoder, list(contexts), mode="default", dynamic_batch=False)

        def hidden(b):
            if compiled:
                return compiled[b.n](backbone.embeddings(input_ids=b.ids, mask=b.mask), b.mask)
            if b.n not in prepared:
                encoder.prepare_for_inference(b.n)
                prepared.clear()
                prepared.add(b.n)
            encoder.activate_shape(b.n)
            return padded_hidden(backbone, b)

        return hidden, settings
    if v.name == "compile-layers":
        for layer in backbone.encoder.layer:
            layer.compile(dynamic=False)
    hidden = torch.compile(backbone, dynamic=False) if v.name == "compile" else backbone
    return lambda b: hidden(input_ids=b.ids, attention_mask=None if b.full else b.mask).last_hidden_state, settings


def given(of_hidden, of_table):
    """Stands for a projection whose results are at hand: of hidden states one wide, or of the position table, two wide."""
    import torch

    class Given(torch.nn.Module):
        def forward(self, x):
            return of_hidden if x.size(-1) == 1 else of_table

    return Given()


def attention(v, size, b, device, dtype, projected):
    """One layer's attention over a batch of full pieces: a function that gives its output, the tensors that get
    gradients, and settings. projected: queries, keys, values and position tables are given, else the module projects
    them itself. Dropout is off; masks and HuggingFace's map of positions are made before."""
    import torch

    model = models.build(size, device, dtype, heads=False, dropout=0, layers=1)
    settings = {}
    if v.disentangled_flash:
        settings = disentangled_flash(v, model, device, training=True)
    elif v.name == "flashdeberta":
        flashdeberta(model)
    module = model.encoder.layer[0].attention.self.train()
    h, heads, pieces, rows = model.config.hidden_size, model.config.num_attention_heads, len(b.lengths), 2 * models.SPAN
    shape = (b.tokens, h) if v.packed else (pieces, b.n, h)

    def leaf(*shape):
        return torch.randn(shape, device=device, dtype=dtype, requires_grad=True)

    if not projected:
        hidden, table = leaf(*shape), leaf(rows, h)
        leaves = [hidden, table, *module.parameters()]
    elif v.disentangled_flash:
        slots = module.position_plan_cache.compact(b.n, b.ids.device).active_slots.numel()
        hidden, table = torch.zeros(shape, device=device, dtype=dtype), torch.zeros(rows, h, device=device, dtype=dtype)
        leaves = q, k, value, pk, pq = [leaf(*shape) for _ in range(3)] + [leaf(heads, slots, h // heads) for _ in range(2)]

        def given_rows(x):
            if not (v.packed and x.dim() == 3):
                return q, k, value
            start = x.storage_offset() // h  # its PyTorch backend takes one piece after the other
            return tuple(t[None, start:start + x.size(1)] for t in (q, k, value))

        # The two methods that project; what comes after them is the package's own.
        module._project_qkv = given_rows
        module._project_active_positions = lambda table, active: (pk, pq)
    else:
        hidden, table = (torch.zeros(s, device=device, dtype=dtype) for s in ((*shape[:-1], 1), (rows, 2)))
        leaves = q, k, value, pk, pq = [leaf(*shape) for _ in range(3)] + [leaf(1, rows, h) for _ in range(2)]
        module.query_proj, module.key_proj, module.value_proj = given(q, pq), given(k, pk), given(value, None)
    if v.compiled:
        if v.disentangled_flash:
            plans(module.position_plan_cache, b)
        module = torch.compile(module, dynamic=False)
    if v.packed:
        info = b.packed_info()
        return lambda: module.forward_packed(hidden, b.cu, b.n, rel_embeddings=table, packed_info=info)[0], leaves, settings
    if v.disentangled_flash:
        return lambda: module(hidden, b.real, rel_embeddings=table)[0], leaves, settings
    if v.name == "flashdeberta":
        return lambda: module(hidden, None, rel_embeddings=table)[0], leaves, settings
    with torch.no_grad():
        mask = model.encoder.get_attention_mask(b.mask)
        places = model.encoder.get_rel_pos(torch.empty(pieces, b.n, 1, device=device))
    return lambda: module(hidden, mask, relative_pos=places, rel_embeddings=table)[0], leaves, settings
