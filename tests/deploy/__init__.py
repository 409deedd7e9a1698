"""What is in deploy/ and docker-compose.yml: manifests, settings, and the programs beside us."""
