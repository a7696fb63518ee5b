"""What a person types to install what is missing: from a checkout, as the README says.

The package index has a package called `synth` too, which is another one.
"""

from __future__ import annotations


def pip_line(extra: str = "") -> str:
    """The command that installs an extra, or synth itself, and where it is typed.

    >>> pip_line("train")
    "pip install '.[train]' in the checkout of synth"
    >>> pip_line()
    'pip install . in the checkout of synth'
    """
    what = f"'.[{extra}]'" if extra else "."
    return f"pip install {what} in the checkout of synth"
