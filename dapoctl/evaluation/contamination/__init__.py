"""Whether a result on a set can come from memory: training data that hold it, its questions with other numbers, a question that
the model completes."""
