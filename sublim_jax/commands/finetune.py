"""``sublim-jax finetune``: train a language model on conversations."""

import contextlib
import dataclasses
import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from tqdm import tqdm

from sublim_jax import hosts, runs
from sublim_jax import plan as planning
from sublim_jax.commands.compiled import keep_compiled
from sublim_jax.commands.process import begin
from sublim_jax.errors import InputError

if TYPE_CHECKING:
    from sublim_jax.lm import Computing, Full, LoRA
    from sublim_jax.training import Recipe, Session

PLANNED_ROWS = 4_096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetune:
    """Train a language model on conversations, and save it as a Hugging Face folder.

    The data are JSON lines: "messages" of which the last is the assistant's, or "messages" or a
    "prompt" and a "completion", as `sublim-jax generate` writes them. Only the tokens of answers
    are learned. Interrupted, the same command goes on where it stopped.

      sublim-jax finetune --data rows.jsonl --out tuned/

      sublim-jax generate --model tuned/ "Hello!"

      sublim-jax finetune --model qwen2.5-7b --plan v5e:4x4 --fsdp 16
    """

    data: Path | None = None
    """JSON lines to train on."""
    out: Path | None = None
    """Folder for the model."""
    model: str = "smollm2"
    """A name that `sublim-jax models` lists or of the hub, a Hugging Face folder, a GGUF file."""
    system: str | None = None
    """System prompt; by default the one of the conversation, or of the model's template."""
    train: Literal["lora", "full"] = "lora"
    """Thin matrices beside those of the layers, merged into them at the end, or everything."""
    rank: int = 8
    """Of the thin matrices."""
    alpha: float = 16.0
    """Their product is scaled by alpha / rank."""
    dropout: float = 0.0
    """Share of their inputs that are left out."""
    targets: tuple[str, ...] = ()
    """Names of the matrices they stand beside, such as query or up; all by default."""
    layers: tuple[int, int] | None = None
    """Train these layers alone: the first, and the one after the last, counted from 0."""
    epochs: int = 3
    """Passes over the data."""
    batch_size: int = 16
    """Rows in a step; short conversations share one."""
    learning_rate: float = 2e-4
    """Of Adam; for --train full about a tenth of that is usual."""
    warmup: int = 5
    """Steps in which it rises."""
    decay: Literal["none", "linear", "cosine"] = "linear"
    """How it falls."""
    clip: float | None = 1.0
    """Norm to which gradients are cut."""
    weight_decay: float = 0.0
    """Of AdamW."""
    length: int | None = None
    """Tokens of a row; by default those of the longest conversation."""
    accumulate: int = 1
    """Parts of a batch that are computed one after another, to save memory."""
    chunk: int | None = None
    """Tokens whose logits are held at a time; by default those of all."""
    remat: bool = False
    """Compute activations again instead of keeping them, to save memory."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """In which layers are computed; by default bfloat16 on an accelerator, float32 on a CPU."""
    parallel: Literal["mesh", "pmap"] = "mesh"
    """How several devices work together."""
    fsdp: int = 1
    """Devices of a mesh over which parameters and optimizer state are cut."""
    tensor: int = 1
    """Devices of a mesh over which matrices are cut."""
    seed: int = 0
    """Of the order of rows, of dropout and of thin matrices."""
    checkpoint_minutes: float = 5.0
    """Save when so much work would be lost; always on SIGTERM."""
    plan: str | None = None
    """Train nothing: compile a step for this machine, v5e:4x4 or any other TPU topology (extra
    [tpu], no TPU needed) or cpu:8, and say what fits and how fast it can be. Needs no weights."""
    cluster: tyro.conf.OmitArgPrefixes[hosts.Cluster] = hosts.AS_ANNOUNCED

    def run(self) -> None:
        """Train and save, or plan.

        Raises:
            InputError: something that was given cannot be used.
        """
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; expected a number from 0 and below 2**32")
        if self.plan is not None:
            self._plan(self.plan)
        elif self.data is None or self.out is None:
            missing = "data" if self.data is None else "out"
            raise InputError(f"{missing} is missing; expected a path")
        else:
            self._train(self.data, self.out)

    def _train(self, data: Path, out: Path) -> None:
        keep_compiled()
        begin(self.cluster)
        import jax
        import jax.numpy as jnp

        from sublim_jax import lm
        from sublim_jax.lm.dataset import read_rows
        from sublim_jax.lm.packing import count
        from sublim_jax.lm.saving import check_free
        from sublim_jax.training import steps_per_epoch

        train, recipe = self._trained(), self._recipe()
        hosts.first_alone(lambda: check_free(out))
        dtype = self._dtype(jax.default_backend())
        frozen = jnp.dtype(dtype if self.train == "lora" else "float32")
        parallel = self._parallel(jax.devices())
        model = lm.load(self.model, dtype=frozen, parallel=parallel, progress=hosts.is_first())
        rows = read_rows(data, model.tokenizer, system=self.system)
        steps = self.epochs * steps_per_epoch(count(rows, length=self.length), self.batch_size)
        # Beside the model rather than in it, which is written whole at the end.
        unfinished = out.absolute().parent / f".{out.name}.unfinished"
        with (
            runs.open_run(unfinished, self._settings(data)) as run,
            _session(run.folder, self.checkpoint_minutes, steps) as session,
        ):
            tuned = lm.finetune(
                *(model.config, model.params, rows),
                train=train,
                recipe=recipe,
                length=self.length,
                computing=self._computing(dtype),
                parallel=parallel,
                attached=session,
                key=jax.random.key(self.seed),
            )
            lm.save(out, model.config, lm.merge(tuned.params), model.tokenizer)
        if hosts.is_first():
            shutil.rmtree(unfinished, ignore_errors=True)
        losses = hosts.gather(tuned.losses)
        print(f"loss {losses[0]:.4f} to {losses[-1]:.4f} nats a token in {len(losses)} steps")
        print(f"written: {out}")

    def _settings(self, data: Path) -> dict[str, Any]:
        """Give what the result depends on."""
        settings = dataclasses.asdict(self)
        for name in ("out", "plan", "checkpoint_minutes", "cluster"):
            del settings[name]
        return settings | {"data": hashlib.sha256(data.read_bytes()).hexdigest()}

    def _plan(self, topology: str) -> None:
        if planning.planning() is None:
            # Which devices there are is decided when JAX is imported, so a fresh process plans.
            sys.exit(planning.in_subprocess(topology, ["-m", "sublim_jax.commands", *sys.argv[1:]]))
        print(planning.table(planning.plan(topology, self._planned)))

    def _planned(self, devices: Any) -> planning.Planned:
        from sublim_jax.lm.planned import planned_step
        from sublim_jax.lm.sizes import shape_of

        if self.parallel == "pmap":
            raise InputError("parallel is pmap with --plan; expected mesh")
        config = shape_of(self.model)
        return planned_step(
            config,
            self._parallel(devices),
            train=self._trained(),
            recipe=self._recipe(),
            computing=self._computing(self._dtype(devices[0].platform)),
            length=self.length or 256,
            rows=PLANNED_ROWS,
        )

    def _trained(self) -> "Full | LoRA":
        from sublim_jax.lm import Full, LoRA

        if self.train == "full":
            return Full(layers=self.layers)
        return LoRA(
            rank=self.rank,
            alpha=self.alpha,
            dropout=self.dropout,
            targets=self.targets,
            layers=self.layers,
        )

    def _recipe(self) -> "Recipe":
        from sublim_jax.training import Recipe

        names = ("learning_rate", "epochs", "batch_size", "warmup", "decay", "clip", "weight_decay")
        return Recipe(**{name: getattr(self, name) for name in names})

    def _computing(self, dtype: str) -> "Computing":
        from sublim_jax.lm import Computing

        return Computing(
            chunk=self.chunk, remat=self.remat, accumulate=self.accumulate, dtype=dtype
        )

    def _dtype(self, platform: str) -> str:
        return self.dtype or ("float32" if platform == "cpu" else "bfloat16")

    def _parallel(self, devices: Any) -> Any:
        from sublim_jax.lm.sharding import decoder_mesh
        from sublim_jax.training import pmap_parallel

        if self.parallel == "mesh":
            return decoder_mesh(devices, fsdp=self.fsdp, tensor=self.tensor)
        if self.fsdp * self.tensor > 1:
            raise InputError(
                f"fsdp is {self.fsdp} and tensor is {self.tensor} with pmap; expected 1 and 1"
            )
        return pmap_parallel(devices)


@contextlib.contextmanager
def _session(folder: Path, minutes: float, steps: int) -> Iterator["Session"]:
    """Save, show progress, and listen for a request to stop."""
    from sublim_jax.training import Checkpoints, Session
    from sublim_jax.training.preemption import listening

    quiet = None if hosts.is_first() else True
    with listening() as stop_requested, tqdm(total=steps, unit="step", disable=quiet) as bar:
        session = Session(
            checkpoints=Checkpoints(folder / "checkpoints"),
            every_minutes=minutes,
            stop_requested=stop_requested,
            advanced=bar.update,
        )
        with session:
            yield session
