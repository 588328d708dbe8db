"""Where the health rules draw their lines, and why there.

A rule speaks only of what a person who reads the curves would speak of, too: limits are where published runs that went well
are not. Nothing is said of single steps, which are noise in a small batch.
"""

RECENT = 10
"""Steps whose median is how a metric stands now: fewer are noise, more are late by as many steps"""
START = 5
"""Steps whose median is how a metric began"""
EARLY = RECENT + START
"""Steps before which nothing is said about a course"""

ENTROPY_LEFT = 0.1
"""Part of its entropy at the start below which a policy has collapsed. Runs that go well lose 73% of it in their first twelfth
(arXiv:2505.22617), so less would cry wolf; with a tenth left, a group's responses are copies of one another"""
ENTROPY_GROWN = 3.0
"""Times its entropy at the start above which a policy falls apart: with a bounded reward, training sharpens"""
CLIPPED = 0.2
"""Fraction of tokens. Losses with a ratio per sequence clip two orders of magnitude more than those with one per token, and go
well (arXiv:2507.18071), so only what is above that is called high"""
TRUNCATED = 0.25
"""Fraction of responses that are truncated: a reward for these is about length, not about the answer"""
TRUNCATED_RISE = 0.1
"""Points that it has risen by, for a lower fraction to be called a trend"""
KEPT = 0.1
"""Fraction of groups that pass the filters: ten times as much is sampled as is trained on, and it is mostly the same prompts"""
ALIKE = 0.9
"""Fraction of groups all right or all wrong: they have no advantage, so no more than a tenth of the batch teaches anything"""
SKIPS_SEEN = 20
"""Steps in which an update that was left out, or a value that is not finite, is still news"""
MISMATCH = 0.05
"""Nats per token, the mean of |log p(trainer) - log p(engine)|: in float32 it lies near 1e-5. A mismatch that grows has come
before a collapse in public reports (vime issue 64, open-instruct issue 1473); where to draw the line is a choice"""
ESS = 0.8
"""Effective part of the tokens as importance weights have it: below it the engine samples another policy than is trained"""
FOLLOWS = 0.9
"""Share of the policy's change in log-probability that reaches what is sampled: below it, responses and evaluations are those
of another model. Two standard errors must lie between"""
EXACT = 1e-3
"""A standard error below this is that of no noise at all: one step is then not worth more than all others"""
STEP_KL = 0.1
"""Nats between the policy before and after a step: a choice, far above the small steps that clipping is meant to keep"""
FLAT_AFTER = 50
"""Steps that a reward may take to begin to rise"""
FLAT_ERRORS = 2.0
"""Standard errors by which the last fifth of the rewards must exceed the first, to call it learning: 97.7% one-sided"""
SOLVED = 0.9
"""Training accuracy from which there is little left to learn: being flat is no news"""
FALLEN = 0.3
"""Part of what was gained at the best that is lost again, for the reward to have fallen"""
FALL_ERRORS = 4.0
"""Standard errors that it has lost: the best of hundreds of windows is two or three above the others by chance alone"""
LONGER = 2.0
"""Times the length at the start. Longer answers are how some models learn to reason, so only without more accuracy"""
SHORTER = 0.25
"""Part of the length at the start: the model stopped to work things out"""
UNANSWERED = 0.5
"""Fraction of responses without an answer that can be read: the prompt or the format is at fault, not the mathematics"""
FAULTS = 0.02
"""Fraction of responses that the scorer failed on or gave up: more than oddities"""
SLOWER = 0.5
"""Part of the speed at the start, in tokens: length does not explain it"""

BEYOND = 1e100
"""What nothing can measure: a file is damaged"""
