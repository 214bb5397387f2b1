"""The one holder of the CA key. It does one thing: sign a one-day leaf for a catalogue name.

``authority`` makes the certificates, ``ceremony`` runs that in a short-lived process, ``leaf``
builds one certificate, ``signing`` decides whether it may, ``server`` talks, ``confine`` gives
privileges away, ``main`` ties them together.
"""
