"""Backbones from elsewhere: T5X checkpoints and Hugging Face folders, read tensor by tensor under
one naming.
"""
