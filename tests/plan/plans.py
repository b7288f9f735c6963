"""Plans made by hand."""

from sublim_jax.plan import Plan

GIB = 2**30
MESH = {"data": 16, "fsdp": 1, "tensor": 1}


def a_plan(
    *,
    parameters=0.0,
    optimizer=0.0,
    data=0.0,
    temporaries=0.0,
    available,
    rows=1024,
    mesh=MESH,
    **more,
):
    """A plan of v5e:4x4 with so many GiB of everything."""
    parts = [round(part * GIB) for part in (parameters, optimizer, data, temporaries)]
    return Plan(
        **{
            "topology": "v5e:4x4",
            "chip": "TPU v5e",
            "devices": 16,
            "chips": 16,
            "hosts": 4,
            "mesh": mesh,
            "batch_size": rows,
            "parameter_bytes": parts[0],
            "optimizer_bytes": parts[1],
            "data_bytes": parts[2],
            "temporary_bytes": parts[3],
            "other_bytes": 0,
            "total_bytes": sum(parts),
            "memory_bytes": None if available is None else round(available * GIB),
            "fits": None if available is None else sum(parts) <= available * GIB,
            "flops": 2e12,
            "traffic_bytes": 819e9 / 50,
            "collective_bytes": {"all-reduce": 100e6, "all-gather": 100e6},
            "peak_flops": 200e12,
            "bandwidth": 819e9,
            "network": 200e9,
            "compile_seconds": 1.25,
            **more,
        }
    )
