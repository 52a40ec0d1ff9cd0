"""Clients in source code, for those who call an app and don't install Motet, made from its OpenAPI document."""
