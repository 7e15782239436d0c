"""The drivers: real sockets, threads, processes and signals, all on loopback."""
