"""The language factory: small made languages whose relations are known.

concepts, world      what there is to say             spec, families     which languages there are
grammar              sentences before any language    lexicon            words and their descent
morphology, script   forms and letters                realise            a language says a sentence
trees, show, english annotations, to read and print   facts, distances   what is known of all this
languages, write     text, and folders of everything
"""
