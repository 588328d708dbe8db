"""GRPO: group-relative policy optimization, and the parts that other recipes share with it."""
