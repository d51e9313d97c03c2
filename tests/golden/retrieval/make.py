"""Writes golden.json: retrieval metrics as pytorch-metric-learning, scikit-learn and numpy compute them.

    pip install -r requirements.txt
    python make.py

AccuracyCalculator ranks with CustomKNN over CosineSimilarity. It has no recall at K for K > 1 and ranks in f32,
so what it lacks (recall, MAP and NDCG at K, ranks of the first match) comes from a full numpy sort in f64, NDCG from
scikit-learn's ndcg_score over that order; the script refuses data with similarities so close
that the two could order them differently.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.metrics import ndcg_score

SEED = 4
METRICS = (
    "precision_at_1",
    "r_precision",
    "mean_average_precision_at_r",
    "mean_average_precision",
    "mean_reciprocal_rank",
)
RECALL_AT = (1, 2, 5, 10, 20)
# Further apart than f32 similarities of 8 values can be wrong.
SMALLEST_GAP = 2e-6


def embed(rng, centres, labels):
    """Noisy points around class centres, of different lengths, short in decimal."""
    points = centres[labels] + rng.normal(scale=1.3, size=(len(labels), centres.shape[1]))
    return np.round(points * rng.uniform(0.5, 2.0, size=(len(labels), 1)), 3).astype(np.float32)


def unit(rows):
    rows = rows.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sorted_metrics(queries, query_labels, gallery, gallery_labels, same_index):
    """What a full sort of the similarities says, for the queries that have a match."""
    similarities = unit(queries) @ unit(gallery).T
    if same_index:
        np.fill_diagonal(similarities, -np.inf)
    order = np.argsort(-similarities, axis=1, kind="stable")
    gaps = -np.diff(np.take_along_axis(similarities, order, axis=1), axis=1)
    assert gaps.min() > SMALLEST_GAP, f"near-tie of {gaps.min()}: choose another seed"
    if same_index:
        order = order[:, :-1]
    matches = gallery_labels[order] == query_labels[:, None]
    counted = matches.any(axis=1)
    matches = matches[counted]
    recall = [[k, float(matches[:, :k].any(axis=1).mean())] for k in RECALL_AT]
    # scikit-learn orders by scores: the places themselves, last to first.
    places = np.broadcast_to(-np.arange(matches.shape[1], dtype=float), matches.shape)
    found = np.cumsum(matches, axis=1)
    precision = found / np.arange(1, matches.shape[1] + 1)
    positives = matches.sum(axis=1)
    first = matches.argmax(axis=1) + 1
    return {
        "recall_at": recall,
        "precision_at": [
            [k, float((matches[:, :k].sum(axis=1) / k).mean())] for k in RECALL_AT
        ],
        "map_at": [
            [k, float(((precision * matches)[:, :k].sum(axis=1) / np.minimum(positives, k)).mean())]
            for k in RECALL_AT
        ],
        "ndcg_at": [
            [k, float(ndcg_score(matches.astype(float), places, k=k))] for k in RECALL_AT
        ],
        "mean_rank": float(first.mean()),
        "median_rank": float(np.median(first)),
        "queries": int(counted.sum()),
        "left_out": int((~counted).sum()),
    }


def judge(queries, query_labels, gallery, gallery_labels, same_index):
    calculator = AccuracyCalculator(
        include=METRICS,
        device=torch.device("cpu"),
        knn_func=CustomKNN(CosineSimilarity()),
        kmeans_func=lambda *_: None,  # the default asks for faiss; no clustering is measured
    )
    expected = calculator.get_accuracy(
        torch.from_numpy(queries),
        torch.from_numpy(query_labels),
        torch.from_numpy(gallery),
        torch.from_numpy(gallery_labels),
        ref_includes_query=same_index,
    )
    return {
        **expected,
        **sorted_metrics(queries, query_labels, gallery, gallery_labels, same_index),
    }


def listed(embeddings, labels):
    values = [float(str(value)) for value in embeddings.ravel()]
    return {"dim": embeddings.shape[1], "embeddings": values, "labels": labels.tolist()}


def main():
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(14, 8))
    # Classes of 1 to 8 images; labels far from dense; the two single images are left out of self-search.
    names = rng.permutation(100_000)[:14]
    classes = np.repeat(np.arange(14), [1, 2, 3, 4, 5, 6, 7, 8, 8, 6, 4, 3, 2, 1])
    classes = rng.permutation(classes)
    rows, labels = embed(rng, centres, classes), names[classes]
    # Queries of classes 0 to 9 and a gallery of classes 2 to 13: queries of classes 0 and 1 have no match.
    query_classes, gallery_classes = rng.integers(0, 10, size=20), rng.integers(2, 14, size=50)
    queries, query_labels = embed(rng, centres, query_classes), names[query_classes]
    gallery, gallery_labels = embed(rng, centres, gallery_classes), names[gallery_classes]

    packages = ("numpy", "pytorch-metric-learning", "scikit-learn", "torch")
    golden = {
        "written_by": {"seed": SEED, **{name: version(name) for name in packages}},
        "self_search": {
            "rows": listed(rows, labels),
            "expected": judge(rows, labels, rows, labels, True),
        },
        "query_gallery": {
            "queries": listed(queries, query_labels),
            "gallery": listed(gallery, gallery_labels),
            "expected": judge(queries, query_labels, gallery, gallery_labels, False),
        },
    }
    Path(__file__).with_name("golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
