"""The version of this package, as installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("synth")
except PackageNotFoundError:  # run from a checkout that is not installed
    VERSION = "0.1.0+checkout"
