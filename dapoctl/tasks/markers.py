"""Where a response gives its final answer, by the rule of the scorer `math`: only an answer that is marked as one counts.

Marks, the stronger first: the last of a label (`Answer:`, `Final answer:`, `答案:`), `#### 72` and `<answer>...</answer>`; the
last `\\boxed{...}` or `\\fbox{...}`; `the answer is ...`. A response that is nothing but the answer needs none: a number
with its unit, a formula, or one sentence that ends in its only formula and assumes nothing. What stands in
`<think>...</think>` is no answer, nor is what follows an end-of-turn token. Of the rest, the last `TAIL` characters count.
Everything here is about linear in the text, so that no response can make it slow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dapoctl.tasks.answers import TAIL, clean
from dapoctl.tasks.boxes import boxed, spans
from dapoctl.tasks.sentences import from_line, is_bare, is_conclusion

LINES = 4
"""Lines after a label in which its answer may begin"""
LONGEST_BARE = 300
"""Characters of a response that is nothing but an answer, at most"""
# A word that every label has: to look for it first is ten times as fast.
_MENTIONED = re.compile("[Aa](?:nswer|NSWER)|####|\u7b54\u6848")
_LABEL = re.compile(
    r"\banswer[ \t*_]{0,8}[:\uff1a]|答案[是为]?[ \t]?[:\uff1a]"
    r"|(?m:^)[ \t*_]{0,8}answer[ \t*_]{0,8}(?=\$\$|\$[^$\n]+\$|\\\([^\n]+\\\)|\\\[)"
    r"|(?m:^)[ \t]{0,3}####(?!#)|<answer>",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"\b(?:answer|solution)(?: to [^.\n]{1,60}?)? (?:is|are|would be|should be|must be|will be)\b[ \t]?:?(?!\s*not\b)",
    re.IGNORECASE,
)
_CALLED = re.compile(r"\bis (?:our|the|your|my)(?: final)? (?:answer|solution)\b", re.IGNORECASE)
_END_OF_TURN = re.compile(r"<\|[a-z_]{1,24}\|>|</s>|<eos>|<end_of_turn>|<\uff5c[^\uff5c\n]{1,40}\uff5c>")
_THOUGHT = re.compile(r"<(/?)think>", re.IGNORECASE)
_UNCLOSED = re.compile(r"\s*\\{1,2}boxed\{")
_NOTHING = frozenset({"", "\\[", "\\]", "\\(", "\\)", "$", "$$", "```"})


@dataclass(frozen=True, slots=True)
class Found:
    """A final answer."""

    text: str
    """As the response writes it, without Markdown, delimiters and the words around it"""
    marked: bool
    """Whether a mark says that it is the answer; if not, it is all there is"""


def find(text: str) -> Found | None:
    """The final answer of a response; None when it gives none."""
    said = spoken(text)
    tail = said[-TAIL:]
    answer = _labelled(tail)
    if answer is None:
        answer = ", ".join(boxed(tail)) or _said(tail)
    if answer is not None:
        answer = clean(answer)
        return Found(answer, marked=True) if answer else None
    said = said.strip()
    bare = clean(_plain(said))
    alone = (
        bool(bare) and len(said) <= LONGEST_BARE and "\\boxed" not in said and (is_bare(said) or is_conclusion(said))
    )
    return Found(bare, marked=False) if alone else None


def is_marked(text: str) -> bool:
    """Whether a response marks its final answer."""
    found = find(text)
    return found is not None and found.marked


def spoken(text: str) -> str:
    """What the response says: without thoughts, and up to the first end-of-turn token after them."""
    begun, ended = None, 0
    for match in _THOUGHT.finditer(text):
        if match[1]:
            begun, ended = None, match.end()
        elif begun is None:
            begun = match.start()
    text = text[ended:begun] if begun is None or begun >= ended else text[ended:]
    end = next((match.start() for match in _END_OF_TURN.finditer(text) if text[: match.start()].strip()), None)
    return text[:end]


def of_gold(gold: str) -> str:
    """The answer of a problem: that of a worked solution if `gold` is one, else all of it without delimiters."""
    answer: str | None = ", ".join(boxed(gold)) or _UNCLOSED.sub("", gold) * bool(_UNCLOSED.match(gold))
    if not answer and _LABEL.search(gold):
        answer = _labelled(gold)
    return clean(answer) if answer else clean(from_line(gold.strip()) if "\n" not in gold.strip() else gold)


def _labelled(tail: str) -> str | None:
    """What the last label with an answer says: the rest of its line, or of the first line after it that says something."""
    for label in reversed(_labels(tail)):
        mark, rest = label[0].strip().lower(), tail[label.end() :]
        if mark == "<answer>":
            inside, closed, _ = rest.partition("</answer>")
            if closed:
                return from_line(" ".join(inside.split()))
            continue
        if mark.startswith("#"):
            line = rest.partition("\n")[0].strip()
            # A heading is no answer: `#### Step 2`.
            if line and is_bare(line):
                return from_line(line)
            continue
        for line in rest.split("\n")[:LINES]:
            if line.strip(" \t\r*_`") not in _NOTHING:
                return from_line(_display(line, rest))
        return None
    return None


def _labels(tail: str) -> list[re.Match[str]]:
    """The labels, in order."""
    found = []
    for mention in _MENTIONED.finditer(tail):
        begun = tail.rfind("\n", 0, mention.start()) + 1
        starts = {mention.start(), max(0, mention.start() - 1), begun}
        labels = [
            label for start in sorted(starts) if (label := _LABEL.match(tail, start)) and label.end() >= mention.end()
        ]
        found += labels[:1]
    return found


def _display(line: str, rest: str) -> str:
    """`line`; the whole formula where it only begins one that goes over several lines."""
    for start, end in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)")):
        if line.strip().startswith(start) and line.count(end) < 1 + (start == end):
            opened = rest.find(start) + len(start)
            closed = rest.find(end, opened)
            return rest[opened:closed] if closed > 0 else line
    return line


def _said(tail: str) -> str | None:
    """What the last `the answer is ...`, or `... is the answer`, says in its sentence."""
    for match in reversed(list(_SAID.finditer(tail))):
        line = tail[match.end() :].lstrip(" \t\n")
        line = _display(line.partition("\n")[0], line)
        if match[0].lower().startswith("answer") or re.match(r"[$\\\d+-]", line):
            return from_line(line)
    for match in reversed(list(_CALLED.finditer(tail))):
        sentence = tail[tail.rfind("\n", 0, match.start()) + 1 : match.start()].rpartition(". ")[2]
        if sentence.count("$") == 2 or sentence.count("\\(") == 1:
            return from_line(sentence)
    return None


def _plain(said: str) -> str:
    lines = [line for line in said.strip().split("\n") if line.strip(" \t\r*_`") not in _NOTHING]
    return from_line(lines[0]) if len(lines) == 1 and not spans(lines[0]) else said
