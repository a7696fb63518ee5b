"""A teacher on loopback that answers the OpenAI protocol, and misbehaves on demand.

It is a test tool: standard library only, HTTP written by hand so that it can be wrong on purpose.
Its history log is the only witness of the tests; what a client counts about itself proves nothing.
"""
