"""`python -m pipeline.cli` is `synth`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
