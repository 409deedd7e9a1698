"""Who may come in: API keys and their names, clients' addresses, hosts and origins, rates."""
