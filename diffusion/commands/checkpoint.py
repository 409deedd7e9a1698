"""`ddpm checkpoint`: what a checkpoint is, and what can be done with it."""

import argparse
import json

from diffusion.checkpoint import CheckpointError, find_checkpoint, open_checkpoint
from diffusion.checkpoint.summary import refusal, summary
from diffusion.checkpoint.summary_text import as_text
from diffusion.data.built_in import is_here

REFUSED = 1


def run(args: argparse.Namespace) -> int:
    """Print what the checkpoint is; return the exit status, REFUSED where it cannot be used.

    Raises CheckpointError where there is none.
    """
    location = find_checkpoint(args.checkpoint)
    try:
        checkpoint = open_checkpoint(location)
        data = checkpoint.card.data
        facts = summary(args.checkpoint, checkpoint, data if data and is_here(data) else "DATA")
    except CheckpointError as error:
        facts = refusal(args.checkpoint, location.folder, error)
    print(json.dumps(facts, indent=2) if args.json else as_text(facts))
    return 0 if facts["usable"] else REFUSED
