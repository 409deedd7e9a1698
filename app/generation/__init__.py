"""From a request's fields to its bytes, without HTTP."""
