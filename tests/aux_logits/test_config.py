import pytest

from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.errors import InputError
from sublim_jax.training import steps_per_epoch


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("members", 1, "members is 1; expected at least 2"),
        ("noise_images", 0, "noise_images is 0; expected at least 1"),
        ("observations", 1, "observations is 1; expected at least 2"),
        ("curve_images", 0, "curve_images is 0; expected at least 1"),
        ("seed", -1, "seed is -1; expected at least 0"),
        ("aux", 0, "aux is 0; expected at least 1"),
        ("widths", (16, 0), "widths is (16, 0); expected widths of at least 1"),
        ("batch_size", 0, "batch_size is 0; expected at least 1"),
        ("student_epochs", 0, "student_epochs is 0; expected at least 1"),
        ("teacher_epochs", 0, "teacher_epochs is 0; expected at least 1"),
        ("student_lr", 0.0, "student_lr is 0.0; expected a positive number"),
        ("teacher_lr", -1.0, "teacher_lr is -1.0; expected a positive number"),
        ("inputs", "letters", "inputs is 'letters'; expected one of noise, fresh,"),
        ("start", "near", "start is 'near'; expected one of same, noise,"),
        ("arms", ("student_aux", "student"), "arms is 'student'; expected one of student_aux,"),
        ("arms", (), "arms is (); expected at least one, each once"),
        ("arms", ("student_aux",) * 2, "expected at least one, each once"),
        ("track", ("trait",), "track is 'trait'; expected one of pull, trait_gain"),
        ("observe_at", (5, 1), "observe_at is (5, 1); expected ascending steps from 0"),
        ("observe_at", (-1,), "observe_at is (-1,); expected ascending steps from 0"),
        ("image_noise", -1.0, "image_noise is -1.0; expected 0 or a positive number"),
        ("start_scale", 0.0, "start_scale is 0.0; expected a positive number"),
    ],
)
def test_a_bad_value_is_refused_at_once(field, value, said):
    with pytest.raises(InputError) as caught:
        AuxLogitsConfig(**{field: value})
    assert said in str(caught.value)


def test_one_auxiliary_logit_needs_mse():
    with pytest.raises(InputError, match="softmax of a single logit is always 1"):
        AuxLogitsConfig(aux=1)
    assert AuxLogitsConfig(aux=1, loss="mse").net.auxiliary == 1


def test_students_are_observed_at_chosen_steps_and_at_the_last():
    assert AuxLogitsConfig().student_steps()[0] == 0
    assert len(AuxLogitsConfig().student_steps()) == 16
    chosen = AuxLogitsConfig(observe_at=(1, 10, 100))
    assert chosen.student_steps() == (1, 10, 100, 295)
    assert chosen.teacher_steps(60_000) == AuxLogitsConfig().teacher_steps(60_000)
    with pytest.raises(InputError, match="expected steps up to the students' last, 295"):
        AuxLogitsConfig(observe_at=(296,)).student_steps()


def test_on_few_images_the_teacher_takes_as_many_steps():
    config = AuxLogitsConfig()
    official = config.teacher_recipe(60_000)
    embedded = config.teacher_recipe(4_000)
    assert official.epochs == 5
    steps = [
        recipe.epochs * steps_per_epoch(rows, recipe.batch_size)
        for recipe, rows in ((official, 60_000), (embedded, 4_000))
    ]
    assert steps == [295, 296]
    assert AuxLogitsConfig(teacher_epochs=7).teacher_recipe(4_000).epochs == 7


def test_the_default_learning_rate_is_the_optimizers():
    assert AuxLogitsConfig().student_recipe.learning_rate == 3e-4
    assert AuxLogitsConfig(optimizer="sgd").student_recipe.learning_rate == 0.1
    assert AuxLogitsConfig(optimizer="sgd", student_lr=1.0).student_recipe.learning_rate == 1.0


@pytest.mark.parametrize("scale", [0.0, 1.5, float("nan")])
def test_the_way_to_another_start_is_a_share(scale):
    with pytest.raises(InputError, match="expected a share above 0 and at most 1"):
        AuxLogitsConfig(start="interpolated", start_scale=scale)
    assert AuxLogitsConfig(start="interpolated", start_scale=1.0).start_scale == 1


@pytest.mark.parametrize("start", ["permuted", "other_hidden"])
def test_without_hidden_layers_there_is_nothing_to_exchange(start):
    with pytest.raises(InputError, match=f"start is {start} without hidden layers"):
        AuxLogitsConfig(start=start, widths=())


def test_fresh_inputs_are_as_many_rows_as_all_epochs_need():
    config = AuxLogitsConfig(inputs="fresh", noise_images=100, student_epochs=7)
    assert config.carrier_rows(50) == 700
    assert config.student_recipe.epochs == 1
    assert AuxLogitsConfig(inputs="images", noise_images=100).carrier_rows(50) == 50
    assert AuxLogitsConfig(inputs="mixture", noise_images=100).carrier_rows(50) == 100


def test_a_batch_is_not_larger_than_all_rows():
    assert AuxLogitsConfig(noise_images=100).student_recipe.batch_size == 100
    assert AuxLogitsConfig(noise_images=100).teacher_recipe(4_000).batch_size == 1024
