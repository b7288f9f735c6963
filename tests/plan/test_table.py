from plans import a_plan

from sublim_jax.plan import table


def line(text, name):
    found = next(each for each in text.splitlines() if each.strip().startswith(name))
    return " ".join(found.split())


def test_a_table_shows_everything():
    text = table(a_plan(parameters=1, optimizer=2, data=0.5, temporaries=4, available=16))
    assert text.startswith("Plan for v5e:4x4\n")
    assert line(text, "devices") == "devices 16 TPU v5e"
    assert line(text, "hosts") == "hosts 4"
    assert line(text, "mesh") == "mesh data 16, fsdp 1, tensor 1"
    assert line(text, "rows per step") == "rows per step 1,024"
    assert line(text, "compiled in") == "compiled in 1.2 s on this machine"
    assert line(text, "parameters") == "parameters 1.0 GiB"
    assert line(text, "optimizer state") == "optimizer state 2.0 GiB"
    assert line(text, "data") == "data 512.0 MiB all other arguments"
    assert line(text, "temporaries") == "temporaries 4.0 GiB activations, gradients"
    assert line(text, "total") == "total 7.5 GiB of 16.0 GiB: fits"
    assert line(text, "FLOPs") == "FLOPs 2.0 TFLOP 10.0 ms at 200.0 TFLOP/s"
    assert line(text, "memory traffic") == "memory traffic 15.3 GiB 20.0 ms at 819 GB/s"
    assert line(text, "collectives") == "collectives 190.7 MiB 1.0 ms at 200 GB/s"
    assert line(text, "all-gather") == "all-gather 95.4 MiB"
    assert line(text, "step ") == ("step 20.0 ms at least, bound by memory, at most 51,200 rows/s")
    assert line(text, "share of peak") == "share of peak 50.00% at most"


def test_what_does_not_fit_is_said_with_the_advice():
    text = table(
        a_plan(
            parameters=48,
            available=15.75,
            other_bytes=None,
            traffic_bytes=None,
            collective_bytes=None,
            advice="shard them",
            notes=("the compiler says: no",),
        )
    )
    assert "48.0 GiB  of 15.8 GiB: DOES NOT FIT" in text
    assert "To make it fit: shard them." in text
    assert "Note: the compiler says: no." in text
    assert line(text, "step ") == "step -"
    assert line(text, "FLOPs") == "FLOPs 2.0 TFLOP 10.0 ms at 200.0 TFLOP/s"


def test_a_machine_without_public_figures_has_dashes():
    unknown = {"peak_flops": None, "bandwidth": None, "network": None}
    text = table(a_plan(available=None, fits=None, **unknown))
    assert line(text, "FLOPs") == "FLOPs 2.0 TFLOP"
    assert line(text, "share of peak") == "share of peak -"
    assert "it is not known whether it fits" in text


def test_half_chips_are_called_so():
    assert "TPU7x, 2 to a chip" in table(a_plan(available=16, chip="TPU7x", chips=8))


def test_lines_fit_a_terminal():
    long = "word " * 100
    text = table(a_plan(available=1, advice=long, notes=(long,)))
    assert max(map(len, text.splitlines())) <= 100
