"""The unprivileged worker: mitmproxy flows <-> inspection. The only importer of mitmproxy."""
