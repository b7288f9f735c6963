"""Subliminal learning through number sequences with a language model."""
