"""`python -m model_trainer.cli`: how the embedded stack starts its own processes."""

from model_trainer.cli.main import main

if __name__ == "__main__":
    main()
