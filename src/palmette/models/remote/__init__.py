"""Models behind an API: wires (pure codecs), providers (data), one network client."""
