"""Scoring an encoder: features, protocols, and the card that says what a number means.

``protocol.evaluate`` runs the protocols and puts a random-init network and chance beside every
score; ``feature_store.extract_to_file`` writes features of a library of videos. The other modules
hold one part of these each and can be used alone.
"""
