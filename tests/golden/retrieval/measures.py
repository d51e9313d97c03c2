"""Writes measures.json: verification, clustering, health and post-processing as others compute them.

    pip install -r requirements.txt
    python measures.py

| what | by |
| --- | --- |
| NMI, AMI, k-means | scikit-learn, faiss |
| ROC-AUC, EER, FNMR at FMR | scikit-learn's roc_curve, scipy's brentq for the crossing |
| alignment, uniformity | the formulas of Wang and Isola in torch |
| effective rank, principal-component fraction | numpy's singular values |
| PCA, whitening | scikit-learn |
| alpha query expansion, k-reciprocal re-ranking | dense numpy, written for this file from the papers |
"""

import json
from importlib.metadata import version
from pathlib import Path

import faiss
import numpy as np
import torch
from scipy.optimize import brentq
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import (
    adjusted_mutual_info_score,
    normalized_mutual_info_score,
    roc_auc_score,
    roc_curve,
)

SEED = 11
AVERAGES = ("arithmetic", "geometric", "min", "max")
FMR = (0.001, 0.01, 0.1)


def embed(rng, classes, each, dim, noise):
    centres = rng.normal(size=(classes, dim))
    labels = np.repeat(np.arange(classes), each)
    rows = centres[labels] + noise * rng.normal(size=(len(labels), dim))
    order = rng.permutation(len(labels))
    return np.round(rows[order], 3).astype(np.float32), labels[order]


def unit(rows):
    """As the crate has them: scaled in f64, stored in f32."""
    rows = rows.astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def values(rows):
    return [float(str(value)) for value in rows.ravel()]


def agreement(rng):
    cases = []
    shapes = [(40, 4, 4), (300, 20, 7), (300, 150, 160), (2000, 500, 400), (50, 1, 5), (30, 30, 3)]
    for rows, a, b in shapes:
        first = rng.integers(0, a, rows)
        # Half of the rows agree.
        second = np.where(rng.random(rows) < 0.5, first % b, rng.integers(0, b, rows))
        cases.append({
            "a": first.tolist(),
            "b": second.tolist(),
            "nmi": [normalized_mutual_info_score(first, second, average_method=m) for m in AVERAGES],
            "ami": [adjusted_mutual_info_score(first, second, average_method=m) for m in AVERAGES],
        })
    return cases


def clustering(rng):
    rows, labels = embed(rng, 30, 20, 8, 0.6)
    by_sklearn = KMeans(30, n_init=20, random_state=0, tol=0).fit(rows).inertia_
    by_faiss = faiss.Kmeans(8, 30, niter=100, nredo=20, seed=1, min_points_per_centroid=1)
    by_faiss.train(rows)
    inertia = float(by_faiss.index.search(rows, 1)[0].astype(np.float64).sum())
    return {
        "dim": 8,
        "clusters": 30,
        "embeddings": values(rows),
        "labels": labels.tolist(),
        "sklearn_inertia": float(by_sklearn),
        "faiss_inertia": inertia,
    }


def verification(rows, labels):
    similarity = rows.astype(np.float64) @ rows.T.astype(np.float64)
    i, j = np.triu_indices(len(rows), 1)
    scores, same = similarity[i, j], labels[i] == labels[j]
    fmr, tmr, _ = roc_curve(same, scores, drop_intermediate=False)
    return {
        "roc_auc": float(roc_auc_score(same, scores)),
        "equal_error_rate": float(brentq(lambda x: 1 - x - np.interp(x, fmr, tmr), 0, 1, xtol=1e-15)),
        "fnmr_at_fmr": [[wanted, float(1 - tmr[fmr <= wanted].max())] for wanted in FMR],
        "pairs": [int(same.sum()), int((~same).sum())],
    }


def health(rows, labels):
    i, j = np.triu_indices(len(rows), 1)
    x = torch.from_numpy(rows).double()
    x = x / x.norm(dim=1, keepdim=True)
    same = labels[i] == labels[j]
    cosine = (x @ x.T).numpy()[i, j]
    positive = torch.from_numpy(np.stack([i[same], j[same]]))
    align = (x[positive[0]] - x[positive[1]]).norm(dim=1).pow(2).mean()
    uniform = torch.pdist(x).pow(2).mul(-2).exp().mean().log()
    singular = np.linalg.svd(rows.astype(np.float64), compute_uv=False)
    share = singular / singular.sum()
    ratio = PCA(svd_solver="full").fit(rows.astype(np.float64)).explained_variance_ratio_
    fraction = lambda wanted: (int(np.searchsorted(np.cumsum(ratio), wanted)) + 1) / rows.shape[1]
    return {
        "positive": [float(cosine[same].mean()), float(cosine[same].std())],
        "negative": [float(cosine[~same].mean()), float(cosine[~same].std())],
        "alignment": float(align),
        "uniformity": float(uniform),
        "effective_rank": float(np.exp(-(share * np.log(share)).sum())),
        "principal_fraction": [[wanted, fraction(wanted)] for wanted in (0.5, 0.9, 0.95)],
    }


def components(rows):
    full = PCA(svd_solver="full").fit(rows.astype(np.float64))
    white = PCA(4, whiten=True, svd_solver="full").fit_transform(rows.astype(np.float64))
    n = len(rows)
    return {
        # scikit-learn divides by n - 1.
        "variances": (full.explained_variance_ * (n - 1) / n).tolist(),
        "whitened": (white * np.sqrt(n / (n - 1))).ravel().tolist(),
    }


def expansion(queries, gallery, neighbours, alpha):
    cosine = queries.astype(np.float64) @ gallery.T.astype(np.float64)
    out = []
    for query, row in zip(queries.astype(np.float64), cosine):
        near = np.argsort(-row, kind="stable")[:neighbours]
        weight = np.maximum(row[near], 0) ** alpha
        mixed = query + weight @ gallery[near].astype(np.float64)
        out.append(mixed / np.linalg.norm(mixed))
    return np.array(out).ravel().tolist()


def reciprocal(queries, gallery, k1, k2, share):
    """The method of Zhong et al. 2017 over dense matrices."""
    everything = np.concatenate([queries, gallery]).astype(np.float64)
    squared = ((everything[:, None] - everything[None]) ** 2).sum(axis=2)
    distance = squared / squared.max(axis=1, keepdims=True)
    order = np.argsort(distance, axis=1, kind="stable")

    def mutual(item, k):
        near = order[item, : k + 1]
        return {int(other) for other in near if item in order[other, : k + 1]}

    encoding = np.zeros_like(distance)
    half = int(np.around(k1 / 2))
    for item in range(len(everything)):
        own = mutual(item, k1)
        members = set(own)
        for candidate in own:
            theirs = mutual(candidate, half)
            if len(theirs & own) > 2 / 3 * len(theirs):
                members |= theirs
        members = sorted(members)
        weight = np.exp(-distance[item, members])
        encoding[item, members] = weight / weight.sum()
    encoding = np.array([encoding[order[item, :k2]].mean(axis=0) for item in range(len(everything))])
    first, rest = encoding[: len(queries)], encoding[len(queries):]
    overlap = np.minimum(first[:, None], rest[None]).sum(axis=2)
    jaccard = 1 - overlap / (2 - overlap)
    return (1 - share) * jaccard + share * distance[: len(queries), len(queries):]


def main():
    rng = np.random.default_rng(SEED)
    rows, labels = embed(rng, 25, 6, 10, 1.2)
    rows[7], labels[7] = rows[3], labels[3]  # a duplicate
    unit_rows = unit(rows)
    queries, gallery = unit_rows[:20], unit_rows[20:]
    packages = ("faiss-cpu", "numpy", "scikit-learn", "scipy", "torch")
    golden = {
        "written_by": {"seed": SEED, **{name: version(name) for name in packages}},
        "agreement": agreement(rng),
        "clustering": clustering(rng),
        "rows": {"dim": 10, "embeddings": values(rows), "labels": labels.tolist(), "queries": 20},
        "verification": verification(unit_rows, labels),
        "health": health(unit_rows, labels),
        "components": components(rows),
        "expansion": {
            "neighbours": 4,
            "alpha": 2.5,
            "expected": expansion(queries, gallery, 4, 2.5),
        },
        "reciprocal": {
            "k1": 9,
            "k2": 3,
            "lambda": 0.3,
            "expected": reciprocal(queries, gallery, 9, 3, 0.3).ravel().tolist(),
        },
    }
    Path(__file__).with_name("measures.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
