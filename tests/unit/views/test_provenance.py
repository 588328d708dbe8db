"""What a report says of its runs' making: contents, and no place of one machine."""

from __future__ import annotations

from dapoctl.views.report.provenance import facts


def test_inputs_are_told_by_name_and_content() -> None:
    data = {"/home/somebody/data/train.jsonl": {"bytes": 90, "sha256": "a" * 64}}
    model = {"files": {"model.safetensors": {"bytes": 12, "modified": 1796042501.8}}}
    specs = [{"inputs": {"model": model, "data": data}, "host": {"system": "Linux-6.1-x86_64", "cpus": 2}}] * 3
    rows = {what: (value, number) for what, value, number in facts(specs)}
    assert rows["input data.train.jsonl.sha256"] == ("a" * 64, "3")
    assert rows["input model.files.model.safetensors.bytes"] == ("12", "3")
    assert "home" not in str(rows)
    assert "1796042501" not in str(rows)


def test_the_same_name_with_other_content_is_another_row() -> None:
    specs = [{"inputs": {"data": {f"/{place}/train.jsonl": {"bytes": size}}}} for place, size in (("a", 1), ("b", 2))]
    rows = [row for row in facts(specs) if row[0].startswith("input")]
    assert rows == [["input data.train.jsonl.bytes", "1", "1"], ["input data.train.jsonl.bytes", "2", "1"]]
