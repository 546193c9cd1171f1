"""How well scores rank and decide: AUC, ROC, precision and recall, sensitivity, F1."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Array, Float


def auc(score: Array, positive: Array) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties half (Mann and
    Whitney, 1947). NaN where one kind is missing.
    """
    positive = np.asarray(positive, bool)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    ranks = mean_ranks(score)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def mean_ranks(values: Array) -> Float:
    """Places in rising order from 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(
        np.asarray(values, np.float64), return_inverse=True, return_counts=True
    )
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def auc_of(scores: Float, truth: Array) -> float:
    """Mean over classes of each against the rest; with two classes that of the second.

    ``scores`` ``(n, k)`` may be logits.
    """
    if scores.shape[1] == 2:
        return auc(scores[:, 1] - scores[:, 0], truth == 1)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    return float(np.nanmean([auc(p[:, k], truth == k) for k in range(scores.shape[1])]))


def roc(score: Array, positive: Array) -> tuple[Float, Float, Float]:
    """False positive rate, true positive rate and threshold at every distinct score."""
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    ranked, yes = np.asarray(score, np.float64)[order], np.asarray(positive, bool)[order]
    last = np.append(np.nonzero(np.diff(ranked))[0], len(ranked) - 1)
    true, false = np.cumsum(yes)[last], np.cumsum(~yes)[last]
    tpr = np.append(0.0, true / max(int(yes.sum()), 1))
    fpr = np.append(0.0, false / max(int((~yes).sum()), 1))
    return fpr, tpr, np.append(np.inf, ranked[last])


def precision_recall(score: Array, positive: Array) -> tuple[Float, Float, Float]:
    """Recall, precision and threshold at every distinct score, the highest first."""
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    ranked, yes = np.asarray(score, np.float64)[order], np.asarray(positive, bool)[order]
    last = np.append(np.nonzero(np.diff(ranked))[0], len(ranked) - 1)
    true = np.cumsum(yes)[last]
    return true / max(int(yes.sum()), 1), true / (last + 1), ranked[last]


def average_precision(score: Array, positive: Array) -> float:
    """Precision at each step of recall, weighed by the step; NaN without positives."""
    if not np.asarray(positive, bool).any():
        return float("nan")
    recall, precision, _ = precision_recall(score, positive)
    return float((np.diff(np.append(0.0, recall)) * precision).sum())


def average_precision_of(p: Float, truth: Array) -> float:
    """Mean over classes of each against the rest; with two classes that of the second."""
    if p.shape[1] == 2:
        return average_precision(p[:, 1], truth == 1)
    return float(np.nanmean([average_precision(p[:, k], truth == k) for k in range(p.shape[1])]))


def decisions(said: Array, truth: Array, classes: int) -> Array:
    """Confusion matrix ``(classes, classes)``: rows the truth, columns what was said."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (np.asarray(truth, int), np.asarray(said, int)), 1)
    return table


def rates(table: Array) -> dict[str, float]:
    """Accuracy, balanced accuracy and macro F1; sensitivity and specificity of two classes."""
    hits = np.diag(table).astype(np.float64)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    recall = hits / np.where(rows, rows, np.nan)
    f1 = 2 * hits / np.where(rows + columns, rows + columns, np.nan)
    result = {
        "accuracy": float(hits.sum() / max(table.sum(), 1)),
        "balanced_accuracy": float(np.nanmean(recall)),
        "f1": float(np.nanmean(f1)),
    }
    if len(table) == 2:
        result |= {
            "sensitivity": float(recall[1]), "specificity": float(recall[0]), "f1": float(f1[1]),
        }  # fmt: skip
    return result
