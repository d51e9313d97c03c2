"""Writes losses.json: values and gradients of pair losses and miners, by pytorch-metric-learning where it has them
and else by formulas written out here.

    python tests/golden/losses/make.py

Embeddings are drawn in f64 and rounded to f32; everything is then computed in f64. A case names a term as a recipe
would (`kind`, options, `reduction`, `miners`), which rows are compared, and what came out.
"""

import json
import pathlib

import torch
from pytorch_metric_learning import distances, losses, miners, reducers
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(20261124)
DIM = 8


def draw(labels, spread, unit=False):
    """Rows around a centre for each class, rounded to f32."""
    rows = CENTRES[torch.tensor(labels)] + spread * torch.randn(len(labels), DIM, generator=generator)
    if unit:
        rows = torch.nn.functional.normalize(rows)
    return rows.float().double()


CENTRES = torch.randn(7, DIM, generator=generator)
MIXED = [0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 4]
EVEN = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
MANY = [i % 7 for i in range(40)]
TWO = [i % 2 for i in range(12)]
TWENTY = [i % 2 for i in range(40)]

ROWS = {
    "mixed": (draw(MIXED, 0.9), MIXED),
    "even": (draw(EVEN, 0.9), EVEN),
    "many": (draw(MANY, 0.9), MANY),
    "two": (draw(TWO, 0.5), TWO),
    "twenty": (draw(TWENTY, 0.5), TWENTY),
    "unit": (draw(MIXED, 0.9, unit=True), MIXED),
    "unit_many": (draw(MANY, 0.9, unit=True), MANY),
    "older": (draw([1, 5, 0, 3, 3, 2, 6, 0, 1, 4, 4, 5], 0.9, unit=True), [1, 5, 0, 3, 3, 2, 6, 0, 1, 4, 4, 5]),
}
FIRST = ("even", [0, 3, 6, 9])
SECOND = ("even", [1, 4, 7, 10])

cosine = distances.CosineSimilarity
dot = lambda: distances.DotProductSimilarity(normalize_embeddings=False)
euclidean = lambda: distances.LpDistance(normalize_embeddings=False)
squared = lambda: distances.LpDistance(normalize_embeddings=False, power=2)
snr = lambda: distances.SNRDistance(normalize_embeddings=False)
mean = reducers.MeanReducer
nonzero = reducers.AvgNonZeroReducer

cases = []


def add(name, by, term, anchors, references, compute, **more):
    """Runs `compute(anchors, labels, references, reference labels)`; without references it gets the anchors twice."""
    rows, labels = ROWS[anchors]
    rows = rows.clone().requires_grad_()
    labels = torch.tensor(labels)
    if references is None:
        value = compute(rows, labels, rows, labels)
        other = None
    else:
        other, other_labels = ROWS[references]
        other = other.clone().requires_grad_()
        value = compute(rows, labels, other, torch.tensor(other_labels))
    value.backward()
    assert value.item() > 0, name
    assert rows.grad.abs().max() > 0, name
    case = {
        "name": name,
        "by": by,
        "term": term,
        "anchors": anchors,
        "references": references,
        "value": value.item(),
        "gradient": rows.grad.flatten().tolist(),
    }
    if other is not None:
        case["reference_gradient"] = other.grad.flatten().tolist()
    cases.append(case | more)


def library(name, term, loss, miner=None, where=("mixed",), **more):
    """A loss of the library, in the batch and against other references."""

    def compute(rows, labels, other, other_labels):
        pairs = None
        if rows is other:
            if miner is not None:
                pairs = miner(rows, labels)
            return loss(rows, labels, pairs)
        if miner is not None:
            pairs = miner(rows, labels, other, other_labels)
        return loss(rows, labels, pairs, other, other_labels)

    for batch in where:
        add(f"{name}, {batch}", "pytorch-metric-learning", term, batch, None, compute, **more)
    add(f"{name}, mixed with many", "pytorch-metric-learning", term, "mixed", "many", compute, **more)


def once(miner):
    """The pairs that are in a miner's triplets, each once."""

    def pairs(rows, labels, other=None, other_labels=None):
        a, p, n = miner(rows, labels, other, other_labels)
        positives = torch.unique(torch.stack([a, p]), dim=1)
        negatives = torch.unique(torch.stack([a, n]), dim=1)
        return positives[0], positives[1], negatives[0], negatives[1]

    return pairs


# --- the library's losses ---------------------------------------------------------------------------------------------

hinge = {"kind": "contrastive", "form": "hinge", "reduction": "mean-nonzero"}
library(
    "contrastive, cosine",
    hinge | {"margin": 0.3, "positive-margin": 0.9},
    losses.ContrastiveLoss(pos_margin=0.9, neg_margin=0.3, distance=cosine(), reducer=nonzero()),
)
library(
    "contrastive, Euclidean",
    hinge | {"similarity": "euclidean", "margin": 4.0, "positive-margin": 2.0},
    losses.ContrastiveLoss(pos_margin=2.0, neg_margin=4.0, distance=euclidean(), reducer=nonzero()),
)
library(
    "contrastive, dot",
    hinge | {"similarity": "dot", "margin": 1.0, "positive-margin": 6.0},
    losses.ContrastiveLoss(pos_margin=6.0, neg_margin=1.0, distance=dot(), reducer=nonzero()),
)
library(
    "SNR contrastive",
    {"kind": "snr-contrastive", "margin": 2.0, "positive-margin": 0.4, "reduction": "mean-nonzero"},
    losses.SignalToNoiseRatioContrastiveLoss(pos_margin=0.4, neg_margin=2.0, distance=snr(), reducer=nonzero()),
)

triplet = {"kind": "triplet", "margin": 0.15, "reduction": "mean-nonzero"}
for soft in [False, True]:
    library(
        f"triplet, all, soft {soft}",
        triplet | {"soft": soft},
        losses.TripletMarginLoss(margin=0.15, smooth_loss=soft, distance=cosine(), reducer=nonzero()),
    )
library(
    "triplet, Euclidean",
    triplet | {"margin": 0.8, "similarity": "euclidean"},
    losses.TripletMarginLoss(margin=0.8, distance=euclidean(), reducer=nonzero()),
)
library(
    "triplet, squared",
    triplet | {"margin": 0.8, "similarity": "squared-euclidean"},
    losses.TripletMarginLoss(margin=0.8, distance=squared(), reducer=nonzero()),
)
for rule, name in [("semi-hard", "semihard"), ("hard", "hard")]:
    library(
        f"triplet, {rule}",
        triplet | {"triplets": rule},
        losses.TripletMarginLoss(margin=0.15, distance=cosine(), reducer=nonzero()),
        miners.TripletMarginMiner(margin=0.15, type_of_triplets=name, distance=cosine()),
    )
    library(
        f"triplet, all, mined {rule}",
        triplet | {"miners": [{"kind": "triplets", "triplets": rule, "margin": 0.15}]},
        losses.TripletMarginLoss(margin=0.15, distance=cosine(), reducer=nonzero()),
        miners.TripletMarginMiner(margin=0.15, type_of_triplets=name, distance=cosine()),
    )

similar = {"kind": "multi-similarity", "alpha": 2.0, "beta": 50.0, "base": 0.5, "reduction": "sum"}
similarity = losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5, distance=cosine(), reducer=mean())
library("multi-similarity", similar | {"mining": False}, similarity)
miner = miners.MultiSimilarityMiner(epsilon=0.1, distance=cosine())
library("multi-similarity, mining", similar | {"mining": True, "mining-margin": 0.1}, similarity, miner)
library(
    "multi-similarity, miner",
    similar | {"mining": False, "miners": [{"kind": "multi-similarity", "margin": 0.1}]},
    similarity,
    miner,
)

library(
    "NT-Xent",
    {"kind": "nt-xent", "temperature": 0.2, "reduction": "pair-mean"},
    losses.NTXentLoss(temperature=0.2, distance=cosine(), reducer=mean()),
)
library(
    "InfoNCE, Euclidean",
    {"kind": "infonce", "temperature": 0.7, "similarity": "euclidean", "reduction": "pair-mean"},
    losses.NTXentLoss(temperature=0.7, distance=euclidean(), reducer=mean()),
)
library(
    "SupCon",
    {"kind": "supcon", "temperature": 0.2, "reduction": "pair-mean"},
    losses.SupConLoss(temperature=0.2, distance=cosine(), reducer=nonzero()),
)
library(
    "lifted structure",
    {"kind": "lifted-structure", "margin": 1.5, "positive-margin": 0.5, "reduction": "sum"},
    losses.GeneralizedLiftedStructureLoss(neg_margin=1.5, pos_margin=0.5, distance=euclidean(), reducer=mean()),
    where=("even",),
)
for gamma, relaxation in [(80.0, 0.4), (10.0, 0.25)]:
    library(
        f"circle, {gamma}",
        {"kind": "circle", "gamma": gamma, "relaxation": relaxation, "reduction": "mean-nonzero"},
        losses.CircleLoss(m=relaxation, gamma=gamma, reducer=nonzero()),
    )
for scale in [1.0, 0.2]:
    library(
        f"NCA, {scale}",
        {"kind": "nca", "scale": scale, "reduction": "pair-mean"},
        losses.NCALoss(softmax_scale=scale, distance=squared(), reducer=mean()),
    )

# --- the library's miners, with pairs counted once --------------------------------------------------------------------

contrastive = losses.ContrastiveLoss(pos_margin=1, neg_margin=-1, distance=cosine(), reducer=nonzero())
everything = hinge | {"margin": -1.0, "positive-margin": 1.0}
library(
    "pair margins",
    everything | {"miners": [{"kind": "pair-margin", "positive-margin": 0.8, "margin": 0.2}]},
    contrastive,
    miners.PairMarginMiner(pos_margin=0.8, neg_margin=0.2, distance=cosine()),
)
library(
    "pair margins, Euclidean",
    hinge
    | {
        "similarity": "euclidean",
        "margin": 9.0,
        "positive-margin": 0.0,
        "miners": [{"kind": "pair-margin", "positive-margin": 2.5, "margin": 3.5}],
    },
    losses.ContrastiveLoss(pos_margin=0, neg_margin=9, distance=euclidean(), reducer=nonzero()),
    miners.PairMarginMiner(pos_margin=2.5, neg_margin=3.5, distance=euclidean()),
)
for rule, name in [("violating", "all"), ("hard", "hard"), ("easy", "easy")]:
    library(
        f"pairs of {rule} triplets",
        everything | {"miners": [{"kind": "triplets", "triplets": rule, "margin": 0.2}]},
        contrastive,
        once(miners.TripletMarginMiner(margin=0.2, type_of_triplets=name, distance=cosine())),
    )
library(
    "batch hard",
    triplet | {"miners": [{"kind": "top-k", "negatives": 1, "positives": 1}]},
    losses.TripletMarginLoss(margin=0.15, distance=cosine(), reducer=nonzero()),
    miners.BatchHardMiner(distance=cosine()),
)

# --- N-pairs: the first image of each class against the second ones -----------------------------------------------------

rows, labels = ROWS["even"]
rows = rows.clone().requires_grad_()
value = losses.NPairsLoss(distance=dot(), reducer=mean())(rows, torch.tensor(labels))
value.backward()
first, second = [0, 3, 6, 9], [1, 4, 7, 10]
for name, index in [("first", first), ("second", second)]:
    ROWS[name] = (ROWS["even"][0][index], [EVEN[i] for i in index])
cases.append(
    {
        "name": "N-pairs",
        "by": "pytorch-metric-learning",
        "term": {"kind": "n-pairs", "reduction": "pair-mean"},
        "anchors": "first",
        "references": "second",
        "value": value.item(),
        "gradient": rows.grad[first].flatten().tolist(),
        "reference_gradient": rows.grad[second].flatten().tolist(),
    }
)

# --- margin loss: anchors with as many positives as negatives, so that triplets count all pairs equally often -------------

for learn, classes in [("global", None), ("per-class", 2)]:
    loss = losses.MarginLoss(
        margin=0.4, nu=0, beta=2.2, learn_beta=True, num_classes=classes, distance=euclidean()
    )
    with torch.no_grad():
        loss.beta += 0.3 * torch.arange(len(loss.beta))
    rows, labels = ROWS["two"]
    other, other_labels = ROWS["twenty"]
    rows = rows.clone().requires_grad_()
    value = loss(rows, torch.tensor(labels), None, other, torch.tensor(other_labels))
    value.backward()
    cases.append(
        {
            "name": f"margin, {learn}",
            "by": "pytorch-metric-learning",
            "term": {"kind": "margin", "margin": 0.4, "learn-beta": learn, "reduction": "sum"},
            "anchors": "two",
            "references": "twenty",
            "value": value.item(),
            "gradient": rows.grad.flatten().tolist(),
            "parameters": loss.beta.tolist(),
            "parameter_gradient": loss.beta.grad.tolist(),
            "over_active": True,
        }
    )

# --- with a memory of 20 slots: one batch before, then this one, so that it has wrapped around ---------------------------

for name, term, loss in [
    (
        "contrastive",
        hinge | {"margin": 0.3, "positive-margin": 0.9},
        losses.ContrastiveLoss(pos_margin=0.9, neg_margin=0.3, distance=cosine(), reducer=nonzero()),
    ),
    ("multi-similarity", similar | {"mining": False}, similarity),
    (
        "NT-Xent",
        {"kind": "nt-xent", "temperature": 0.2, "reduction": "pair-mean"},
        losses.NTXentLoss(temperature=0.2, distance=cosine(), reducer=mean()),
    ),
    (
        "triplet",
        triplet,
        losses.TripletMarginLoss(margin=0.15, distance=cosine(), reducer=nonzero()),
    ),
]:
    memory = losses.CrossBatchMemory(loss, DIM, memory_size=20)
    older, older_labels = ROWS["older"]
    memory(older, torch.tensor(older_labels))
    rows, labels = ROWS["unit"]
    rows = rows.clone().requires_grad_()
    value = memory(rows, torch.tensor(labels))
    value.backward()
    cases.append(
        {
            "name": f"memory, {name}",
            "by": "pytorch-metric-learning",
            "term": term,
            "anchors": "unit",
            "older": "older",
            "slots": 20,
            "value": value.item(),
            "gradient": rows.grad.flatten().tolist(),
        }
    )

# --- formulas written out: the cross-batch memory paper's losses as released, and what the library lacks -----------------


def masks(rows, labels, other, other_labels):
    same = labels[:, None] == other_labels[None, :]
    own = torch.eye(len(rows), dtype=torch.bool) if rows is other else torch.zeros_like(same)
    return same & ~own, ~same


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


def released_contrastive(reduction):
    def compute(rows, labels, other, other_labels):
        positive, negative = masks(rows, labels, other, other_labels)
        s = unit(rows) @ unit(other).T
        negative = negative & (s > 0.5)
        p, n = (1 - s) * positive, s * negative
        if reduction == "sum":
            return (p.sum() + n.sum()) / len(rows)
        if reduction == "pair-mean":
            return p.sum() / positive.sum() + n.sum() / negative.sum()
        row = lambda terms, mask: terms.sum(1) / mask.sum(1).clamp(min=1)
        return (row(p, positive) + row(n, negative)).mean()

    return compute


def released_multi_similarity(rows, labels, other, other_labels):
    positive, negative = masks(rows, labels, other, other_labels)
    s = unit(rows) @ unit(other).T
    total = torch.zeros(())
    for i in range(len(rows)):
        p, n = s[i][positive[i]], s[i][negative[i]]
        if len(p) == 0 or len(n) == 0:
            continue
        n_kept = n[n + 0.1 > p.min()]
        p_kept = p[p - 0.1 < n.max()]
        if len(n_kept) == 0 or len(p_kept) == 0:
            continue
        total = total + torch.log(1 + torch.exp(-2 * (p_kept - 0.5)).sum()) / 2
        total = total + torch.log(1 + torch.exp(40 * (n_kept - 0.5)).sum()) / 40
    return total / len(rows)


def released_triplet(rows, labels, other, other_labels):
    positive, negative = masks(rows, labels, other, other_labels)
    s = unit(rows) @ unit(other).T
    total = torch.zeros(())
    for i in range(len(rows)):
        p, n = s[i][positive[i]], s[i][negative[i]]
        if len(p) == 0:
            continue
        total = total + (1 - p[p < n.max() + 0.1]).sum()
        total = total + n[n > max(p.max().item(), 0.6) - 0.1].sum()
    return total / len(rows)


def binomial_deviance(rows, labels, other, other_labels):
    positive, negative = masks(rows, labels, other, other_labels)
    s = unit(rows) @ unit(other).T
    p = torch.log(1 + torch.exp(-2 * (s[positive] - 0.5)))
    n = torch.log(1 + torch.exp(2 * 25 * (s[negative] - 0.5)))
    return p.mean() + n.mean()


def closest(rows, labels, other, other_labels):
    """Released contrastive over the three closest negatives of each anchor."""
    positive, negative = masks(rows, labels, other, other_labels)
    s = unit(rows) @ unit(other).T
    total = ((1 - s) * positive).sum()
    for i in range(len(rows)):
        n = s[i][negative[i]].topk(3).values
        total = total + n[n > 0.5].sum()
    return total / len(rows)


for name, term, compute in [
    *[
        (f"released contrastive, {way}", {"kind": "contrastive", "reduction": way}, released_contrastive(way))
        for way in ["sum", "pair-mean", "anchor-mean"]
    ],
    (
        "released multi-similarity",
        {"kind": "multi-similarity", "reduction": "sum"},
        released_multi_similarity,
    ),
    ("released triplet", {"kind": "released-triplet", "reduction": "sum"}, released_triplet),
    (
        "binomial deviance",
        {"kind": "binomial-deviance", "reduction": "pair-mean"},
        binomial_deviance,
    ),
    (
        "three closest negatives",
        {"kind": "contrastive", "reduction": "sum", "miners": [{"kind": "top-k", "negatives": 3}]},
        closest,
    ),
]:
    add(f"{name}, mixed", "formula", term, "mixed", None, compute)
    add(f"{name}, mixed with many", "formula", term, "mixed", "many", compute)

# --- distance-weighted sampling: the probability of each negative, as the library's miner has it ---------------------------

captured = {}


def capture(labels, ref_labels=None, t_per_anchor=None, weights=None):
    captured["weights"] = weights
    empty = torch.tensor([], dtype=torch.long)
    return empty, empty, empty


lmu.get_random_triplet_indices, original = capture, lmu.get_random_triplet_indices
rows, labels = ROWS["unit"]
other, other_labels = ROWS["unit_many"]
miners.DistanceWeightedMiner(cutoff=0.5, nonzero_loss_cutoff=1.4)(
    rows, torch.tensor(labels), other, torch.tensor(other_labels)
)
lmu.get_random_triplet_indices = original
sampling = {
    "anchors": "unit",
    "references": "unit_many",
    "probabilities": captured["weights"].flatten().tolist(),
}



def short(value):
    """Numbers with ten digits, so that the file stays small."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, list):
        return [short(item) for item in value]
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    return value


text = json.dumps(
    {
        "dim": DIM,
        "rows": {
            name: {"labels": labels, "values": rows.flatten().tolist()} for name, (rows, labels) in ROWS.items()
        },
        "cases": short(cases),
        "sampling": short(sampling),
    }
)
path = pathlib.Path(__file__).with_name("losses.json")
path.write_text(text + "\n")
print(f"{len(cases)} cases, {len(text) // 1024} KiB")
