"""The comparison of norms and architectures: the paper's experiment."""
