"""Peak memory of one update against its number of tokens: it follows the micro-batch and the chunk, not the vocabulary.

    python experiments/bench/update_memory.py MODEL [--tokens 512,1024,2048,4096] [--micro-batch 640] [--chunk N]

Each size runs in a process of its own: load the model, give it zero gradients, then one update's forward and backward
passes. Printed are the peak resident memory above what was there before, what one [tokens, vocabulary] float32 tensor
would take, and the time. `--micro-batch 0` puts all tokens through the model at once, so that activations grow too.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

MIB = 2**20


def peak_mib() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(model: str, tokens: int, micro_batch: int, chunk: int, plugins: str) -> tuple[float, float, int]:
    """(MiB above the loaded model with its gradients, seconds, vocabulary) of one pass over `tokens` response tokens."""
    import torch

    from dapoctl import Completion, Problem, Score
    from dapoctl.batching import build_batch
    from dapoctl.config.load import load
    from dapoctl.setup import build_learner
    from dapoctl.step import accumulate_gradient, estimate

    length, prompt = 128, 32
    overrides = [
        f"model.path={model}",
        f"train.micro_batch_tokens={micro_batch or 10 * tokens}",
        *([f"train.chunk_tokens={chunk}"] if chunk else []),
        f"rollout.max_prompt_tokens={prompt}",
        f"rollout.max_response_tokens={length}",
    ]
    resolved = load([], overrides, {"plugins": plugins.split(",")})
    learner = build_learner(resolved.config, resolved.pipeline)
    for parameter in learner.policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    vocabulary = learner.policy.head.linear.weight.shape[0]
    draw = torch.Generator().manual_seed(0)
    rows = tokens // length
    completions = [
        Completion(torch.randint(5, vocabulary, (length,), generator=draw).tolist(), [-1.0] * length, "length")
        for _ in range(rows)
    ]
    scores = [Score(1.0 if row % 2 else -1.0, bool(row % 2)) for row in range(rows)]
    prompts = [torch.randint(5, vocabulary, (prompt,), generator=draw).tolist()]
    batch = build_batch(
        [Problem("0", "", "")], prompts, [completions], [""] * rows, scores, step=1, max_response_tokens=length
    )
    batch = estimate(learner, batch)
    before, begun = peak_mib(), time.perf_counter()
    accumulate_gradient(learner, batch)
    return peak_mib() - before, time.perf_counter() - begun, vocabulary


def main() -> None:
    """One process per size, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", default="512,1024,2048,4096")
    parser.add_argument("--micro-batch", type=int, default=640, help="tokens, prompts included; 0 for all")
    parser.add_argument("--chunk", type=int, default=0, help="tokens; 0 for the default")
    parser.add_argument("--plugins", default="clip_higher")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        used, seconds, vocabulary = measure(
            options.model, options.one, options.micro_batch, options.chunk, options.plugins
        )
        logits = options.one * vocabulary * 4 / MIB
        print(f"{options.one:>7} {used:>10.0f} {logits:>18.0f} {seconds:>9.1f}")
        return
    print(f"{'tokens':>7} {'peak MiB':>10} {'full logits MiB':>18} {'seconds':>9}")
    for tokens in options.tokens.split(","):
        sizes = ["--one", tokens, "--micro-batch", str(options.micro_batch), "--chunk", str(options.chunk)]
        subprocess.run([sys.executable, __file__, options.model, *sizes, "--plugins", options.plugins], check=True)


if __name__ == "__main__":
    main()
