"""What must be set before numpy is imported."""

import os

# On thousands of small problems the threads of BLAS get in each other's way: with two threads on two cores,
# estimator checks and comparisons with oracles took 100 s, with one 25 s. Tests of threads ask for them by
# `n_jobs`; OMP_NUM_THREADS=2 pytest gives them to all.
os.environ.setdefault("OMP_NUM_THREADS", "1")
