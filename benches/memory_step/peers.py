"""The memory's loss in PyTorch, in four ways; each takes (anchors, labels, bank, bank labels), gives a scalar.

The losses are the released forms that `crossbatch bench memory` times: contrastive (margin 0.5) and multi-similarity
(2, 40, 0.5; mining 0.1), sums over pairs divided by the number of anchors, no self-pair removed.
"""

import torch
from pytorch_metric_learning import losses, miners, reducers
from pytorch_metric_learning.distances import CosineSimilarity

MARGIN, MINING, ALPHA, BETA, BASE = 0.5, 0.1, 2.0, 40.0, 0.5


# As one writes it: masks over the whole [B, M] matrix.


def contrastive_masks(anchors, labels, bank, bank_labels):
    similarity = anchors @ bank.T
    same = labels[:, None] == bank_labels[None]
    terms = torch.where(same, 1 - similarity, torch.where(similarity > MARGIN, similarity, 0.0))
    return terms.sum() / len(anchors)


def mined(similarity, labels, bank_labels):
    """Masks of the mined positives and negatives, with no gradient."""
    same = labels[:, None] == bank_labels[None]
    similarity = similarity.detach()
    hardest_positive = similarity.masked_fill(~same, torch.inf).amin(1, keepdim=True)
    hardest_negative = similarity.masked_fill(same, -torch.inf).amax(1, keepdim=True)
    # Without positives the smallest is infinite, and no negative is mined.
    negative = ~same & (similarity + MINING > hardest_positive)
    positive = same & (similarity - MINING < hardest_negative)
    return positive, negative


def multi_similarity_masks(anchors, labels, bank, bank_labels):
    similarity = anchors @ bank.T
    positive, negative = mined(similarity, labels, bank_labels)
    pulls = torch.where(positive, torch.exp(-ALPHA * (similarity - BASE)), 0.0).sum(1)
    pushes = torch.where(negative, torch.exp(BETA * (similarity - BASE)), 0.0).sum(1)
    counts = positive.any(1) & negative.any(1)
    terms = torch.log1p(pulls) / ALPHA + torch.log1p(pushes) / BETA
    return (terms * counts).sum() / len(anchors)


# Only the active pairs are gathered from the matrix.


def contrastive_gathered(anchors, labels, bank, bank_labels):
    similarity = anchors @ bank.T
    same = labels[:, None] == bank_labels[None]
    active = (similarity.detach() > MARGIN) & ~same
    positives, negatives = similarity[same], similarity[active]
    return ((1 - positives).sum() + negatives.sum()) / len(anchors)


def multi_similarity_gathered(anchors, labels, bank, bank_labels):
    similarity = anchors @ bank.T
    positive, negative = mined(similarity, labels, bank_labels)
    batch = len(anchors)

    def side(mask, scale):
        rows, columns = mask.nonzero(as_tuple=True)
        terms = torch.exp(scale * (similarity[rows, columns] - BASE))
        return torch.zeros(batch).index_add(0, rows, terms)

    pulls, pushes = side(positive, -ALPHA), side(negative, BETA)
    counts = positive.any(1) & negative.any(1)
    terms = torch.log1p(pulls) / ALPHA + torch.log1p(pushes) / BETA
    return (terms * counts).sum() / batch


# The gradient by hand: one matrix of weights, two matrix products, no graph over [B, M].


class Weighted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, anchors, bank, value, weights):
        ctx.save_for_backward(weights @ bank)
        return value

    @staticmethod
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None


@torch.no_grad()
def contrastive_weights(anchors, labels, bank, bank_labels):
    similarity = anchors @ bank.T
    same = labels[:, None] == bank_labels[None]
    weights = (similarity > MARGIN).float().masked_fill_(same, -1.0)
    value = torch.dot(similarity.view(-1), weights.view(-1)) + same.sum()
    return value / len(anchors), weights.div_(len(anchors))


@torch.no_grad()
def multi_similarity_weights(anchors, labels, bank, bank_labels):
    similarity = anchors @ bank.T
    positive, negative = mined(similarity, labels, bank_labels)
    pulls = torch.exp(-ALPHA * (similarity - BASE)).mul_(positive)
    pushes = torch.exp(BETA * (similarity - BASE)).mul_(negative)
    pull, push = pulls.sum(1, keepdim=True), pushes.sum(1, keepdim=True)
    counts = (positive.any(1, keepdim=True) & negative.any(1, keepdim=True)) / len(anchors)
    value = ((torch.log1p(pull) / ALPHA + torch.log1p(push) / BETA) * counts).sum()
    return value, pushes.mul_(counts / (1 + push)).sub_(pulls.mul_(counts / (1 + pull)))


def by_hand(weights):
    def loss(anchors, labels, bank, bank_labels):
        value, matrix = weights(anchors.detach(), labels, bank, bank_labels)
        return Weighted.apply(anchors, bank, value, matrix)

    return loss


# An anchor after the other, as the released code does.


def contrastive_loop(anchors, labels, bank, bank_labels):
    similarity = anchors @ bank.T
    terms = []
    for row, label in zip(similarity, labels):
        positive = row[bank_labels == label]
        positive = positive[positive < 1 - 1e-5]
        negative = row[bank_labels != label]
        negative = negative[negative > MARGIN]
        terms.append((1 - positive).sum() + negative.sum())
    return sum(terms) / len(anchors)


def multi_similarity_loop(anchors, labels, bank, bank_labels):
    similarity = anchors @ bank.T
    terms = []
    for row, label in zip(similarity, labels):
        positive = row[bank_labels == label]
        positive = positive[positive < 1 - 1e-5]
        negative = row[bank_labels != label]
        if len(positive) == 0 or len(negative) == 0:
            continue
        hard_negative = negative[negative + MINING > positive.min()]
        hard_positive = positive[positive - MINING < negative.max()]
        if len(hard_negative) == 0 or len(hard_positive) == 0:
            continue
        pull = torch.log(1 + torch.exp(-ALPHA * (hard_positive - BASE)).sum()) / ALPHA
        push = torch.log(1 + torch.exp(BETA * (hard_negative - BASE)).sum()) / BETA
        terms.append(pull + push)
    # A sum of nothing would have no gradient.
    return sum(terms, start=0 * similarity.sum()) / len(anchors)


PYTORCH = {
    "contrastive": {
        "masks": contrastive_masks,
        "gathered": contrastive_gathered,
        "gradient by hand": by_hand(contrastive_weights),
    },
    "multi-similarity": {
        "masks": multi_similarity_masks,
        "gathered": multi_similarity_gathered,
        "gradient by hand": by_hand(multi_similarity_weights),
    },
}

LOOP = {"contrastive": contrastive_loop, "multi-similarity": multi_similarity_loop}


def metric_learning(name, bank, bank_labels):
    """CrossBatchMemory with this very bank in its queue; the anchors are masked from entering it.

    Its contrastive loss is a sum here and has the hinge `s - 0.5` where the released one has `s`; both normalise the
    anchors once more. `memory_step.py` accounts for these when it compares.
    """
    size, dim = bank.shape
    if name == "contrastive":
        loss = losses.ContrastiveLoss(
            pos_margin=1, neg_margin=MARGIN, distance=CosineSimilarity(), reducer=reducers.SumReducer()
        )
        memory = losses.CrossBatchMemory(loss, embedding_size=dim, memory_size=size)
    else:
        loss = losses.MultiSimilarityLoss(alpha=ALPHA, beta=BETA, base=BASE)
        miner = miners.MultiSimilarityMiner(epsilon=MINING)
        memory = losses.CrossBatchMemory(loss, embedding_size=dim, memory_size=size, miner=miner)
    memory.embedding_memory, memory.label_memory = bank, bank_labels
    memory.has_been_filled = True

    def call(anchors, labels, _bank, _bank_labels):
        return memory(anchors, labels, enqueue_mask=torch.zeros(len(anchors), dtype=torch.bool))

    return call
