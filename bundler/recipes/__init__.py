"""The recipes bundler knows: one line each. The contract is in `bundler.recipes.base`."""

from bundler.recipes.base import Recipe

RECIPES: tuple[Recipe, ...] = (Recipe("kubespray"), Recipe("admin"))
