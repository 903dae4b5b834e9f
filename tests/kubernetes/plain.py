"""The manifests of deploy/kubernetes, which are the chart's with default values, and NOTES.txt as text."""

import pathlib
import shutil
import tempfile

from chart import CHART, ROOT, VALUES, Failure, expect, load

PLAIN = ROOT / "deploy/kubernetes"
# Written by hand; the chart makes no namespace.
NAMESPACE = "00-namespace.yaml"
HEAD = "# The Helm chart's, with default values: change the chart, then run tests/kubernetes/validate.py --update.\n"
# Labels that say that Helm made an object.
OF_HELM = ("helm.sh/chart:", "app.kubernetes.io/managed-by:")


def rendered(helm):
    """Text of each file by name: one per template, without the tests of `helm test`."""
    files = {}
    for document in helm.text().split("---\n# Source: ")[1:]:
        source, _, text = document.partition("\n")
        if "/tests/" in source:
            continue
        lines = [line.rstrip() for line in text.strip().splitlines() if not line.strip().startswith(OF_HELM)]
        files.setdefault(pathlib.Path(source).name, []).append("\n".join(lines) + "\n")
    return {name: HEAD + "---\n".join(documents) for name, documents in files.items()}


def update(helm):
    for path in PLAIN.glob("*.yaml"):
        if path.name != NAMESPACE:
            path.unlink()
    for name, text in rendered(helm).items():
        (PLAIN / name).write_text(text)


def up_to_date(helm):
    wanted = rendered(helm)
    found = {path.name: path.read_text() for path in PLAIN.glob("*.yaml") if path.name != NAMESPACE}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise Failure(f"deploy/kubernetes/{name} is not what the chart makes: run this with --update")


def documents():
    """Of all files, by kind and name."""
    every = [document for path in sorted(PLAIN.glob("*.yaml")) for document in load(path.read_text())]
    return {(document["kind"], document["metadata"]["name"]): document for document in every}


def notes(helm, values, *arguments):
    """What NOTES.txt says: `helm template` leaves it out, so that a copy of the chart has it in a manifest."""
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder) / "inferscope"
        shutil.copytree(CHART, chart)
        text = (chart / "templates/NOTES.txt").read_text()
        (chart / "templates/_notes.tpl").write_text('{{ define "notes" }}' + text + "{{ end }}")
        (chart / "templates/notes.yaml").write_text('notes: {{ include "notes" . | toJson }}\n')
        found = load(helm.text("-f", VALUES / f"{values}.yaml", "-s", "templates/notes.yaml", *arguments, chart=chart))
    expect(len(found) == 1, "NOTES.txt has no text")
    return found[0]["notes"]
