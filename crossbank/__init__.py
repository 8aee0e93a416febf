"""Crossbank compiles language models for in-memory computing, runs them with the device's arithmetic, and costs them."""
