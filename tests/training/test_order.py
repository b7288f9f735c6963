import itertools

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sublim_jax.training import epoch_order, steps_per_epoch, watch_steps
from sublim_jax.training.order import FILLER

KEY = jax.random.key(3)


@settings(deadline=None, max_examples=12)
@given(
    rows=st.integers(1, 40),
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 45),
    free=st.integers(0, 3),
    seed=st.integers(0, 9),
)
def test_every_epoch_has_every_row_once(rows, epochs, batch_size, free, seed):
    order = epoch_order(
        jax.random.key(seed),
        rows=rows,
        epochs=epochs,
        batch_size=batch_size,
        places=batch_size + free,
    )
    assert order.shape == (epochs * steps_per_epoch(rows, batch_size), batch_size + free)
    for places in np.split(np.asarray(order), epochs):
        np.testing.assert_array_equal(np.sort(places[places != FILLER]), np.arange(rows))
        assert (places[:-1, :batch_size] != FILLER).all()  # only the last batch may lack rows


def test_more_places_are_filled_up_and_nothing_else_changes():
    tight = epoch_order(KEY, rows=10, epochs=2, batch_size=4)
    wide = epoch_order(KEY, rows=10, epochs=2, batch_size=4, places=7)
    np.testing.assert_array_equal(wide[:, :4], tight)
    assert (wide[:, 4:] == FILLER).all()


def test_epochs_and_keys_have_orders_of_their_own():
    order = epoch_order(KEY, rows=64, epochs=2, batch_size=64)
    again = epoch_order(KEY, rows=64, epochs=2, batch_size=64)
    other = epoch_order(jax.random.key(4), rows=64, epochs=2, batch_size=64)
    assert (order == again).all()
    assert (order[0] != order[1]).any()
    assert (order != other).any()


def test_every_place_of_an_epoch_is_equally_likely():
    keys = jax.random.split(KEY, 4000)
    first = jax.vmap(lambda key: epoch_order(key, rows=8, epochs=1, batch_size=8))(keys)
    counts = np.stack([np.bincount(first[:, 0, place], minlength=8) for place in range(8)])
    # Each count is binomial with mean 500 and standard deviation 21.
    assert abs(counts - 500).max() < 5 * 21


@given(steps=st.integers(1, 500), count=st.integers(2, 40))
def test_watched_steps_ascend_from_the_first_to_the_last(steps, count):
    watched = watch_steps(steps, count)
    assert watched[0] == 0
    assert watched[-1] == steps
    assert all(a < b for a, b in itertools.pairwise(watched))
    assert len(watched) <= count
