"""The notebook: run from top to bottom at small sizes, and as it is stored with its pictures."""

from pathlib import Path

import pytest
from conftest import SCRIPT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = SCRIPT.parent / "notebooks" / "pix2pix.ipynb"
SMALL = "IMAGE_SIZE, STEPS, FILTERS = 32, 20, 4"


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def link_project(folder: Path) -> None:
    """Make a folder look like the project, so that what the notebook writes lands there."""
    for name in (SCRIPT.name, "pix2pix", "requirements.txt"):
        (folder / name).symlink_to(SCRIPT.parent / name)


def test_it_runs_from_top_to_bottom(tmp_path):
    link_project(tmp_path)
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    parameters.source += f"\n{SMALL}"
    resources = {"metadata": {"path": str(tmp_path / "notebooks")}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    assert max(len(cell.outputs) for cell in code_cells(notebook)) == 1
    runs = tmp_path / "training_checkpoints"
    assert {path.name for path in runs.glob("synthetic/ckpt-*.index")} == {
        "ckpt-20.index",
        "ckpt-25.index",
    }
    assert len(list((tmp_path / "translated").iterdir())) == 4
    for made in ("synthetic/results/index.html", "synthetic/export/generator.keras", "mine"):
        assert (runs / made).exists()
    training = next(cell for cell in code_cells(notebook) if "preview_every" in cell.source)
    page = training.outputs[0].data["text/html"]
    assert page.count("<img") == 2  # the preview and the curves
    assert "20/20" in page


def test_it_is_stored_with_what_a_real_run_has_shown():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    shown = {}
    for cell in code_cells(notebook):
        assert len(cell.outputs) <= 1
        for output in cell.outputs:
            assert output.output_type != "error"
            shown.setdefault(output.output_type, []).append(output)
    assert len(shown["display_data"]) >= 6  # the commands
    pictures = [o for o in shown["execute_result"] if "image/png" in o.data]
    assert len(pictures) == 3  # preview, contact sheet of results, contact sheet of inspect
    assert NOTEBOOK.stat().st_size < 2_000_000
