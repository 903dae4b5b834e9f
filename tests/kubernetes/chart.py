"""Runs helm: renders the chart to documents. Holds no check."""

import functools
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/inferscope"
VALUES = ROOT / "tests/kubernetes/values"
RELEASE, NAMESPACE = "inferscope", "inferscope"
# Kinds whose definitions are not Kubernetes' own.
OPERATOR = "monitoring.coreos.com/v1"


class Failure(Exception):
    """What a check found, in words."""


class Helm:
    """One helm binary; renderings are kept, as many checks look at the same."""

    def __init__(self, program):
        self.program = program
        self.render = functools.cache(self._render)

    def run(self, *arguments):
        """Exit code, standard output, and what helm says of errors."""
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, check=False)
        # Links in a chart are said on every run.
        errors = [line for line in done.stderr.splitlines() if "found symbolic link" not in line]
        return done.returncode, done.stdout, "\n".join(errors)

    def text(self, *arguments, chart=CHART, release=RELEASE, kube="1.30.0"):
        """The manifests of the chart as text; raises Failure when helm refuses."""
        command = ["template", release, chart, "--namespace", NAMESPACE, "--kube-version", kube]
        code, out, errors = self.run(*command, *arguments)
        if code:
            raise Failure(errors.strip())
        return out

    def _render(self, values, kube="1.30.0"):
        """Documents of a values file by (kind, name)."""
        documents = load(self.text("--values", VALUES / f"{values}.yaml", kube=kube))
        return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def load(text):
    """Documents of a rendering. Numbers such as 0400 are octal in Helm's YAML 1.1, and here."""
    return [document for document in yaml.safe_load_all(text) if document]


def only(documents, kind):
    """The one document of a kind."""
    found = [document for (its, _), document in documents.items() if its == kind]
    if len(found) != 1:
        raise Failure(f"{len(found)} documents of kind {kind} instead of one")
    return found[0]


def expect(condition, says):
    """Raises Failure with these words unless the condition holds."""
    if not condition:
        raise Failure(says)


def equal(found, wanted, what):
    """Raises Failure unless the two are the same, in type, too: 1 is not 1.0."""
    if repr(found) != repr(wanted):
        raise Failure(f"{what} is {found!r} instead of {wanted!r}")
