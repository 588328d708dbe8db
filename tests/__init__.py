"""Tests, in folders by what they need.

- unit: nothing but the code, by the parts of `dapoctl/`
- cli: commands, by the fixture `cli` in the tests' own process
- tui: screens, driven by keys and read as text
- process: real processes, which are the subject; marked `process`, as are single tests elsewhere that start some
- real_models: pretrained models and vLLM; all of them slow
- support: what several tests use
"""
