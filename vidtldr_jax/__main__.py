"""`python -m vidtldr_jax` is `vidtldr`."""

from vidtldr_jax.cli.main import main

if __name__ == "__main__":
    main()
