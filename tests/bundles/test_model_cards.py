"""Model cards say what the bundle's page and metadata say."""

import json
import re

SECTIONS = [
    *("Intended use", "Inputs and outputs", "Training data", "Evaluation data", "Metrics"),
    *("Limits and known failures", "Bias and ethics", "How to report a problem"),
]
NAMES = {"mean_dice": "Dice", "mean_iou": "IoU", "mean_cldice": "clDice"}  # as metadata begin their names


def read(bundle):
    text = (bundle / "docs" / "model_card.md").read_text("ascii")
    return text, json.loads((bundle / "configs" / "metadata.json").read_text("utf-8"))


def figures(text):
    """Numbers with one decimal point; a version has two."""
    numbers = re.findall(r"\d+(?:\.\d+)+", text.replace("Apache-2.0", ""))
    return {number for number in numbers if number.count(".") == 1}


def test_a_card_has_every_section_and_is_linked_from_the_bundles_page(bundle):
    text, _ = read(bundle)
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == SECTIONS
    assert "Not a medical device" in text
    assert "Out of scope" in text
    assert "(model_card.md)" in (bundle / "docs" / "README.md").read_text("utf-8").split("\n## ")[0]


def test_a_card_is_of_the_version_in_the_metadata(bundle):
    text, metadata = read(bundle)
    assert re.findall(r"\b\d+\.\d+\.\d+\b", text) == [metadata["version"]]


def test_every_figure_of_a_card_stands_on_the_bundles_page(bundle):
    text, _ = read(bundle)
    page = (bundle / "docs" / "README.md").read_text("utf-8")
    assert figures(text) - figures(page) == set()


def test_the_mean_scores_are_those_of_the_metadata(bundle):
    text, metadata = read(bundle)
    means = {name: float(mean) for name, mean in re.findall(r"^\| (\w+) \| ([\d.]+) \|", text, re.MULTILINE)}
    stated = metadata["eval_metrics"]
    assert {name: means[NAMES["_".join(name.split("_")[:2])]] for name in stated} == stated
