"""The bodies of requests and answers: the only home of the HTTP contract's field names."""
