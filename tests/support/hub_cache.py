"""Sets of the hub as its library keeps them once it has fetched them: a few rows under the real names of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.arrow_writer import ArrowWriter


def keep(cache: Path, hub: str, split: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put a split of a set into the library's cache.

    Args:
        hub: `owner/name`, or `owner/name:configuration`
    """
    place, _, configuration = hub.partition(":")
    owner, name = place.split("/")
    configuration, short = configuration or "default", name.lower()
    folder = cache / f"{owner}___{short}" / configuration / "0.0.0" / "stand-in"
    folder.mkdir(parents=True, exist_ok=True)
    features = datasets.Dataset.from_list([*rows]).features
    writer = ArrowWriter(path=str(folder / f"{short}-{split}.arrow"), features=features)
    for row in rows:
        writer.write(row)
    count, size = writer.finalize()
    there = (
        datasets.DatasetInfo.from_directory(str(folder)).splits if (folder / "dataset_info.json").is_file() else None
    )
    splits = {**(there or {}), split: datasets.SplitInfo(split, size, count, dataset_name=short)}
    datasets.DatasetInfo(
        features=features,
        builder_name="parquet",
        dataset_name=short,
        config_name=configuration,
        version="0.0.0",
        splits=datasets.SplitDict(splits, dataset_name=short),
    ).write_to_directory(str(folder))


def use(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the library look there, and nowhere else."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
