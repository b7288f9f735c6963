"""The same cases in Hugging Face's transformers on torch, with peft: what we race."""

import time
from collections.abc import Callable
from typing import Any


class Peer:
    """Their side: every case as a function that gives its seconds."""

    def __init__(self, folder: str, *, rows: int, prompt: int, new: int, train_rows: int) -> None:
        """Load the model from a folder."""
        import torch  # pyright: ignore[reportMissingImports]
        from transformers import AutoModelForCausalLM

        torch.manual_seed(0)
        self.new = new
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.folder = folder
        self.tokens = torch.randint(100, self.model.config.vocab_size, (rows, prompt))
        self.train = self.tokens[:train_rows]
        self._made: dict[str, tuple[Any, Any]] = {}

    def cases(self) -> dict[str, Callable[[], float]]:
        """Name what can be asked for."""
        rows = len(self.tokens)
        one = self.tokens[:1]
        return {
            "prefill, 64 rows": self._prefill,
            "sampling, 64 rows of one prompt": lambda: self._sample(one.repeat(rows, 1)),
            "sampling, 64 prompts": lambda: self._sample(self.tokens),
            "sampling, one row": lambda: self._sample(one),
            "full fine-tuning, 16 rows": lambda: self._step("full"),
            "LoRA rank 8, 16 rows": lambda: self._step("lora"),
            "KL to a teacher, LoRA": lambda: self._step("kl"),
        }

    def _prefill(self) -> float:
        import torch  # pyright: ignore[reportMissingImports]

        start = time.perf_counter()
        with torch.no_grad():
            self.model.eval()(self.tokens, use_cache=True, logits_to_keep=1)
        return time.perf_counter() - start

    def _sample(self, prompts: Any) -> float:
        import torch  # pyright: ignore[reportMissingImports]

        start = time.perf_counter()
        with torch.no_grad():
            self.model.eval().generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=self.new,
                min_new_tokens=self.new,
                do_sample=True,
                pad_token_id=0,
            )
        return time.perf_counter() - start

    def _training(self, kind: str) -> tuple[Any, Any]:
        """Make a model to train, of its own, and its optimizer; kept for the next turn."""
        import torch  # pyright: ignore[reportMissingImports]
        from transformers import AutoModelForCausalLM

        if kind not in self._made:
            model: Any = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32)
            if kind != "full":
                import peft  # pyright: ignore[reportMissingImports]

                names = (
                    "q_proj",
                    "k_proj",
                    "v_proj",
                    "o_proj",
                    "gate_proj",
                    "up_proj",
                    "down_proj",
                )
                shape = peft.LoraConfig(
                    r=8, lora_alpha=16, target_modules=list(names), task_type="CAUSAL_LM"
                )
                model = peft.get_peft_model(model, shape)
            trained = [p for p in model.parameters() if p.requires_grad]
            self._made = {kind: (model.train(), torch.optim.AdamW(trained, lr=1e-5))}
        return self._made[kind]

    def _step(self, kind: str) -> float:
        import torch  # pyright: ignore[reportMissingImports]
        from torch.nn.functional import kl_div, log_softmax  # pyright: ignore[reportMissingImports]

        model, optimizer = self._training(kind)
        start = time.perf_counter()
        if kind == "kl":
            with torch.no_grad():
                known = log_softmax(self.model(self.train).logits[:, :-1], dim=-1)
            found = log_softmax(model(self.train).logits[:, :-1], dim=-1)
            loss = kl_div(found, known, log_target=True, reduction="sum") / found[..., 0].numel()
        else:
            loss = model(self.train, labels=self.train).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - start
