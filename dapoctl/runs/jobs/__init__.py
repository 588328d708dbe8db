"""Starting runs and looking after them: processes, GPU leases, the queue."""
