import pytest

from sublim_jax.errors import InputError
from sublim_jax.training import Recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "lion"),
        ("learning_rate", 0.0),
        ("learning_rate", -1e-3),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("epochs", 0),
        ("batch_size", 0),
    ],
)
def test_a_bad_value_is_named_with_its_field(field, value):
    with pytest.raises(InputError, match=f"{field} is {value!r}; expected"):
        Recipe(**{field: value})
