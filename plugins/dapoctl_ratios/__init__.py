"""Importance ratios other than PPO's: of whole responses, capped weights, and between rollout engine and trainer."""
