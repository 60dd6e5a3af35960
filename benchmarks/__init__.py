"""How fast sk_linear_losses is compared with scikit-learn, which is measured at its best settings.

From the root of the repository, with matplotlib for the pictures:

    python -m benchmarks --quick                        a look, in two minutes
    python -m benchmarks --json results.json            time to accuracy, hours
    python -m benchmarks svm --json results.json        likewise probabilities, published, small, evaluation,
                                                        threads, memory, growth
    python -m benchmarks report results.json            the results as markdown
    python -m benchmarks picture results.json light.svg dark.svg

``--data FOLDER`` adds the data sets that the folder has: .npz files with X_train and y_train named as in
``datasets.FILES``, and the 20 Newsgroups as JSON lines. ``published`` needs such a folder.
"""
