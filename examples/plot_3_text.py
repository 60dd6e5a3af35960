"""
Text: a sparse pipeline
=======================

Each word is a feature with a column of its own, in which nearly all entries are zero. Sparse matrices
are used as they are, and large ones are never made dense. Centring makes fits converge fast; it is
implicit, in the intercept, so zeros stay zeros. The texts are made in this script, so there is
nothing to download.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier

# %%
# There are four kinds of notices. Each has words of its own, and all share some words. One word in
# five comes from any of the kinds, so that no single word gives a notice away.

WORDS = {
    "kitchen": "butter flour oven knead simmer pan onion garlic broth slice roast bake dough pepper spoon",
    "railway": "platform train delay carriage signal ticket conductor track station arrival junction luggage",
    "stadium": "goal referee striker penalty match league corner keeper coach season whistle crowd defender",
    "weather": "cloud drizzle gust thunder frost sunshine humid forecast storm hail breeze fog pressure",
}
SHARED = "the a and of in for with today before after some late early warm cold again until more"
topics = sorted(WORDS)
vocabulary = {topic: words.split() for topic, words in WORDS.items()}


def make_notice(topic, generator):
    """Twelve words: filler, words of the topic, and now and then a word of any topic."""
    source = generator.choice(3, size=12, p=[0.45, 0.35, 0.2])
    pools = [SHARED.split(), vocabulary[topic], vocabulary[str(generator.choice(topics))]]
    return " ".join(str(generator.choice(pools[k])) for k in source)


generator = np.random.default_rng(0)
y = generator.choice(topics, size=2000)
texts = [make_notice(topic, generator) for topic in y]
for topic, text in zip(y[:3], texts[:3], strict=True):
    print(f"{topic}: {text}")

# %%
# Pairs of words are counted too. This makes about four thousand columns, of which a text uses about
# twenty.

texts_train, texts_test, y_train, y_test = train_test_split(texts, y, random_state=0, stratify=y)
for classifier in (SoftmaxClassifier(C=10), MulticlassSVMClassifier(C=1)):
    pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), classifier).fit(texts_train, y_train)
    X_train, model = pipeline[0].transform(texts_train), pipeline[-1]
    name, filled = type(model).__name__, X_train.nnz / len(texts_train)
    print(
        f"{name}: {X_train.shape[1]} columns, {filled:.0f} of them not zero in a text;\n"
        f"    test accuracy {pipeline.score(texts_test, y_test):.3f}, {model.n_iter_} iterations, "
        f"relative gap {model.duality_gap_ / model.objective_:.0e}"
    )

# %%
# These words speak most for each kind, by the coefficients of the SVM:

columns = pipeline[0].get_feature_names_out()
fig, axes = plt.subplots(1, 4, figsize=(10, 3.4), layout="constrained", sharex=True)
for ax, label, weights in zip(axes, model.classes_, model.coef_, strict=True):
    best = np.argsort(weights)[-8:]
    ax.barh(columns[best], weights[best])
    ax.set_title(label)
    assert set(columns[best[-3:]]) <= set(vocabulary[label])
fig.supxlabel("coefficient")
plt.show()
