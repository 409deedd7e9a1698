"""Where a checkpoint comes from: a folder, a built-in name, or a model of the Hugging Face Hub.

    find.py       a source, as a user gives it -> the folder to open
    hub_id.py     owner/name[@revision]
    hub_files.py  which of a repository's files are fetched
    hub_client.py the Hub's protocol
    hub_cache.py  the cache on disk that all programs of Hugging Face share
    hub_fetch.py  the whole: from an id to a folder of that cache

Imports no torch, and huggingface_hub only when a model of the Hub is asked for.
"""
