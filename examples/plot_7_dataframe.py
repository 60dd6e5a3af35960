"""
A dataframe, a column transformer and a grid search
===================================================

Both classifiers are ordinary scikit-learn estimators. Here one ends a pipeline that takes a
dataframe with numbers, categories and gaps, and a grid search chooses between the losses and the
strengths of the penalty in one go.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier
from sk_linear_losses.display import CoefficientsDisplay

# %%
# A thousand bicycles in a repair shop, made up: what will be done with them?

generator = np.random.default_rng(0)
n = 1000
table = pd.DataFrame(
    {
        "kind": generator.choice(["city", "race", "mountain"], n, p=[0.5, 0.2, 0.3]),
        "age_years": generator.gamma(2, 3, n).round(1),
        "kilometres": generator.lognormal(8, 0.8, n).round(-1),
        "value": generator.lognormal(6, 0.6, n).round(),
    }
)
wear = np.log(table["kilometres"]) - 8 + 0.3 * (table["kind"] == "mountain") + 0.08 * table["age_years"]
worth = np.log(table["value"]) - 6
scores = np.column_stack([0 * wear, 2 * wear - 0.5, 3 * wear - 3 * worth - 2])
noise = generator.gumbel(size=scores.shape)
y = np.array(["service", "repair", "scrap"])[(scores + noise).argmax(axis=1)]
table.loc[generator.random(n) < 0.1, "kilometres"] = np.nan
table.loc[generator.random(n) < 0.05, "kind"] = None
table.head()

# %%
# A missing kind is a category of its own; a missing number becomes the median, with a column that
# says so. Scaling is not needed for the fit to converge, but it makes the penalty treat euros and
# years alike.

columns = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["kind"]),
    (
        make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
        ["age_years", "kilometres", "value"],
    ),
    verbose_feature_names_out=False,
)
pipeline = Pipeline([("columns", columns), ("classifier", SoftmaxClassifier())])

# %%
# The last step is a parameter like any other, so the grid may name both classifiers.

C = [0.01, 0.1, 1.0, 10.0]
grid = [
    {"classifier": [SoftmaxClassifier()], "classifier__C": C},
    {
        "classifier": [MulticlassSVMClassifier()],
        "classifier__C": C,
        "classifier__loss": ["hinge", "squared_hinge"],
    },
]
X_train, X_test, y_train, y_test = train_test_split(table, y, random_state=0, stratify=y)
search = GridSearchCV(pipeline, grid, scoring="neg_log_loss").fit(X_train, y_train)
print("best:", search.best_params_)
print(f"log-loss in cross-validation {-search.best_score_:.4f}")
print(f"log-loss on the test rows {-search.score(X_test, y_test):.4f}")
print(f"accuracy on the test rows {search.best_estimator_.score(X_test, y_test):.3f}")

# %%
# The best of each classifier:

results = pd.DataFrame(search.cv_results_)
results["loss"] = [params.get("classifier__loss", "softmax") for params in results["params"]]
results.groupby("loss")["mean_test_score"].max().mul(-1).round(4).rename("log-loss").to_frame()

# %%
# The picture shows the coefficients with the names of their columns; the coefficients of a column sum
# to zero over the classes. The display takes the best pipeline out of the search, and the names out of
# the pipeline.

CoefficientsDisplay.from_estimator(search)
plt.show()
