"""Formats of real corpora, one a file: each reads a stream into plain frozen records, and writes
them back. A line that cannot be read names its file and number; `Problems` says what happens then.
"""
