"""Starting and supervising runs: processes, GPU leases, the queue."""
