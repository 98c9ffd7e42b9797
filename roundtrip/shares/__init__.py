"""The port to folders of files, its adapters, and what lives in a share beside the exchanges."""
