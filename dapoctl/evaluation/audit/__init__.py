"""What a run's reward paid for: its stored responses judged by other rules, step by step."""
