"""The chart as Helm renders it, for each sample in helm/tallystick/ci. Run as a program, writes the manifests."""

import copy
import functools
import pathlib
import sys

import helm_python
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/tallystick"
SAMPLES = {path.name.removesuffix("-values.yaml"): path for path in sorted(CHART.glob("ci/*-values.yaml"))}
RELEASE, NAMESPACE = "demo", "prod"


def values(sample):
    """The values of a sample, to be changed at will."""
    return yaml.safe_load(SAMPLES[sample].read_text(encoding="utf-8"))


def changed(sample, path, value):
    """A sample's values with one of them set, named like "edge.apiKey.key"."""
    result = values(sample)
    *parents, last = path.split(".")
    place = result
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return result


def texts(given, release=RELEASE, namespace=NAMESPACE):
    """Rendered files by name, values checked against the schema."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(given)
        files = chart.render(given, name=release, namespace=namespace)
    return {name.removeprefix("tallystick/templates/"): text for name, text in files.items() if text.strip()}


def objects_of(given, release=RELEASE, namespace=NAMESPACE):
    """All rendered objects, hooks included."""
    files = texts(given, release, namespace)
    manifests = [text for name, text in files.items() if name.endswith(".yaml")]
    return [found for text in manifests for found in yaml.safe_load_all(text) if found]


@functools.cache
def _objects(sample):
    return objects_of(values(sample))


def objects(sample, *kinds):
    """The objects of a sample, of these kinds or of all."""
    return [copy.deepcopy(found) for found in _objects(sample) if not kinds or found["kind"] in kinds]


def pods(sample):
    """(component, pod template) of every workload."""
    workloads = objects(sample, "Deployment", "Job")
    return [(workload["metadata"]["labels"]["app.kubernetes.io/component"], workload["spec"]["template"])
            for workload in workloads]


def main(folder):
    folder.mkdir(parents=True)
    for sample in SAMPLES:
        files = texts(values(sample))
        manifests = [text.strip().removeprefix("---").strip() for name, text in files.items() if name.endswith(".yaml")]
        (folder / f"{sample}.yaml").write_text("\n---\n".join(manifests) + "\n", encoding="utf-8")
        (folder / f"{sample}-notes.txt").write_text(files["NOTES.txt"], encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
