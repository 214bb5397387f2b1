"""Bytes against every wire format: they parse, or raise ParseError, and nothing else.

python -m tests.fuzz openai-chat            fuzz one format until Ctrl-C (extra ``fuzz``)
python -m tests.fuzz --list                 print the formats
"""
