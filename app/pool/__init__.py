"""The API process' side of the engines: which engine gets a request, and what if it dies. Imports
no torch."""
