"""Every property of the conformance kit, in the order in which they are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dapoctl.testing.properties import (
    class_definition,
    determinism,
    devices,
    engines,
    gradients,
    invariance,
    return_values,
    state,
    tasks_and_observers,
    training,
)
from dapoctl.testing.subject import (
    BATCH_HOOKS,
    ENGINES,
    MASKS,
    OBSERVERS,
    PLAIN_HOOKS,
    TENSOR_HOOKS,
    TOKEN_HOOKS,
    VOCAB_HOOKS,
    Subject,
)

Check = Callable[[Subject, str], str]
"""(component, hook) -> a note; raises `Broken` or `Unchecked`"""


@dataclass(frozen=True)
class Property:
    """One property, and how it is checked."""

    name: str
    meaning: str
    fix: str
    """One sentence; a check may give a better one"""
    check: Check
    hooks: tuple[str, ...] = ()
    """The hooks it is checked for; empty for the component as a whole"""
    needs: tuple[str, ...] = ()
    """Properties that must hold for this one to mean anything"""
    any_of: tuple[str, ...] = ()
    """For a property of the whole component: it applies if the component has one of these hooks"""
    slow: bool = False
    """Left out of a quick check"""


SOUND = ("result", "repeatable")

CLASS = (
    Property(
        "builds", "can be built from its defaults, or from the given parameters",
        "Give every parameter a default, and neither compute nor open anything while the component is built.",
        class_definition.builds,
    ),
    Property(
        "docstring", "says what it does, in a docstring of its own",
        "Write one line under `class`: `plugins list` and `plugins show` print it.", class_definition.docstring,
    ),
    Property(
        "fields", "every parameter is described and in the JSON schema",
        'Write a docstring under the field: """What it is, in which unit.""".', class_definition.fields,
    ),
    Property(
        "hooks", "marked methods are hooks, and methods with a hook's name are marked",
        "Put @hookimpl above a method with a hook's name, and take arguments by the names in hookspecs.py.",
        class_definition.hooks,
    ),
)  # fmt: skip
RETURNED = (
    Property(
        "result", "returns what its hook promises, also for small and odd batches",
        "Handle this input: groups may have any size, rewards may all be equal, a mask may be empty.",
        return_values.result, (*TENSOR_HOOKS, *PLAIN_HOOKS), ("builds", "hooks"),
    ),
    Property(
        "dtype", "masks are bool, other results float32 or float64", "Return float32, or bool for a mask.",
        return_values.dtype, TENSOR_HOOKS, ("result",),
    ),
    Property(
        "device", "creates its tensors on its inputs' device",
        "Create new tensors from an input (`logprobs.new_zeros(...)`, `torch.zeros_like(...)`, `device=logprobs.device`).",
        devices.device, (*TOKEN_HOOKS, *VOCAB_HOOKS), ("result",),
    ),
    Property(
        "finite", "no NaN and no infinity, whatever the rewards and the log-ratios",
        "Clamp what you divide by and what goes into exp.",
        return_values.finite, tuple(hook for hook in TENSOR_HOOKS if hook not in MASKS), ("result",),
    ),
    Property(
        "repeatable", "the same input gives the same result",
        "Draw from a generator of your own, seeded with the step (`torch.Generator().manual_seed(batch.step)`), or from"
        " `pool.rng`.",
        determinism.repeatable, (*TENSOR_HOOKS, *PLAIN_HOOKS), ("result",),
    ),
    Property(
        "read_only", "leaves its input unchanged",
        "Work on a copy: `batch.rewards - 1` or `.clone()`, and no `-=`, `_()` methods or item assignment on an input.",
        determinism.read_only, (*TENSOR_HOOKS, *PLAIN_HOOKS), ("result",),
    ),
)  # fmt: skip
INVARIANT = (
    Property(
        "padding", "more columns of padding change nothing",
        "Use `batch.lengths`, `batch.mask` and `batch.max_response_tokens`, and never the width of a tensor.",
        invariance.padding, BATCH_HOOKS, SOUND,
    ),
    Property(
        "group_order", "it does not matter in which order the groups come",
        "Treat `batch.groups` as labels: use group_sum and group_mean, and no group's index as a number.",
        invariance.group_order, BATCH_HOOKS, SOUND,
    ),
    Property(
        "response_order", "it does not matter in which order responses come, within groups and across",
        "Find a group's responses through `batch.groups` (a token's through `tokens.sequence`): do not reshape to"
        " [P, G], and do not let one response stand for others by its position.",
        invariance.response_order, (*BATCH_HOOKS, *TOKEN_HOOKS), SOUND,
    ),
    Property(
        "mask", "weights are zero where the mask is false", "Multiply by `batch.mask`.",
        invariance.mask, ("weigh_tokens",), SOUND,
    ),
    Property(
        "counts", "weights stay right when the batch is spread over processes",
        "Divide by `batch.counts`, which are global, and not by sums over the batch at hand.",
        invariance.counts, ("weigh_tokens",), SOUND,
    ),
    Property(
        "cut", "a token's loss does not depend on which other sequences are in the micro-batch or chunk",
        "Normalise within a token or a sequence (`tokens.sequence_mean`); what is shared by the batch belongs in"
        " weigh_tokens or estimate_advantages.",
        invariance.cut, (*TOKEN_HOOKS, *VOCAB_HOOKS), SOUND,
    ),
)  # fmt: skip
LOSSES = (
    Property(
        "gradient", "losses and penalties are differentiable; advantages, weights and masks carry no gradient",
        "Compute the loss from `tokens.logprobs` (`tokens.entropy`, `logits`) without `.detach()`, `.item()` or numpy.",
        gradients.gradient, TENSOR_HOOKS, ("result", "finite", "read_only"),
    ),
    Property(
        "uses", "`uses` names the costly parts of Tokens that it reads", "Name them in `uses`.",
        gradients.uses, TOKEN_HOOKS, ("result",),
    ),
    Property(
        "per_token", "`per_token = True` is true: it gives the same for slices of a sequence",
        "Remove `per_token = True` from the class, or look at each token alone.",
        gradients.per_token, TOKEN_HOOKS, (*SOUND, "cut"),
    ),
)  # fmt: skip
WHOLE = (
    Property(
        "problems", "problems have ids of their own, and held-out ones are not trained on",
        "Make the id from the problem's index or text.", tasks_and_observers.problems, ("load_problems",), SOUND,
    ),
    Property(
        "threads", "several threads at once get the same verdicts",
        "Keep what a verdict needs in local variables, or put a lock around it.",
        tasks_and_observers.threads, ("score_response",), SOUND,
    ),
    Property(
        "observes", "survives any numbers and every way a run can end",
        "Let an observer skip what it cannot draw, such as NaN; an exception in it ends the run.",
        tasks_and_observers.observes, (), ("builds", "hooks"), OBSERVERS,
    ),
    Property(
        "state", "a saved and loaded component continues as if nothing had happened",
        "Return everything that changes between steps from state_dict, and restore it in load_state_dict.",
        state.state, (), (*SOUND, "builds", "hooks"), (*TENSOR_HOOKS, "select_prompts", *OBSERVERS),
    ),
    Property(
        "step", "the gradient of a real step is the same however it is cut into micro-batches",
        "Let no loss depend on the other tokens of its micro-batch, nor on how often it is called in a step.",
        training.step, (),
        ("builds", "hooks", *SOUND, "finite", "read_only", "padding", "mask", "cut", "gradient", "uses", "per_token"),
        tuple(training.TOUCHED), slow=True,
    ),
)  # fmt: skip
SAMPLED = (
    Property(
        "completions", "an engine's responses end where and as they are said to end",
        'Cut a response after its first end-of-sequence token; "stop" is its reason then, and "length" at max_tokens.',
        engines.completions, ENGINES, ("builds", "hooks"), slow=True,
    ),
    Property(
        "logprobs", "an engine's log-probabilities are those of the distribution that tokens are drawn from",
        "Take them from softmax(logits / temperature), cut to the nucleus of top_p and renormalised (of greedy responses:"
        " at temperature 1).",
        engines.logprobs, ENGINES, ("builds", "hooks", "completions"), slow=True,
    ),
    Property(
        "seeds", "an engine's responses are a function of the seeds",
        "Seed the sampler with `sampling.seed` (and each prompt's with `sampling.seeds[index]`), and nothing else.",
        engines.seeds, ENGINES, ("builds", "hooks", "completions"), slow=True,
    ),
    Property(
        "weights", "an engine samples from the weights that it was given last",
        "Copy every tensor that `load_weights` is given, or read the policy's own; forget what was cached before.",
        engines.weights, ENGINES, ("builds", "hooks", "completions", "logprobs"), slow=True,
    ),
)  # fmt: skip
PROPERTIES = (*CLASS, *RETURNED, *INVARIANT, *LOSSES, *WHOLE, *SAMPLED)
