"""What README, CONTRIBUTING and docs tell people to type: snippets run, commands pass their check."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
from omegaconf import OmegaConf, open_dict

from data_gen.camera import load_camera
from data_gen.core.errors import UserError
from data_gen.detector import peak_fwhm_kev
from data_gen.phantoms import ORGANS
from hspi_learn.commands.composing import command_line, composed_jobs
from hspi_learn.configs import check_config, check_hydra

ROOT = Path(__file__).parents[1]
CAMERA = ROOT / "tests" / "hspi_learn" / "commands" / "tiny_camera.yaml"
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    ((?:\w+=\S+ )*hspi-\w+ .*(?:(?<=\\)\n.*)*)$", re.MULTILINE)
FOLDERS = {"conf", "data_gen", "docs", "hspi_learn", "scripts", "tests"}
FILE = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")

TINY_DATA = (
    f"camera.name_or_path={CAMERA}",
    "size=tiny",
    "dataset.grid.shape=[8,8,8]",
    "dataset.grid.spacing_mm=3.6",
    "dataset.counts=[200,500]",
    "phantom.supersampling=1",
)
"""Instead of the demo's camera; all else as in docs/howto.md."""


class Block(NamedTuple):
    """A piece of text to type."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands, as the name of its test."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Fenced blocks of a page, and lines with a command that are merely indented."""
    text = page.read_text()
    for found in FENCED.finditer(text):
        yield Block(page.name, text[: found.start()].count("\n") + 1, found[1], found[2])
    for found in INDENTED.finditer(FENCED.sub(lambda block: "\n" * block[0].count("\n"), text)):
        yield Block(page.name, text[: found.start()].count("\n") + 1, "bash", found[1])


RUN = ("README.md", "howto.md", "matrices.md", "scans.md")
"""Pages whose Python snippets are run."""
BLOCKS = [block for page in PAGES if page.is_file() for block in blocks(page)]
PYTHON = [b for b in BLOCKS if b.language == "python" and b.page in RUN]
SHELL = [b for b in BLOCKS if b.language == "bash"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, with the example package and a tiny data set."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(EXAMPLES, folder / "docs" / "examples")
    for block in BLOCKS:
        if name := FILE.match(block.text):
            (folder / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / name[1]).write_text(block.text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["hspi-generate", "output=datasets/tiny", *TINY_DATA])
        import_module("hspi_learn.commands.generate").main()
    return folder


@pytest.fixture
def checkout(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder as the present one, its files and the example package on the path."""
    from data_gen.materials import MATERIALS

    monkeypatch.chdir(made)
    monkeypatch.syspath_prepend(str(made / "docs" / "examples" / "my_package" / "src"))
    monkeypatch.syspath_prepend(str(made))
    before = dict(MATERIALS)
    monkeypatch.delenv("HSPI_ALLOW", raising=False)
    yield made
    MATERIALS.clear()
    MATERIALS.update(before)


def run_script(path: Path) -> None:
    """The script in this process; Lightning's advice on hardware and workers is none of its matter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
        runpy.run_path(str(path), run_name="__main__")


@pytest.fixture(scope="module")
def trained(made: Path) -> None:
    """The run that snippets load; which task it is of does not matter to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setenv("HSPI_ALLOW", "my_package")
        patch.syspath_prepend(str(made / "docs" / "examples" / "my_package" / "src"))
        configs = ("--config-dir", str(EXAMPLES / "my_package" / "conf"))
        quick = ("data.folder=datasets/tiny", "size=tiny", "task=total_activity", "trainer.max_steps=4")
        patch.setattr(sys, "argv", ["hspi-train", *configs, *quick, "run_dir=runs/gan"])
        import_module("hspi_learn.commands.train").main()


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.place)
def test_snippet_runs(
    block: Block,
    checkout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Every Python snippet, as it stands, with the data set that its page says to make."""
    if "load_task" in block.text:
        request.getfixturevalue("trained")
        monkeypatch.setenv("HSPI_ALLOW", "my_package")
    (tmp_path / "snippet.py").write_text(block.text)
    run_script(tmp_path / "snippet.py")


@pytest.mark.parametrize(
    ("name", "argument", "told"),
    [
        ("forward_model.py", "", r"[1-9][\d.]* counts/s in 2400 pixels and 58 bins"),
        (
            "read_shard.py",
            "datasets/tiny/test-000000.h5",
            r"[1-9]\d* events in [1-9]\d* pixels of the camera tiny\n",
        ),
        ("measured_matrix.py", "datasets/tiny", r"largest difference (0e\+00|\de-0[6-9]) of the largest"),
        ("plain_lightning.py", "datasets/tiny", r"0\.\d+\n$"),
    ],
)
def test_example_runs(name: str, argument: str, told: str, checkout: Path, monkeypatch, capsys) -> None:
    """Each script of docs/examples is short, is reached from the how-to, and prints what it promises."""
    script = EXAMPLES / name
    assert len(script.read_text().splitlines()) <= 26
    assert f"docs/examples/{name}" in (ROOT / "docs" / "howto.md").read_text()
    monkeypatch.setattr(sys, "argv", [name, *argument.split()])
    run_script(script)
    assert re.search(told, capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore:.*recorded nothing, where chance")  # of a matrix of made-up numbers
def test_a_measured_matrix_as_its_page_writes_it(checkout: Path, monkeypatch) -> None:
    """docs/matrices.md: its snippet writes the files, its two reconstructions run to the image."""
    (snippet,) = (block for block in PYTHON if block.page == "matrices.md")
    (checkout / "write_matrix.py").write_text(snippet.text)
    run_script(checkout / "write_matrix.py")
    commands = [b for b in SHELL if b.page == "matrices.md" and b.text.startswith("hspi-reconstruct input")]
    for block in commands:
        (words,) = (words for _, words in calls(block.text))
        monkeypatch.setattr(sys, "argv", words)
        import_module("hspi_learn.commands.reconstruct").main()
    assert len(commands) == 2
    assert (checkout / "first_look.nii.gz").is_file()
    assert (checkout / "measured.nii.gz").is_file()


def test_code_of_the_example_package_is_shown_as_it_is() -> None:
    """Blocks of the how-to that name a file of docs/examples are that file, its first docstring left out."""
    shown = [
        (name[1], block) for block in BLOCKS if (name := FILE.match(block.text)) and "examples" in name[1]
    ]
    assert len(shown) == 9
    for name, block in shown:
        code = (ROOT / name).read_text()
        code = code.partition('"""\n\n')[2] if name.endswith(".py") else code
        assert block.text.partition("\n")[2] == code, name


def test_widths_of_the_how_to_are_computed() -> None:
    """Every FWHM of its table, to half of the last digit."""
    rows = {
        key: row for key, row in table(ROOT / "docs" / "howto.md").items() if len(row) == 3 and "." in row[0]
    }
    assert len(rows) == 5
    for changed, shown in rows.items():
        constants = {key: float(value) for key, value in re.findall(r"(\w+)=([\d.]+)", changed)}
        response = load_camera("demo", detector={"response": constants}).response
        assert shown == [f"{float(peak_fwhm_kev(response, e)):.2f}" for e in (122.0, 218.0, 440.0)], changed


def test_every_example_is_tested() -> None:
    """Scripts above, and the package in test_wheel.py; README shows the first script word for word."""
    scripts = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert scripts == ["forward_model.py", "measured_matrix.py", "plain_lightning.py", "read_shard.py"]
    (shown,) = (block.text for block in PYTHON if block.page == "README.md")
    assert (EXAMPLES / "forward_model.py").read_text().partition('"""\n\n')[2] == shown


def calls(text: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Each line of a block of bash: the environment that it runs in, and its words."""
    exported: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        export = words[:1] == ["export"]
        own = dict(exported)
        while words[export:] and re.match(r"[A-Z_]+=", words[export]):
            name, _, value = words.pop(export).partition("=")
            own[name] = value
        if export:
            exported = own
        elif words:
            yield own, words


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_commands_are_right(block: Block, checkout: Path, monkeypatch) -> None:
    """Every command of ours composes and passes the check of keys, values and targets; scripts exist."""
    for environment, words in calls(block.text):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            if words[0].startswith("hspi-"):
                check_command(words[0].removeprefix("hspi-"), words[1:])
            else:
                check_program(words)
            if words[0] == "pip" and words[-1].endswith("my_package"):
                monkeypatch.setenv("HSPI_ALLOW", "my_package")  # as its entry point does


def check_program(words: list[str]) -> None:
    """A script of ours that exists, or one of the programs that everybody has."""
    known = {
        "bash",
        "pip",
        "python",
        "pytest",
        "source",
        "tensorboard",
        "wandb",
        "mlflow",
        "cd",
        "git",
        "ruff",
        "mypy",
    }
    assert words[0] in known, words
    for word in words[1:]:
        if word.startswith(("scripts/", "docs/", "tests/", "./docs/")):
            assert (ROOT / word.partition("::")[0]).exists(), word


def check_command(name: str, arguments: list[str]) -> None:
    """What the command does before it writes anything, for every job of the call."""
    module = import_module(f"hspi_learn.commands.{name}")
    settings = getattr(module, f"{name.capitalize()}Settings")
    if arguments[0].startswith("resume="):
        assert len(arguments) == 1
        assert "resume" in Path(module.__file__ or "").read_text()
        return
    elided = "..." in arguments  # and so on, as in a line above
    arguments = [argument for argument in arguments if argument != "..."]
    if name == "summarise":
        arguments = module.with_folders_as_key(arguments)
    for config in composed_jobs(name, command_line(name, arguments)):
        check_hydra(config.hydra)
        with open_dict(config):
            del config["hydra"]
            if "run_dir" in config and config.run_dir is None:
                config.run_dir = "chosen"  # by the command itself
            for key in OmegaConf.missing_keys(config) if elided else ():
                OmegaConf.update(config, key, "elided")
        check_config(config, settings)


@pytest.mark.parametrize(
    "wrong",
    [
        "hspi-train data.fodler=x",
        "hspi-generate output=x phantom=rat",
        "hspi-train --config-dir docs/examples/my_package/conf data.folder=x task=total_activity",
        "bash scripts/none.sh",
    ],
)
def test_a_wrong_command_is_found(wrong: str, checkout: Path, monkeypatch) -> None:
    """A misspelt key, an unknown choice, a package that nobody allowed, a script that is not there."""
    with pytest.raises((UserError, AssertionError)):
        test_commands_are_right(Block("page", 1, "bash", wrong), checkout, monkeypatch)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/howto.md"])
def test_named_files_and_contracts_exist(name: str) -> None:
    """Paths in code style are files or folders of the checkout, contracts are classes of tests/contracts."""
    text = (ROOT / name).read_text()
    paths = {path for path in re.findall(r"`([a-z_]+/[\w/.-]+)`", text) if path.split("/")[0] in FOLDERS}
    assert len(paths) > 10
    assert not [path for path in paths if not (ROOT / path).exists()]
    known = "".join(path.read_text() for path in (ROOT / "tests" / "contracts").glob("*.py"))
    contracts = set(re.findall(r"`(\w+Contract)`", text))
    assert len(contracts) > 3
    assert not [contract for contract in contracts if f"class {contract}:" not in known]


def test_each_answer_says_where_to_look() -> None:
    """Key, files to open and tests come first, as a list; at most two files to open, and they exist."""
    _, *answers = re.split(r"^## ", (ROOT / "docs" / "howto.md").read_text(), flags=re.MULTILINE)
    assert len(answers) >= 15
    for answer in answers:
        parts = (r"[^\n]*\n\n- \*\*Keys?\*\*: .+?", r"- \*\*Open\*\*: (.+?)", r"- \*\*Tests?\*\*: .+?\n\n")
        listed = re.match(r"\n".join(parts), answer, re.DOTALL)
        assert listed, answer
        files = re.findall(r"\]\(([\w./]+)\)|`((?:\w+/)+[\w.]+)`", listed[1])
        assert 1 <= len(files) <= 2, listed[1]
        assert all((ROOT / "docs" / link).is_file() or (ROOT / path).is_file() for link, path in files), files


def test_labels_of_the_page_are_those_of_the_program() -> None:
    """docs/shards.md: number and name of every organ."""
    rows = table(ROOT / "docs" / "shards.md")
    numbers = [int(number) for number in rows if number.isdigit()]
    assert numbers == list(range(len(ORGANS)))
    assert [rows[str(number)] for number in numbers] == [[f"`{organ}`"] for organ in ORGANS]


def test_the_page_of_shards_knows_every_key_that_is_written(checkout: Path) -> None:
    """Keys of manifest, plan and system of a data set stand in docs/shards.md."""
    page = (ROOT / "docs" / "shards.md").read_text()
    manifest = json.loads(Path("datasets/tiny/manifest.json").read_text())
    keys = {*manifest, *manifest["plan"], *manifest["system"], *manifest["system"]["energy_bins"]}
    assert not [key for key in keys if f"`{key}`" not in page]


def test_figures_of_the_readme_are_those_of_the_study() -> None:
    """Each row of the table is a row of docs/results/adversary.md, whose columns stand in another order."""
    rows = {"GAN": "gan", "same generator, no adversary": "control", "OSEM, tuned on validation mice": "osem"}
    readme, study = (table(ROOT / name) for name in ("README.md", "docs/results/adversary.md"))
    for shown, name in (rows | {"mean of the training mice": "mean_image"}).items():
        clean, _, attacked, mean, worst, tumours = study[name]
        assert readme[shown] == [clean, mean, worst, tumours, attacked], shown


def table(page: Path) -> dict[str, list[str]]:
    """The rows of all tables of a page by their first cell."""
    rows = re.findall(r"^\| (.*) \|$", page.read_text(), re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return {first: rest for first, *rest in cells}


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_file()], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Links to files and to headings of the same page."""
    text = page.read_text()
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for path, anchor in LINK.findall(FENCED.sub("", text)):
        assert not path or (page.parent / path).exists(), path
        assert path or anchor in headings, anchor
