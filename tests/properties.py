"""What hypothesis draws, and how many examples of it."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from twins import DTYPES

import cnnx

settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("repeatable")

seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
dtypes = st.sampled_from(DTYPES)
targets = st.sampled_from(cnnx.targets())
