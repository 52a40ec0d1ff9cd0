"""Fetching what services need to have in place, and keeping it: files behind URLs, and models of the hub."""
