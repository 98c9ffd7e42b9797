"""Enrichment by workers, on this host and others: a folder holds the truth, a broker the hints."""
