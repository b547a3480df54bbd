"""recipe.json of a model: every choice its training was made with. Torch-free."""

from pathlib import Path

from pydantic import ValidationError

from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically

RECIPE_FILE = "recipe.json"


def read_recipe(folder: Path) -> Recipe:
    """recipe.json of the model in `folder`; raises ARTIFACT_CORRUPT."""
    path = folder / RECIPE_FILE
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise AppError(
            ErrorCode.ARTIFACT_CORRUPT,
            "The model's recipe.json is missing or damaged. Train the model again.",
        ) from error


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Puts the recipe beside the model, durably; raises DISK_FULL."""
    write_atomically(folder / RECIPE_FILE, (recipe.model_dump_json(indent=2) + "\n").encode())
