"""Rows of token ids: views of data, packing, buckets of lengths, batches, caches."""
